"""How many processes share a fit, on a pod and on this computer."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.preflight import problems_here
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.sharing import each_reads_its_own, processes_here, processes_on_pod
from kedro_cloudtrain.jobs.spec import TrainingSpec

L4 = ("NVIDIA L4",)


def parameters(model_type: str, **hyperparameters: Any) -> TrainingParameters:
    return TrainingParameters(model_type=model_type, target_column="y", hyperparameters=hyperparameters)


@pytest.mark.parametrize(
    ("model_type", "given", "gpu", "processes"),
    [
        ("xgboost_regression", {}, L4, 4),
        ("xgboost_regression", {}, "auto", 4),
        ("xgboost_regression", {}, "none", 1),
        ("xgboost_regression", {"device": "cpu"}, L4, 1),
        ("xgboost_regression", {"tree_method": "exact"}, "auto", 1),
        ("lightgbm_regression", {}, L4, 4),
        ("lightgbm_regression", {}, "auto", 1),
        ("catboost_regression", {}, L4, 1),
        ("keras_regression", {}, L4, 1),
        ("xgboost_of_my_own", {}, L4, 1),
    ],
)
def test_a_pods_gpus_have_a_process_each_where_a_library_needs_it(model_type: str, given: dict[str, Any], gpu: Any, processes: int) -> None:
    assert processes_on_pod(parameters(model_type, **given), gpu, 4) == processes


@pytest.mark.parametrize(("gpus", "processes"), [(0, 1), (1, 1), (2, 2), (3, 2)])
def test_this_computer_has_as_many_processes_as_it_has_gpus_for(
    gpus: int, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if gpus:
        lines = "; ".join(["echo 'NVIDIA L4, 570.124'"] * gpus)
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert processes_here(parameters("xgboost_regression"), 2) == processes
    assert processes_here(parameters("lightgbm_regression"), 2) == 1
    assert processes_here(parameters("lightgbm_regression"), 2, machines=3) == 3
    assert processes_here(parameters("xgboost_regression"), 2, machines=3) == 3
    assert processes_here(parameters("keras_regression"), 2, machines=3) == 1
    assert list(problems_here(parameters("xgboost_regression"), 2)) == []
    approx = list(problems_here(parameters("xgboost_regression", tree_method="approx"), 2))
    assert len(approx) == (1 if processes > 1 else 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    missing = list(problems_here(parameters("xgboost_regression"), 2))
    assert [
        sentence.startswith("2 processes are to share the fit, for which dask is not installed in this environment: pip install")
        for sentence in missing
    ] == ([True] if processes > 1 else [])


TABLE: dict[str, Any] = {"dataset_key": "t.parquet"}


@pytest.mark.parametrize(
    ("machines", "source", "more", "own"),
    [
        (2, TABLE, {}, True),
        (1, TABLE, {}, False),
        (2, {"dataset_url": "https://example.org/t.csv?year=2026"}, {}, True),
        (2, {"dataset_url": "https://example.org/t", "file_format": "csv", "load_args": {"sep": ";"}}, {}, True),
        (2, {"dataset_file": "inputs/t.parquet"}, {"class_weight": "balanced", "weight_column": "w"}, True),
        (2, TABLE, {"validation": {"time_column": "when", "fraction": 0.1}}, True),
        # What all rows are needed for at once.
        (2, TABLE, {"validation": {"folds": 3}}, False),
        (2, TABLE, {"validation": {"dataset": "held_out"}}, False),
        (2, {**TABLE, "load_args": {"rows": {"shop": 1}}}, {}, False),
        (2, {"dataset_key": "t.xlsx"}, {}, False),
        (2, {"dataset_key": "t.jsonl"}, {}, False),
        (2, {"dataset_key": "t.csv", "load_args": {"skipfooter": 2}}, {}, False),
        (2, {"dataset_key": "t.unknown"}, {}, False),
    ],
)
def test_each_process_reads_its_own_part_where_no_process_needs_all_rows(
    machines: int, source: dict[str, Any], more: dict[str, Any], own: bool
) -> None:
    held = {"validation": {"dataset_key": "held.parquet"}} if "dataset" in more.get("validation", {}) else {}
    given = TrainingParameters(model_type="xgboost_binary_classification", target_column="y", **more)
    spec = TrainingSpec(name="n", parameters=given, sources={"data": source, **held}, workers=2, machines=machines)
    assert each_reads_its_own(spec) == own
    assert ("machines" in spec.model_dump()) == (machines > 1)


@pytest.mark.parametrize("name", [None, "xgboost_regression.py.j2", "_xgboost.py.j2", "_read.py.j2"])
def test_a_projects_own_template_reads_the_table_as_it_always_did(name: str | None, tmp_path: Path) -> None:
    if name is not None:
        shutil.copy(str(resources.files("kedro_cloudtrain.templates") / name), tmp_path / name)
    spec = TrainingSpec(name="n", parameters=parameters("xgboost_regression"), sources={"data": TABLE}, workers=2, machines=2)
    script = TrainingScriptGenerator(tmp_path).render(spec)
    assert ("job.read_parts(" in script) == (name is None)
    assert ("cluster.share_out(train)" in script) == (name is not None)
