"""Train an XGBoost binary classification model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

import xgboost as xgb
from cloudtrain_worker import SharedTraining, take, with_defaults
from xgboost import dask as dxgb

DATASET_KEY = "t.csv"
TARGET_COLUMN = "y"
FEATURE_COLUMNS = None  # every other column
CLASS_WEIGHT = "balanced"
HYPERPARAMETERS = {}
VALIDATION = {"fraction": 0.2, "seed": 42}
EARLY_STOPPING_ROUNDS = 30
SEED = 42
WORKERS = 4  # processes that share the fit
OUTPUTS = ["model", "metrics"]

with SharedTraining(
    __file__,
    "xgboost",
    "binary_classification",
    HYPERPARAMETERS,
    OUTPUTS,
) as job:
    # Each process reads its own part of the table, and keeps the rows that it has encoded.
    train, validation, test = job.read_parts(
        WORKERS,
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
    # All processes add up the histograms of their rows, and grow the same trees.
    cluster = job.cluster(WORKERS)
    client = cluster.client
    kinds = {"feature_types": job.features.types, "enable_categorical": True}
    kinds["max_bin"] = params.get("max_bin")
    dtrain = dxgb.DaskQuantileDMatrix(
        client, train.features, train.target, weight=train.weight, **kinds
    )
    dvalidation = dxgb.DaskQuantileDMatrix(
        client,
        validation.features,
        validation.target,
        weight=validation.weight,
        ref=dtrain,
        **kinds,
    )

    callbacks = [job.progress.for_xgboost()]
    if EARLY_STOPPING_ROUNDS:
        callbacks.append(xgb.callback.EarlyStopping(rounds=EARLY_STOPPING_ROUNDS))
    job.progress.begin(rounds)
    earlier = job.checkpoint.model  # of a lost machine
    with job.stage("fit"):
        fitted = dxgb.train(
            client,
            params,
            dtrain,
            rounds - job.checkpoint.rounds,
            evals=[(dtrain, "train"), (dvalidation, "validation")],
            verbose_eval=False,
            xgb_model=xgb.Booster(model_file=earlier) if earlier else None,
            callbacks=cluster.for_xgboost(job.checkpoint.for_xgboost(callbacks)),
        )
    booster = fitted["booster"]
    if EARLY_STOPPING_ROUNDS:
        booster = booster[: booster.best_iteration + 1]

    job.score(booster, validation, test)
    gain = booster.get_score(importance_type="gain")
    columns = range(booster.num_features())
    job.save(booster, importance=[gain.get(f"f{column}", 0.0) for column in columns])
