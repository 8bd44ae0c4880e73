"""Train a LightGBM regression model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

import lightgbm as lgb
from cloudtrain_worker import TrainingJob, take, with_defaults

DATASET_FILE = "inputs/trips.parquet"
TARGET_COLUMN = "minutes"
FEATURE_COLUMNS = None  # every other column
HYPERPARAMETERS = {"monotone_constraints": {"distance": 1}, "num_leaves": 63}
VALIDATION = {"fraction": 0.1, "time_column": "picked up"}
EARLY_STOPPING_ROUNDS = None
SEED = 1
OUTPUTS = ["model", "metrics"]

with TrainingJob(
    __file__,
    "lightgbm",
    "regression",
    HYPERPARAMETERS,
    OUTPUTS,
) as job:
    table = job.read(
        TARGET_COLUMN,
        FEATURE_COLUMNS,
        VALIDATION,
        dataset_file=DATASET_FILE,
    )
    train, validation, test = job.split(table, VALIDATION)
    del table  # its rows are in the parts: a large table is not held twice

    params = with_defaults(
        job.hyperparameters,
        objective="regression",
        metric="rmse",
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
