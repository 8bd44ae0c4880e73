"""Train an XGBoost binary classification model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

import xgboost as xgb
from cloudtrain_worker import TrainingJob, take, with_defaults

DATASET_KEY = "datasets/loans.txt"
FILE_FORMAT = "csv"
LOAD_ARGS = {"sep": ";"}
TARGET_COLUMN = "defaulted?"
FEATURE_COLUMNS = None  # every other column
HYPERPARAMETERS = {"max_depth": 6, "scale_pos_weight": 4.5}
VALIDATION = {"fraction": 0.25, "test_fraction": 0.25, "seed": 42}
EARLY_STOPPING_ROUNDS = None
SEED = 42
OUTPUTS = ["model", "metrics", "history", "importance", "predictions"]

with TrainingJob(__file__, "xgboost", "binary_classification", HYPERPARAMETERS, OUTPUTS) as job:
    table = job.read(
        TARGET_COLUMN,
        FEATURE_COLUMNS,
        VALIDATION,
        dataset_key=DATASET_KEY,
        file_format=FILE_FORMAT,
        load_args=LOAD_ARGS,
    )
    train, validation, test = job.split(table, VALIDATION)
    del table  # its rows are in the parts: a large table is not held twice

    params = with_defaults(
        job.hyperparameters,
        objective="binary:logistic",
        eval_metric="logloss",
        device=job.device,
        seed=SEED,
        verbosity=1,
    )
    rounds = take(params, "n_estimators", 100)
    kinds = {"feature_types": job.features.types, "enable_categorical": True}
    if params.get("tree_method", "hist") in ("hist", "auto"):
        kinds["max_bin"] = params.get("max_bin")
        dtrain = xgb.QuantileDMatrix(train.features, train.target, **kinds)
        dvalidation = xgb.QuantileDMatrix(
            validation.features, validation.target, ref=dtrain, **kinds
        )
    else:  # exact and approx need the numbers themselves, not their bins
        dtrain = xgb.DMatrix(train.features, train.target, **kinds)
        dvalidation = xgb.DMatrix(validation.features, validation.target, **kinds)

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
    if EARLY_STOPPING_ROUNDS:
        booster = booster[: booster.best_iteration + 1]

    job.score(booster, validation, test)
    gain = booster.get_score(importance_type="gain")
    columns = range(booster.num_features())
    job.save(booster, importance=[gain.get(f"f{column}", 0.0) for column in columns])
