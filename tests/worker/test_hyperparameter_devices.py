"""Hyperparameters by device: what CatBoost itself says of each, for it checks its options before it looks for a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kedro_cloudtrain.worker.errors import HyperparameterError
from kedro_cloudtrain.worker.hyperparameter_devices import needed_device, refused_on

TASKS = {"regression": "RMSE", "binary_classification": "Logloss", "multiclass_classification": "MultiClass"}
ROWS = np.random.default_rng(0).normal(size=(60, 3))
TARGETS = {"regression": abs(ROWS[:, 0]) + 1, "binary_classification": ROWS[:, 0] > 0, "multiclass_classification": np.arange(60) % 3}
ALL = tuple(TASKS)
CLASSES = ("multiclass_classification",)
NUMBERS = ("regression",)

# The hyperparameters, and the tasks of which CatBoost refuses them on a GPU and takes them on a CPU.
ON_CPU_ALONE: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"rsm": 0.8}, ALL),
    ({"colsample_bylevel": 0.5}, ALL),
    ({"rsm": 1}, ()),
    ({"monotone_constraints": [1, 0, 0]}, ("regression", "binary_classification")),
    ({"monotone_constraints": [0, 0, 0]}, ()),
    ({"sampling_frequency": "PerTreeLevel"}, ALL),
    ({"sampling_frequency": "PerTree"}, ()),
    ({"model_shrink_rate": 0.1}, ALL),
    ({"model_shrink_mode": "Decreasing"}, ALL),
    ({"model_shrink_mode": "Constant"}, ()),
    ({"posterior_sampling": True}, ALL),
    ({"posterior_sampling": False}, ()),
    ({"random_score_type": "Gumbel"}, ALL),
    ({"random_score_type": "NormalWithModelSizeDecrease"}, ()),
    ({"ctr_leaf_count_limit": 5}, ALL),
    ({"store_all_simple_ctr": True}, ALL),
    ({"sparse_features_conflict_fraction": 0.1}, ALL),
    ({"sparse_features_conflict_fraction": 0.0}, ()),
    ({"dev_score_calc_obj_block_size": 1000}, ALL),
    ({"approx_on_full_history": True}, ALL),
    ({"approx_on_full_history": False}, ()),
    ({"simple_ctr": ["Counter"]}, ALL),
    ({"combinations_ctr": ["Borders", "BinarizedTargetMeanValue"]}, ALL),
    ({"simple_ctr": ["Borders:Prior=0.5"]}, ()),
    ({"one_hot_max_size": 300}, ALL),
    ({"one_hot_max_size": 256}, ()),
    ({"boosting_type": "Ordered"}, CLASSES),
    ({"boosting_type": "Plain"}, ()),
    ({"boosting_type": "Ordered", "loss_function": "MultiClassOneVsAll"}, CLASSES),
    ({"bootstrap_type": "MVS"}, CLASSES),
    ({"bootstrap_type": "Bernoulli", "subsample": 0.8}, ()),
    ({"loss_function": "LogCosh"}, NUMBERS),
    ({"loss_function": "LogCosh", "boosting_type": "Plain"}, ()),
    ({"loss_function": "Quantile:alpha=0.9"}, ()),
    ({"loss_function": "MAE", "leaf_estimation_method": "Exact"}, NUMBERS),
    ({"loss_function": "MAE", "leaf_estimation_method": "Exact", "boosting_type": "Plain"}, ()),
    ({"loss_function": "MAE", "leaf_estimation_method": "Gradient"}, ()),
    ({"depth": 8, "border_count": 64, "one_hot_max_size": 4, "l2_leaf_reg": 3, "random_strength": 2, "min_data_in_leaf": 5}, ()),
    ({"grow_policy": "Lossguide", "max_leaves": 10}, ()),
    ({"bagging_temperature": 1, "metric_period": 5, "langevin": True}, ()),
    ({"auto_class_weights": "Balanced"}, ()),
]
ON_GPU_ALONE: list[dict[str, Any]] = [
    {"bootstrap_type": "Poisson"},
    {"score_function": "NewtonCosine"},
    {"score_function": "LOOL2"},
    {"leaf_estimation_backtracking": "Armijo"},
    {"data_partition": "DocParallel"},
    {"task_type": "GPU"},
]


def words_of_catboost(task: str, given: dict[str, Any], device: str) -> str:
    """Return CatBoost's refusal; empty where it fits, or misses nothing but a device."""
    from catboost import CatBoost, CatBoostError, Pool

    options = {"iterations": 1, "allow_writing_files": False, "logging_level": "Silent", "loss_function": TASKS[task], "task_type": device}
    pool = Pool(ROWS, TARGETS[task].astype(float) if task != "binary_classification" else TARGETS[task].astype(int))
    try:
        CatBoost({**options, **given}).fit(pool)
    except CatBoostError as error:
        # Without a driver: the first time, and each further time in this process.
        return "" if "CUDA" in str(error) or "State == nullptr" in str(error) else str(error)
    return ""


