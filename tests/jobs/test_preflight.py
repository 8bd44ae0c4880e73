"""What is wrong with a training on the machines that its settings ask for."""

from __future__ import annotations

from typing import Any

import pytest

from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.preflight import problems_on_pod

L4 = ("NVIDIA L4",)


@pytest.mark.parametrize(
    ("model_type", "given", "gpu", "gpu_count", "parts"),
    [
        pytest.param(
            "catboost_regression", {"rsm": 0.8}, L4, 1, ["rsm` is 0.8, which catboost has on a CPU alone", "gpu: none"], id="on a GPU"
        ),
        pytest.param("catboost_regression", {"rsm": 0.8}, "auto", 1, [], id="auto takes the CPU"),
        pytest.param("catboost_regression", {"rsm": 0.8}, "none", 1, [], id="on a CPU"),
        pytest.param("catboost_regression", {"rsm": 0.8, "task_type": "CPU"}, L4, 1, [], id="on the CPU of a GPU pod, by choice"),
        pytest.param("catboost_regression", {"subsample": 0.8}, L4, 1, [], id="a sample works on both"),
        pytest.param(
            "catboost_multiclass_classification", {"boosting_type": "Ordered"}, L4, 1, ["with MultiClass", "use Plain"], id="by task"
        ),
        pytest.param("catboost_regression", {"boosting_type": "Ordered"}, L4, 1, [], id="by another task"),
        pytest.param(
            "catboost_regression", {"score_function": "NewtonL2"}, "none", 1, ["on a GPU alone", "name a GPU in `gpu`"], id="for a GPU"
        ),
        pytest.param("catboost_regression", {"score_function": "NewtonL2"}, "auto", 1, [], id="auto takes the GPU"),
        pytest.param("catboost_regression", {"score_function": "NewtonL2", "rsm": 0.5}, "auto", 1, ["no machine has both"], id="for both"),
        pytest.param("xgboost_regression", {"tree_method": "exact"}, L4, 1, ["use hist, or take a CPU pod"], id="exact"),
        pytest.param(
            "xgboost_regression", {"device": "cuda"}, "none", 1, ["`gpu: none` rents a pod without a GPU"], id="cuda on a CPU pod"
        ),
        pytest.param("xgboost_regression", {}, L4, 2, [], id="XGBoost shares the fit"),
        pytest.param("lightgbm_regression", {}, L4, 4, [], id="LightGBM shares the fit"),
        pytest.param(
            "xgboost_regression",
            {"tree_method": "approx"},
            L4,
            2,
            ["tree_method` is 'approx', which xgboost does not have where 2 processes", "use hist, or set gpu_count: 1 and machines: 1"],
            id="approx shared",
        ),
        pytest.param("xgboost_regression", {"tree_method": "approx"}, L4, 1, [], id="approx alone"),
        pytest.param("xgboost_regression", {"tree_method": "approx", "device": "cpu"}, L4, 2, [], id="approx on the CPU by choice"),
        pytest.param("lightgbm_regression", {"linear_tree": True}, L4, 2, ["linear_tree` is True", "leave it out"], id="linear"),
        pytest.param("lightgbm_regression", {"tree_learner": "feature"}, L4, 2, ["'feature'", "use data or voting"], id="by features"),
        pytest.param("lightgbm_regression", {"tree": "voting"}, L4, 2, [], id="by votes"),
        pytest.param("lightgbm_regression", {}, "none", 4, [], id="none at all"),
        pytest.param("catboost_regression", {}, L4, 2, [], id="CatBoost uses all"),
        pytest.param("keras_regression", {}, L4, 2, [], id="Keras uses all"),
        pytest.param("lightgbm_regression", {}, "auto", 4, [], id="LightGBM, which auto sends to a CPU"),
        pytest.param("lightgbm_regression", {"device_type": "cuda"}, "auto", 1, ["wheel computes on a CPU alone"], id="LightGBM on a GPU"),
        pytest.param(
            "catboost_regression", {"task_type": "CPU", "score_function": "NewtonL2"}, L4, 1, ["on a GPU alone"], id="CPU by choice"
        ),
        pytest.param("catboost_regression", {"task_type": "CPU", "score_function": "L2"}, "auto", 1, [], id="CPU by choice, fine"),
        pytest.param("xgboost_regression", {"device": "cuda", "tree_method": "exact"}, "auto", 1, ["use hist"], id="GPU by choice"),
        pytest.param(
            "catboost_regression", {"devices": "0"}, L4, 2, ["`gpu_count` is 2", "`hyperparameters.devices` names 1"], id="one named"
        ),
        pytest.param("catboost_regression", {"devices": "0-1"}, L4, 2, [], id="both named"),
        pytest.param("catboost_regression", {"devices": "0:1"}, L4, 2, [], id="each named"),
    ],
)
def test_what_a_machine_cannot_do_is_known_before_it_is_asked_for(
    model_type: str, given: dict[str, Any], gpu: Any, gpu_count: int, parts: list[str]
) -> None:
    parameters = TrainingParameters(model_type=model_type, target_column="y", hyperparameters=given)
    problems = list(problems_on_pod(parameters, gpu, gpu_count))
    assert len(problems) == (1 if parts else 0), problems
    for part in parts:
        assert part in problems[0]
