"""Train an XGBoost binary classification model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

import xgboost as xgb
from cloudtrain_worker import TrainingInPieces, take, with_defaults

DATASET_KEY = "t.csv"
TARGET_COLUMN = "y"
FEATURE_COLUMNS = None  # every other column
CLASS_WEIGHT = "balanced"
HYPERPARAMETERS = {}
VALIDATION = {"fraction": 0.2, "seed": 42}
EARLY_STOPPING_ROUNDS = 30
SEED = 42
OUTPUTS = ["model", "metrics"]

with TrainingInPieces(
    __file__,
    "xgboost",
    "binary_classification",
    HYPERPARAMETERS,
    OUTPUTS,
) as job:
    # The encoded rows are on the disk: never more of the table is in memory than a piece of it.
    train, validation, test = job.read_parts(
        TARGET_COLUMN,
        FEATURE_COLUMNS,
        VALIDATION,
        class_weight=CLASS_WEIGHT,
        dataset_key=DATASET_KEY,
    )

    params = with_defaults(
        job.hyperparameters,
        objective="binary:logistic",
        eval_metric="logloss",
        device=job.device,
        seed=SEED,
        verbosity=1,
    )
    rounds = take(params, "n_estimators", 100)
    kinds = {"enable_categorical": True, "max_bin": params.get("max_bin")}
    types = job.features.types
    dtrain = xgb.ExtMemQuantileDMatrix(train.for_xgboost(types), **kinds)
    dvalidation = xgb.ExtMemQuantileDMatrix(validation.for_xgboost(types), ref=dtrain, **kinds)

    callbacks = [job.progress.for_xgboost()]
    if EARLY_STOPPING_ROUNDS:
        callbacks.append(xgb.callback.EarlyStopping(rounds=EARLY_STOPPING_ROUNDS))
    job.progress.begin(rounds)
    with job.stage("fit"):
        booster = xgb.train(
            params,
            dtrain,
            rounds - job.checkpoint.rounds,  # those in a lost machine's checkpoint
            evals=[(dtrain, "train"), (dvalidation, "validation")],
            verbose_eval=False,
            xgb_model=job.checkpoint.model,
            callbacks=job.checkpoint.for_xgboost(callbacks),
        )
    del dtrain, dvalidation  # with their copies on the disk
    if EARLY_STOPPING_ROUNDS:
        booster = booster[: booster.best_iteration + 1]

    job.score(booster, validation, test)
    gain = booster.get_score(importance_type="gain")
    columns = range(booster.num_features())
    job.save(booster, importance=[gain.get(f"f{column}", 0.0) for column in columns])