@pytest.mark.parametrize(("given", "tasks"), ON_CPU_ALONE, ids=str)
def test_what_catboost_refuses_on_a_gpu_is_known(given: dict[str, Any], tasks: tuple[str, ...]) -> None:
    for task in TASKS if "loss_function" not in given else CLASSES if "MultiClass" in given["loss_function"] else NUMBERS:
        if words_of_catboost(task, given, "CPU"):
            continue  # not this task's
        refused = list(refused_on("cuda", "catboost", given, task))
        assert bool(words_of_catboost(task, given, "GPU")) == bool(refused) == (task in tasks), (task, refused)
        assert not list(refused_on("cpu", "catboost", given, task))
        assert needed_device("catboost", given, task) == (("cpu", refused[0].rpartition(": ")[0]) if refused else None)


@pytest.mark.parametrize("given", ON_GPU_ALONE, ids=str)
def test_what_catboost_refuses_on_a_cpu_is_known(given: dict[str, Any]) -> None:
    assert given == {"task_type": "GPU"} or words_of_catboost("regression", given, "CPU")
    assert not words_of_catboost("regression", given, "GPU")
    assert list(refused_on("cpu", "catboost", given))
    assert not list(refused_on("cuda", "catboost", given))
    device, why = needed_device("catboost", given) or ("", "")
    assert device == "cuda"
    assert why.startswith(f"`hyperparameters.{next(iter(given))}` is ")


@pytest.mark.parametrize(
    ("library", "given", "device"),
    [
        ("xgboost", {"tree_method": "exact"}, "cpu"),
        ("xgboost", {"tree_method": "hist"}, None),
        ("xgboost", {"tree_method": "exact", "device": "cuda"}, "cuda"),
        ("xgboost", {"device": "cuda:0"}, "cuda"),
        ("xgboost", {"device": "cpu"}, "cpu"),
        ("catboost", {"task_type": "CPU", "score_function": "L2"}, "cpu"),
        ("lightgbm", {"device_type": "cpu"}, "cpu"),
        ("lightgbm", {"device_type": "gpu"}, None),
        ("lightgbm", {"monotone_constraints": [1]}, None),
        ("keras", {"epochs": 3}, None),
        ("of_my_own", {"rsm": 0.5}, None),
    ],
)
def test_the_device_that_hyperparameters_leave(library: str, given: dict[str, Any], device: str | None) -> None:
    assert (needed_device(library, given) or (None, ""))[0] == device


def test_on_this_computer_a_gpus_hyperparameter_is_refused_and_a_cpus_takes_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from kedro_cloudtrain.worker import devices
    from kedro_cloudtrain.worker.gpus import Gpu

    monkeypatch.delenv("CLOUDTRAIN_GPU", raising=False)
    monkeypatch.setattr(devices, "find_gpu", lambda: None)
    with pytest.raises(HyperparameterError, match="score_function` is 'NewtonL2', which catboost has on a GPU alone: use Cosine or L2"):
        devices.choose_device("catboost", {"score_function": "NewtonL2"})
    monkeypatch.setattr(devices, "find_gpu", lambda: Gpu("NVIDIA L4"))
    assert devices.choose_device("catboost", {"rsm": 0.5}).kind == "cpu"
    monkeypatch.setenv("CLOUDTRAIN_GPU", "NVIDIA L4")
    with pytest.raises(
        HyperparameterError, match=r"rsm` is 0\.5, which catboost has on a CPU alone: leave it out, or take a CPU pod: gpu: none"
    ):
        devices.choose_device("catboost", {"rsm": 0.5})
