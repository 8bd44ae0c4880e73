"""Train a LightGBM regression model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

import lightgbm as lgb
from cloudtrain_worker import SharedTraining, take, with_defaults

DATASET_KEY = "t.csv"
TARGET_COLUMN = "y"
FEATURE_COLUMNS = None  # every other column
HYPERPARAMETERS = {"n_estimators": 300}
VALIDATION = {"fraction": 0.2, "seed": 42}
EARLY_STOPPING_ROUNDS = None
SEED = 42
WORKERS = 4  # processes that share the fit
OUTPUTS = ["model", "metrics"]


def fit(train, validation, sample, network, params, settings):
    """Fit in one of the processes: LightGBM adds up their histograms for the same trees."""
    params = {"tree_learner": "data", **params, **network, "feature_pre_filter": False}
    # The same bins in all, from rows of all: a part of a sorted table lacks most of the values.
    bins = lgb.Dataset(sample, params=params, categorical_feature=settings["categories"])
    bins.construct()  # before the network is there, by which each would make some of them
    dtrain = bins.create_valid(train.features, train.target)
    dvalidation = dtrain.create_valid(validation.features, validation.target)
    return lgb.train(
        params,
        dtrain,
        settings["rounds"],
        valid_sets=[dtrain, dvalidation],
        valid_names=["train", "validation"],
        init_model=settings["init_model"],
        callbacks=settings["callbacks"],
    )


with SharedTraining(
    __file__,
    "lightgbm",
    "regression",
    HYPERPARAMETERS,
    OUTPUTS,
) as job:
    # Each process reads its own part of the table, and keeps the rows that it has encoded.
    train, validation, test = job.read_parts(
        WORKERS,
        TARGET_COLUMN,
        FEATURE_COLUMNS,
        VALIDATION,
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
    # LightGBM's own network, in the processes of a Dask cluster. `lightgbm.dask` cannot stop
    # early: it measures a part of the validation rows in each. Here, each has all of them.
    cluster = job.cluster(WORKERS)
    sampled = params.get("bin_construct_sample_cnt", 200_000)  # rows from which bins are made
    sample = train.samples(sampled)
    earlier = job.checkpoint.model  # of a lost machine

    callbacks = [job.progress.for_lightgbm()]
    if EARLY_STOPPING_ROUNDS:
        callbacks.append(
            lgb.early_stopping(EARLY_STOPPING_ROUNDS, first_metric_only=True, verbose=False)
        )
    settings = {
        "categories": job.features.category_indexes,
        "rounds": rounds - job.checkpoint.rounds,  # those in a lost machine's checkpoint
        "init_model": lgb.Booster(model_file=earlier) if earlier else None,
        "callbacks": cluster.for_lightgbm(job.checkpoint.for_lightgbm(callbacks)),
    }
    job.progress.begin(rounds)
    with job.stage("fit"):
        booster = cluster.each(
            fit,
            train.shares,
            validation.copies(),
            sample,
            cluster.lightgbm_network(),
            [params] * WORKERS,
            [settings] * WORKERS,
        )

    job.score(booster, validation, test)
    job.save(booster, importance=booster.feature_importance("gain"))
