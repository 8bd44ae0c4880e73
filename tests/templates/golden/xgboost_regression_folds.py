"""Train an XGBoost regression model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

import xgboost as xgb
from cloudtrain_worker import TrainingJob, take, with_defaults

DATASET_KEY = "t.csv"
TARGET_COLUMN = "y"
FEATURE_COLUMNS = None  # every other column
HYPERPARAMETERS = {}
VALIDATION = {"folds": 5, "seed": 42}
EARLY_STOPPING_ROUNDS = 30
SEED = 42
OUTPUTS = ["model", "metrics"]

with TrainingJob(__file__, "xgboost", "regression", HYPERPARAMETERS, OUTPUTS) as job:
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
            objective="reg:squarederror",
            eval_metric="rmse",
            device=job.device,
            seed=SEED,
            verbosity=1,
        )
        rounds = job.rounds_of(take(params, "n_estimators", 100))
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
        if early_stopping_rounds:
            callbacks.append(xgb.callback.EarlyStopping(rounds=early_stopping_rounds))
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
        if early_stopping_rounds:
            booster = booster[: booster.best_iteration + 1]

        job.score(booster, validation, rounds=booster.num_boosted_rounds())
        gain = booster.get_score(importance_type="gain")
        columns = range(booster.num_features())
        job.save(booster, importance=[gain.get(f"f{column}", 0.0) for column in columns])
