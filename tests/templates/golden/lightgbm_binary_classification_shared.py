"""Train a LightGBM binary classification model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

import lightgbm as lgb
from cloudtrain_worker import TrainingJob, take, with_defaults

DATASET_KEY = "t.csv"
TARGET_COLUMN = "y"
FEATURE_COLUMNS = None  # every other column
WEIGHT_COLUMN = "hours"
HYPERPARAMETERS = {}
VALIDATION = {"fraction": 0.2, "seed": 42}
EARLY_STOPPING_ROUNDS = 50
SEED = 42
WORKERS = 4  # processes that share the fit
OUTPUTS = ["model", "metrics"]


def fit(train, validation, sample, network, params, settings):
    """Fit in one of the processes: LightGBM adds up their histograms for the same trees."""
    train, validation, sample = train.load(), validation.load(), sample.load().features
    params = {"tree_learner": "data", **params, **network, "feature_pre_filter": False}
    # The same bins in all, from rows of all: a part of a sorted table lacks most of the values.
    bins = lgb.Dataset(sample, params=params, categorical_feature=settings["categories"])
    bins.construct()  # before the network is there, by which each would make some of them
    dtrain = bins.create_valid(train.features, train.target, weight=train.weight)
    dvalidation = dtrain.create_valid(
        validation.features, validation.target, weight=validation.weight
    )
    return lgb.train(
        params,
        dtrain,
        settings["rounds"],
        valid_sets=[dtrain, dvalidation],
        valid_names=["train", "validation"],
        init_model=settings["init_model"],
        callbacks=settings["callbacks"],
    )


with TrainingJob(
    __file__,
    "lightgbm",
    "binary_classification",
    HYPERPARAMETERS,
    OUTPUTS,
) as job:
    table = job.read(
        TARGET_COLUMN,
        FEATURE_COLUMNS,
        VALIDATION,
        weight_column=WEIGHT_COLUMN,
        dataset_key=DATASET_KEY,
    )
    train, validation, test = job.split(table, VALIDATION)
    del table  # its rows are in the parts: a large table is not held twice

    params = with_defaults(
        job.hyperparameters,
        objective="binary",
        metric="binary_logloss",
        seed=SEED,
        deterministic=True,
        force_row_wise=not HYPERPARAMETERS.get("force_col_wise"),
        verbosity=-1,
    )
    rounds = take(params, "n_estimators", 100)
    # LightGBM's own network, in the processes of a Dask cluster. `lightgbm.dask` cannot stop
    # early: it measures a part of the validation rows in each. Here, each has all of them.
    cluster = job.cluster(WORKERS)
    sampled = params.get("bin_construct_sample_cnt", 200_000)  # rows from which bins are made
    shares, held = cluster.deal(train), cluster.store(validation)
    sample = cluster.sample(train, sampled)
    train = train.without_features()  # each process has its share: memory need not hold all

    callbacks = [job.progress.for_lightgbm()]
    if EARLY_STOPPING_ROUNDS:
        callbacks.append(
            lgb.early_stopping(EARLY_STOPPING_ROUNDS, first_metric_only=True, verbose=False)
        )
    settings = {
        "categories": job.features.category_indexes,
        "rounds": rounds - job.checkpoint.rounds,  # those in a lost machine's checkpoint
        "init_model": job.checkpoint.model,
        "callbacks": cluster.for_lightgbm(job.checkpoint.for_lightgbm(callbacks)),
    }
    job.progress.begin(rounds)
    with job.stage("fit"):
        booster = cluster.each(
            fit,
            shares,
            [held] * WORKERS,
            [sample] * WORKERS,
            cluster.lightgbm_network(),
            [params] * WORKERS,
            [settings] * WORKERS,
        )

    job.score(booster, validation, test)
    job.save(booster, importance=booster.feature_importance("gain"))
