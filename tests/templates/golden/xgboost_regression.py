"""Train an XGBoost regression model. By hand: python train.py"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))  # cloudtrain_worker: reading, encoding, metrics, saving

import xgboost as xgb
from cloudtrain_worker import TrainingJob, take, with_defaults

MODEL_ID = 'price'
DATASET_KEY = 'datasets/houses.csv'
TARGET_COLUMN = 'price'
FEATURE_COLUMNS = ['sqft', 'bedrooms']
HYPERPARAMETERS = {'n_estimators': 300, 'max_depth': 4}
VALIDATION = {'fraction': 0.2, 'seed': 42}
EARLY_STOPPING_ROUNDS = 30
SEED = 42
OUTPUTS = ['model', 'metrics']

with TrainingJob(__file__, "xgboost", "regression", HYPERPARAMETERS, OUTPUTS) as job:
    table = job.read(TARGET_COLUMN, FEATURE_COLUMNS, VALIDATION, dataset_key=DATASET_KEY)
    train, validation, test = job.split(table, VALIDATION)
    del table  # the parts hold what a library reads: the memory is worth more

    params = with_defaults(job.hyperparameters, objective="reg:squarederror", eval_metric="rmse")
    params = with_defaults(params, device=job.device, seed=SEED, verbosity=1)
    rounds = take(params, "n_estimators", 100)
    kinds = {"feature_types": job.features.types, "enable_categorical": True}
    if params.get("tree_method", "hist") in ("hist", "auto"):
        kinds["max_bin"] = params.get("max_bin")
        dtrain = xgb.QuantileDMatrix(train.features, train.target, **kinds)
        dvalidation = xgb.QuantileDMatrix(validation.features, validation.target, ref=dtrain, **kinds)
    else:  # exact and approx want the numbers themselves, not their bins
        dtrain, dvalidation = (xgb.DMatrix(part.features, part.target, **kinds) for part in (train, validation))

    callbacks = [job.progress.for_xgboost()]
    if EARLY_STOPPING_ROUNDS:
        callbacks.append(xgb.callback.EarlyStopping(rounds=EARLY_STOPPING_ROUNDS))
    job.progress.begin(rounds)
    with job.stage("fit"):
        booster = xgb.train(
            params,
            dtrain,
            rounds - job.checkpoint.rounds,  # an earlier attempt has left its rounds in a checkpoint
            evals=[(dtrain, "train"), (dvalidation, "validation")],
            verbose_eval=False,
            xgb_model=job.checkpoint.model,
            callbacks=job.checkpoint.for_xgboost(callbacks),
        )
    if EARLY_STOPPING_ROUNDS:
        booster = booster[: booster.best_iteration + 1]

    job.score(booster, validation, test)
    gain = booster.get_score(importance_type="gain")
    job.save(booster, importance=[gain.get(f"f{i}", 0.0) for i in range(booster.num_features())])
