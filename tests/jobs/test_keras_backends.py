"""What is wrong with a training on Keras's backends, before anything runs."""

from __future__ import annotations

import importlib.util

import pytest

from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.preflight import problems_before, problems_on_pod
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator


def keras(backend: str | None) -> TrainingParameters:
    return TrainingParameters.model_validate({"model_type": "keras_regression", "target_column": "y", "backend": backend})


@pytest.mark.parametrize(
    ("backend", "variable", "missing", "problem"),
    [
        (None, "", {"tensorflow", "torch"}, ""),
        ("jax", "", {"tensorflow", "torch"}, ""),
        ("tensorflow", "jax", {"tensorflow", "torch"}, ""),
        (
            "tensorflow",
            "",
            {"tensorflow", "torch"},
            'keras needs tensorflow, which is not installed in this environment: pip install "kedro-cloudtrain[tensorflow]"',
        ),
        (
            "torch",
            "",
            {"tensorflow", "torch"},
            'keras needs torch, which is not installed in this environment: pip install "kedro-cloudtrain[keras]" torch',
        ),
        (
            "jax",
            "torch",
            {"torch"},
            'keras needs torch, which is not installed in this environment: pip install "kedro-cloudtrain[keras]" torch',
        ),
        (
            "tensorflow",
            "",
            {"keras", "tensorflow"},
            'keras is not installed in this environment: pip install "kedro-cloudtrain[tensorflow]"',
        ),
    ],
)
def test_a_backend_that_is_not_installed_is_named_with_the_command(
    backend: str | None, variable: str, missing: set[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", variable)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else find_spec(name))
    assert problems_before(keras(backend), TrainingScriptGenerator()) == ([problem] if problem else [])
    # On a pod it will be there.
    assert problems_before(keras(backend), TrainingScriptGenerator(), local=False) == []


@pytest.mark.parametrize(("backend", "refused"), [(None, False), ("jax", False), ("tensorflow", True), ("torch", True)])
def test_a_second_gpu_that_a_backend_leaves_idle_is_refused(backend: str | None, refused: bool) -> None:
    sentence = (
        f"`gpu_count` is 2, and keras on {backend} trains on one GPU at most: the others would be paid for and idle. Set gpu_count: 1 "
        "for the node in cloudtrain.yml, or leave `backend` to jax."
    )
    assert list(problems_on_pod(keras(backend), ["NVIDIA L4"], 2)) == ([sentence] if refused else [])
    assert list(problems_on_pod(keras(backend), ["NVIDIA L4"], 1)) == []
