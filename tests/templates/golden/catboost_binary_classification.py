"""Train a CatBoost binary classification model. By hand: python train.py"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))  # cloudtrain_worker: reading, encoding, metrics, saving

from catboost import CatBoost, Pool
from cloudtrain_worker import TrainingJob, take, with_defaults

MODEL_ID = 'churn'
DATASET_FILE = 'inputs/customers.parquet'
TARGET_COLUMN = 'left us'
FEATURE_COLUMNS = None  # every column but the target
HYPERPARAMETERS = {'iterations': 50, 'learning_rate': 0.1}
VALIDATION = {'dataset': 'held_out'}
VALIDATION_TABLE = {'dataset_key': 'datasets/held_out.parquet', 'file_format': 'parquet'}
EARLY_STOPPING_ROUNDS = None
SEED = 7
OUTPUTS = ['model', 'metrics']

with TrainingJob(__file__, "catboost", "binary_classification", HYPERPARAMETERS, OUTPUTS) as job:
    table = job.read(TARGET_COLUMN, FEATURE_COLUMNS, VALIDATION, dataset_file=DATASET_FILE)
    validation_table = job.read(TARGET_COLUMN, FEATURE_COLUMNS, **VALIDATION_TABLE)
    train, validation, test = job.split(table, VALIDATION, validation_table)
    del table, validation_table

    params = with_defaults(job.hyperparameters, loss_function="Logloss")
    params = with_defaults(params, random_seed=SEED, allow_const_label=True, task_type="GPU" if job.device == "cuda" else "CPU")
    rounds = take(params, "iterations", 1000)
    categories = job.features.category_indexes
    train_pool = Pool(job.features.mixed_frame(train.features), train.target, cat_features=categories)
    validation_pool = Pool(job.features.mixed_frame(validation.features), validation.target, cat_features=categories)

    # Its own snapshots are the checkpoint: it goes on from the one that an earlier attempt has left.
    model = CatBoost({**params, "iterations": rounds, **job.checkpoint.for_catboost()})
    job.progress.begin(rounds)
    with job.stage("fit"):
        model.fit(
            train_pool,
            eval_set=validation_pool,
            early_stopping_rounds=EARLY_STOPPING_ROUNDS,
            use_best_model=bool(EARLY_STOPPING_ROUNDS),
            logging_level="Silent",
            callbacks=None if job.device == "cuda" else [job.progress.for_catboost()],  # CatBoost has none on a GPU
        )

    job.score(model, validation, test)
    job.save(model, importance=model.get_feature_importance(train_pool))
