"""Train a LightGBM regression model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

import lightgbm as lgb
from cloudtrain_worker import TrainingInPieces, take, with_defaults

DATASET_KEY = "t.csv"
TARGET_COLUMN = "y"
FEATURE_COLUMNS = None  # every other column
CATEGORICAL_COLUMNS = ["shop"]
WEIGHT_COLUMN = "rooms"
HYPERPARAMETERS = {"metric": "l1"}
VALIDATION = {"fraction": 0.2, "seed": 42}
EARLY_STOPPING_ROUNDS = None
SEED = 42
OUTPUTS = ["model", "metrics"]

with TrainingInPieces(
    __file__,
    "lightgbm",
    "regression",
    HYPERPARAMETERS,
    OUTPUTS,
) as job:
    # The encoded rows are on the disk: never more of the table is in memory than a piece of it.
    train, validation, test = job.read_parts(
        TARGET_COLUMN,
        FEATURE_COLUMNS,
        VALIDATION,
        categorical_columns=CATEGORICAL_COLUMNS,
        weight_column=WEIGHT_COLUMN,
        dataset_key=DATASET_KEY,
    )

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
    dtrain = lgb.Dataset(
        train.for_lightgbm(job.checkpoint),
        train.target,
        weight=train.weight,
        categorical_feature=categories,
    )
    dvalidation = dtrain.create_valid(
        validation.for_lightgbm(job.checkpoint), validation.target, weight=validation.weight
    )

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
