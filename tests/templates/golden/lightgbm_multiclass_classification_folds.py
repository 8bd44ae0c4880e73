"""Train a LightGBM multiclass classification model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

import lightgbm as lgb
from cloudtrain_worker import TrainingJob, take, with_defaults

DATASET_KEY = "t.csv"
TARGET_COLUMN = "y"
FEATURE_COLUMNS = None  # every other column
CLASS_WEIGHT = "balanced"
HYPERPARAMETERS = {}
VALIDATION = {"folds": 3, "stratified": False, "seed": 42}
EARLY_STOPPING_ROUNDS = None
SEED = 42
OUTPUTS = ["model", "metrics"]

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
        dataset_key=DATASET_KEY,
    )
    # Each fold is held out once; then all rows are fitted, for as many rounds as the folds took.
    for train, validation, early_stopping_rounds in job.folds(
        table, VALIDATION, EARLY_STOPPING_ROUNDS, class_weight=CLASS_WEIGHT
    ):
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
        rounds = job.rounds_of(take(params, "n_estimators", 100))
        categories = job.features.category_indexes
        dtrain = lgb.Dataset(
            train.features, train.target, weight=train.weight, categorical_feature=categories
        )
        dvalidation = dtrain.create_valid(
            validation.features, validation.target, weight=validation.weight
        )

        callbacks = [job.progress.for_lightgbm()]
        if early_stopping_rounds:
            callbacks.append(
                lgb.early_stopping(early_stopping_rounds, first_metric_only=True, verbose=False)
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

        job.score(booster, validation, rounds=booster.best_iteration or rounds)
        job.save(booster, importance=booster.feature_importance("gain"))
