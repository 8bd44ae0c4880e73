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
from kedro_cloudtrain.planning.inspection import Look
from kedro_cloudtrain.planning.planner import Planner
from kedro_cloudtrain.planning.report import NodeReport
from kedro_cloudtrain.pod.cores import usable_cores

if TYPE_CHECKING:
    from pathlib import Path

NODES = {
    "train": training_node("table", "params:price", model="made", name="train"),
    "score": prediction_node("table", "saved", predictions="scores", name="score"),
    "score_parquet": prediction_node("parquet", "saved", predictions="scores", name="score_parquet"),
    "own": node(os.path.basename, "table", "name", name="own"),
}


def problems(
    folder: Path,
    name: str,
    model: dict[str, Any],
    backend: str,
    settings: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    volume: dict[str, str] | None = None,
) -> str:
    volume = volume or {"path": str(folder / "volume")}
    entries = {
        "table": CloudDataset(dataset_key="a.csv", volume=volume),
        "parquet": CloudDataset(dataset_key="a.parquet", volume=volume),
        "scores": CloudDataset(dataset_key="scores.parquet", volume=volume),
        "saved": ModelDataset(filepath=str(folder / "model")),
        "params:price": MemoryDataset({"target_column": "price", **model}),
    }
    given = {"volume": volume, "backend": backend, "run": run or {}, "nodes": {name: {"machines": 3, **(settings or {})}}}
    (plan,) = Planner(DataCatalog(entries), make_settings(given), TrainingScriptGenerator(), folder).plan([NODES[name]])
    return "\n".join(problem for problem in plan.problems if "achines" in problem or "processes" in problem)


XGBOOST = {"model_type": "xgboost_regression"}
NETWORK = {"id": "abc123xyz", "data_center": "EU-RO-1"}


@pytest.mark.parametrize(
    ("name", "model", "backend", "part"),
    [
        ("own", {}, "local", ""),
        ("train", XGBOOST, "local", ""),
        ("train", {"model_type": "lightgbm_regression"}, "local", ""),
        ("score", {}, "local", "its table `table` is csv, whose rows one machine has to count: set machines: 1"),
        ("score_parquet", {}, "local", ""),
        ("train", {"model_type": "keras_regression"}, "local", "keras trains on one machine: set machines: 1"),
        ("train", {**XGBOOST, "hyperparameters": {"tree_method": "approx"}}, "local", "does not have where 3 processes share a fit"),
    ],
)
def test_what_several_machines_cannot_share_is_refused(tmp_path: Path, name: str, model: dict[str, Any], backend: str, part: str) -> None:
    problem = problems(tmp_path, name, model, backend)
    assert part in problem
    assert bool(part) == bool(problem), problem


@pytest.mark.parametrize(
    ("name", "settings", "run", "part"),
    [
        ("own", {}, {}, ""),
        ("train", {}, {}, ""),
        ("train", {"gpu": "none"}, {}, "RunPod's clusters have GPUs, where `gpu` is none: name one in `gpu`"),
        ("own", {"machines": 251}, {}, "a cluster of RunPod has 2 to 250"),
        ("own", {"keep_s": 60}, {}, "a cluster runs one job: set machines: 1 for the node in cloudtrain.yml, or take `keep_s: 60` out"),
        ("own", {"group": "all"}, {}, "or take `group: all` out"),
        ("own", {}, {"detach": True}, "it must not be left alone: run it without `run.detach`"),
        ("score", {}, {}, "its table `table` is csv, whose rows one machine has to count"),
        ("score_parquet", {}, {}, ""),
    ],
)
def test_what_a_cluster_of_runpods_cannot_do_is_refused(
    tmp_path: Path, name: str, settings: dict[str, Any], run: dict[str, Any], part: str
) -> None:
    problem = problems(tmp_path, name, XGBOOST, "runpod", settings, run, NETWORK)
    assert part in problem
    assert bool(part) == bool(problem), problem


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ({"search": {"n_trials": 2, "space": {"max_depth": {"int": [3, 5]}}}}, "the jobs of a search, or of a partitioned node"),
        ({"hyperparameters": {"tree_method": "approx"}}, "does not have where 3 processes share a fit"),
    ],
)
def test_a_training_that_no_cluster_can_share_is_refused(tmp_path: Path, model: dict[str, Any], part: str) -> None:
    assert part in problems(tmp_path, "train", {**XGBOOST, **model}, "runpod")


def test_without_a_network_volume_the_machines_do_not_find_one_another(tmp_path: Path) -> None:
    assert "find one another by a network volume, where" in problems(tmp_path, "own", {}, "runpod", volume={"bucket": "b"})


@pytest.mark.parametrize("name", ["own", "train"])
def test_dask_that_is_not_installed_is_named_with_the_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert 'pip install "kedro-cloudtrain[dask]", or set' in problems(tmp_path, name, XGBOOST, "local")


def report_of(folder: Path, machines: int) -> NodeReport:
    settings = make_settings({"volume": {"path": str(folder)}, "nodes": {"own": {"machines": machines}}})
    catalog = DataCatalog({"table": MemoryDataset("a/b")})
    (plan,) = Planner(catalog, settings, TrainingScriptGenerator(), folder).plan([NODES["own"]])
    return NodeReport(plan, Look())


def test_a_plan_shows_how_many_processes_share_a_node_here(tmp_path: Path) -> None:
    for machines, where in ((1, "local"), (3, "local · 3 processes")):
        assert report_of(tmp_path, machines).where == where


def test_processes_that_share_a_core_are_a_note_and_more_than_the_memory_has_room_for_a_problem(tmp_path: Path) -> None:
    cores = max(2, int(usable_cores()))
    assert report_of(tmp_path, cores).notes == []
    (note,) = report_of(tmp_path, cores + 1).notes
    assert note.startswith(f"`machines` is {cores + 1}, and this computer has {usable_cores():g} core")
    assert report_of(tmp_path, 1).notes == []
    (problem,) = report_of(tmp_path, 100_000).problems
    assert problem.startswith(
        "`machines` is 100,000: here they are processes, which take 23,000.0 GB before they have read a row, and this"
    )
    # A cluster of RunPod has machines of its own.
    assert "processes, which take" not in problems(tmp_path, "own", {}, "runpod", {"machines": 250}, volume=NETWORK)
