"""A node whose work several machines are to share: what the plan has against it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node

from kedro_cloudtrain import CloudDataset, ModelDataset, prediction_node, training_node
from kedro_cloudtrain.config import make_settings
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.planning.planner import Planner

if TYPE_CHECKING:
    from pathlib import Path

NODES = {
    "train": training_node("table", "params:price", model="made", name="train"),
    "score": prediction_node("table", "saved", predictions="scores", name="score"),
    "own": node(os.path.basename, "table", "name", name="own"),
}


def problems(folder: Path, name: str, model: dict[str, Any], backend: str) -> str:
    volume = {"path": str(folder / "volume")}
    entries = {
        "table": CloudDataset(dataset_key="a.csv", volume=volume),
        "scores": CloudDataset(dataset_key="scores.parquet", volume=volume),
        "saved": ModelDataset(filepath=str(folder / "model")),
        "params:price": MemoryDataset({"target_column": "price", **model}),
    }
    settings = make_settings({"volume": volume, "backend": backend, "nodes": {name: {"machines": 3}}})
    (plan,) = Planner(DataCatalog(entries), settings, TrainingScriptGenerator(), folder).plan([NODES[name]])
    return "\n".join(problem for problem in plan.problems if "achines" in problem or "processes" in problem)


XGBOOST = {"model_type": "xgboost_regression"}


@pytest.mark.parametrize(
    ("name", "model", "backend", "part"),
    [
        ("own", {}, "local", ""),
        ("train", XGBOOST, "local", ""),
        ("train", {"model_type": "lightgbm_regression"}, "local", ""),
        ("own", {}, "runpod", "`machines` is 3, and on RunPod a node has one machine: set machines: 1 for the node in cloudtrain.yml"),
        ("train", XGBOOST, "runpod", "and gpu_count for more GPUs on it"),
        ("score", {}, "local", "a prediction goes through its table in pieces on one machine: set machines: 1"),
        ("train", {"model_type": "keras_regression"}, "local", "keras trains on one machine: set machines: 1"),
        ("train", {**XGBOOST, "hyperparameters": {"tree_method": "approx"}}, "local", "does not have where 3 processes share a fit"),
    ],
)
def test_what_several_machines_cannot_share_is_refused(tmp_path: Path, name: str, model: dict[str, Any], backend: str, part: str) -> None:
    found = problems(tmp_path, name, model, backend)
    assert part in found
    assert bool(part) == bool(found), found


@pytest.mark.parametrize("name", ["own", "train"])
def test_dask_that_is_not_installed_is_named_with_the_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert 'pip install "kedro-cloudtrain[dask]", or set' in problems(tmp_path, name, XGBOOST, "local")
