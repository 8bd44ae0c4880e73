"""Train a LightGBM multiclass classification model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

import lightgbm as lgb
from cloudtrain_worker import TrainingJob, take, with_defaults

DATASET_URL = "https://example.org/penguins.tsv"
LOAD_ARGS = {"na_values": ["-"]}
TARGET_COLUMN = "species"
FEATURE_COLUMNS = None  # every other column
HYPERPARAMETERS = {}
VALIDATION = {"fraction": 0.3, "test_fraction": 0.1, "time_column": "year"}
EARLY_STOPPING_ROUNDS = None
SEED = 42
OUTPUTS = ["model", "metrics", "history", "importance", "predictions"]

with TrainingJob(
    __file__,
    "lightgbm",
    "multiclass_classification",
    HYPERPARAMETERS,
    OUTPUTS,
) as job:
    table = job.read(
        TARGET_COLUMN,
        FEATURE_COLUMNS,
        VALIDATION,
        dataset_url=DATASET_URL,
        load_args=LOAD_ARGS,
    )
    train, validation, test = job.split(table, VALIDATION)
    del table  # its rows are in the parts: a large table is not held twice

    params = with_defaults(
        job.hyperparameters,
        objective="multiclass",
        metric="multi_logloss",
        num_class=len(job.target.classes),
        seed=SEED,
        deterministic=True,
        force_row_wise=not HYPERPARAMETERS.get("force_col_wise"),
        verbosity=-1,
    )
    rounds = take(params, "n_estimators", 100)
    categories = job.features.category_indexes
    dtrain = lgb.Dataset(train.features, train.target, categorical_feature=categories)
    dvalidation = dtrain.create_valid(validation.features, validation.target)

    callbacks = [job.progress.for_lightgbm()]
    if EARLY_STOPPING_ROUNDS:
        callbacks.append(
            lgb.early_stopping(EARLY_STOPPING_ROUNDS, first_metric_only=True, verbose=False)
        )
    job.progress.begin(rounds)
    with job.stage("fit"):
        booster = lgb.train(
            params,
            dtrain,
            rounds - job.checkpoint.rounds,  # those in a lost machine's checkpoint
            valid_sets=[dtrain, dvalidation],
            valid_names=["train", "validation"],
            init_model=job.checkpoint.model,
            callbacks=job.checkpoint.for_lightgbm(callbacks),
        )

    job.score(booster, validation, test)
    job.save(booster, importance=booster.feature_importance("gain"))
