"""Train a CatBoost binary classification model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

from catboost import CatBoost, Pool
from cloudtrain_worker import TrainingJob, take, with_defaults

DATASET_KEY = "t.csv"
TARGET_COLUMN = "y"
FEATURE_COLUMNS = None  # every other column
HYPERPARAMETERS = {}
VALIDATION = {"folds": 5, "test_fraction": 0.2, "group_column": "customer", "seed": 42}
EARLY_STOPPING_ROUNDS = None
SEED = 42
OUTPUTS = ["model", "metrics"]

with TrainingJob(
    __file__,
    "catboost",
    "binary_classification",
    HYPERPARAMETERS,
    OUTPUTS,
) as job:
    table = job.read(
        TARGET_COLUMN,
        FEATURE_COLUMNS,
        VALIDATION,
        dataset_key=DATASET_KEY,
    )
    # Each fold is held out once; then all rows are fitted, for as many rounds as the folds took.
    for train, validation, early_stopping_rounds in job.folds(
        table, VALIDATION, EARLY_STOPPING_ROUNDS
    ):
        params = with_defaults(
            job.hyperparameters,
            loss_function="Logloss",
            random_seed=SEED,
            allow_const_label=True,
            task_type="GPU" if job.device == "cuda" else "CPU",
        )
        if job.device == "cuda" and "subsample" in params:
            params.setdefault("bootstrap_type", "Bernoulli")  # a GPU's default draws no sample
        rounds = job.rounds_of(take(params, "iterations", 1000))
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
                early_stopping_rounds=early_stopping_rounds,
                use_best_model=bool(early_stopping_rounds),
                logging_level="Silent",
                # CatBoost has no callbacks on a GPU.
                callbacks=None if job.device == "cuda" else [job.progress.for_catboost()],
            )

        job.score(model, validation, rounds=model.tree_count_)
        job.save(model, importance=model.get_feature_importance(train_pool))
