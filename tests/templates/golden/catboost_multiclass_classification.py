"""Train a CatBoost multiclass classification model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

from catboost import CatBoost, Pool
from cloudtrain_worker import TrainingJob, take, with_defaults

DATASET_URL = "https://example.org/digits"
FILE_FORMAT = "csv"
TARGET_COLUMN = "digit"
FEATURE_COLUMNS = None  # every other column
HYPERPARAMETERS = {}
VALIDATION = {"dataset": "held_out"}
VALIDATION_TABLE = {
    "dataset_url": "https://example.org/held-out",
    "file_format": "csv",
    "load_args": {"header": None},
}
EARLY_STOPPING_ROUNDS = None
SEED = 42
OUTPUTS = ["model", "metrics"]

with TrainingJob(
    __file__,
    "catboost",
    "multiclass_classification",
    HYPERPARAMETERS,
    OUTPUTS,
) as job:
    table = job.read(
        TARGET_COLUMN,
        FEATURE_COLUMNS,
        VALIDATION,
        dataset_url=DATASET_URL,
        file_format=FILE_FORMAT,
    )
    validation_table = job.read(TARGET_COLUMN, FEATURE_COLUMNS, **VALIDATION_TABLE)
    train, validation, test = job.split(table, VALIDATION, validation_table)
    del table, validation_table

    params = with_defaults(
        job.hyperparameters,
        loss_function="MultiClass",
        classes_count=len(job.target.classes),
        random_seed=SEED,
        allow_const_label=True,
        task_type="GPU" if job.device == "cuda" else "CPU",
    )
    if "subsample" in params:
        params.setdefault("bootstrap_type", "Bernoulli")  # Bayesian, the default, draws none
    rounds = take(params, "iterations", 1000)
    categories = job.features.category_indexes
    train_pool, validation_pool = (
        Pool(job.features.mixed_frame(part.features), part.target, cat_features=categories)
        for part in (train, validation)
    )

    # CatBoost's own snapshots are the checkpoint: it goes on from that of a lost machine.
    model = CatBoost({**params, "iterations": rounds, **job.checkpoint.for_catboost()})
    job.progress.begin(rounds)
    with job.stage("fit"):
        model.fit(
            train_pool,
            eval_set=validation_pool,
            early_stopping_rounds=EARLY_STOPPING_ROUNDS,
            use_best_model=bool(EARLY_STOPPING_ROUNDS),
            logging_level="Silent",
            # CatBoost has no callbacks on a GPU.
            callbacks=None if job.device == "cuda" else [job.progress.for_catboost()],
        )

    job.score(model, validation, test)
    job.save(model, importance=model.get_feature_importance(train_pool))
