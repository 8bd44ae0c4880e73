"""Trainings in pieces before the run: chosen for a table that is larger than memory, refused where a recipe needs all rows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kedro.io import DataCatalog, MemoryDataset

from kedro_cloudtrain import CloudDataset, TrainingScriptGenerator, training_node
from kedro_cloudtrain.config import NodeSettings, make_settings
from kedro_cloudtrain.jobs import pieces_checks
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.planning.planner import Planner
from kedro_cloudtrain.planning.quotes import disk_problems
from kedro_cloudtrain.planning.report import report
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.training import training_workload

if TYPE_CHECKING:
    from pathlib import Path

    from kedro_cloudtrain.planning.training import TrainingPlan

XGBOOST, LIGHTGBM = "xgboost_regression", "lightgbm_regression"


def planner(folder: Path, key: str, load_args: dict[str, Any] | None = None, **parameters: Any) -> Planner:
    volume = {"path": str(folder / "volume")}
    (folder / "volume").mkdir(exist_ok=True)
    (folder / "volume" / key).write_text("width,height,price\n1,2,3\n" * 2)
    asked = {"model_type": XGBOOST, "target_column": "price", "feature_columns": ["width", "height"], **parameters}
    table = CloudDataset(dataset_key=key, volume=volume, load_args=load_args or {})
    catalog = DataCatalog({"table": table, "params:price": MemoryDataset(asked)})
    return Planner(catalog, make_settings({"volume": volume}), TrainingScriptGenerator(), folder)


def plan_of(each: Planner) -> TrainingPlan:
    (plan,) = each.plan([training_node("table", "params:price", model="model", name="train")])
    return plan  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("key", "load_args", "parameters", "part"),
    [
        (
            "a.csv",
            {},
            {"model_type": "catboost_regression"},
            "CatBoost makes its bins of all rows at once: take it out, or",
        ),
        ("a.csv", {}, {"model_type": "keras_regression", "backend": "torch"}, "`backend` is 'torch', while pieces are loaded for JAX"),
        ("a.csv", {}, {"validation": {"folds": 3}}, "`validation.folds` encodes rows in memory"),
        ("a.csv", {}, {"hyperparameters": {"tree_method": "approx"}}, "`hyperparameters.tree_method` is 'approx'"),
        ("a.csv", {}, {"hyperparameters": {"booster": "gblinear"}}, "`hyperparameters.booster` is 'gblinear'"),
        ("a.csv", {}, {"hyperparameters": {"device": "cuda"}}, "`hyperparameters.device` is 'cuda'"),
        (
            "a.csv",
            {},
            {"model_type": LIGHTGBM, "hyperparameters": {"linear_tree": True}},
            "`hyperparameters.linear_tree` keeps all",
        ),
        ("a.xlsx", {}, {}, "`table` is xlsx, which only a reader of all rows understands: save it as parquet or csv"),
        ("a.jsonl", {}, {}, "`table` is jsonl"),
        ("a.csv", {"parse_dates": ["width"]}, {}, "`table` has load_args.parse_dates, which pandas applies to all rows at once"),
    ],
)
def test_what_needs_all_rows_at_once_is_refused(
    tmp_path: Path, key: str, load_args: dict[str, Any], parameters: dict[str, Any], part: str
) -> None:
    problems = plan_of(planner(tmp_path, key, load_args, in_pieces=True, **parameters)).problems
    assert any(problem.startswith("`in_pieces` is true, and ") and part in problem for problem in problems), problems
    assert not any("in_pieces" in problem for problem in plan_of(planner(tmp_path, key, load_args, **parameters)).problems)


@pytest.mark.parametrize("parameters", [{}, {"model_type": LIGHTGBM}, {"hyperparameters": {"booster": "dart"}}, {"class_weight": None}])
def test_a_table_in_pieces_is_a_note(tmp_path: Path, parameters: dict[str, Any]) -> None:
    each = planner(tmp_path, "a.csv", in_pieces=True, **parameters)
    plan = plan_of(each)
    assert not plan.problems
    (node,) = report(each, [plan], 1).nodes
    assert node.notes == ["its table is read and fitted in pieces"]


@pytest.mark.parametrize(
    ("memory_gb", "parameters", "in_pieces", "note"),
    [
        (3.0, {}, True, "would take about 2 GB, more than half of this computer's 3 GB: it is read and fitted in pieces"),
        (3.0, {"in_pieces": False}, False, ""),
        (3.0, {"validation": {"folds": 2}}, False, "it cannot be fitted in pieces: `validation.folds` encodes rows in memory"),
        (64.0, {}, False, ""),
    ],
)
def test_a_table_larger_than_memory_is_read_in_pieces_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_gb: float, parameters: dict[str, Any], in_pieces: bool, note: str
) -> None:
    monkeypatch.setattr(pieces_checks, "host_memory_gb", lambda: memory_gb)
    for module in ("jobs.pieces_checks", "running.training"):
        monkeypatch.setattr(f"kedro_cloudtrain.{module}.LOOKED_AT_BYTES", 0)
    each = planner(tmp_path, "a.csv", **parameters)
    plan = plan_of(each)
    (node,) = report(each, [plan], 1).nodes
    assert not plan.problems
    assert len(node.notes) == bool(note)
    assert note in "".join(node.notes)
    asked = {"params:price": each.catalog.get("params:price").load(), "table": plan.sources["table"]}
    assert ("TrainingInPieces(" in prepare(plan.order(asked, each.generator), each.generator).script) is in_pieces


def test_this_computers_memory_is_that_of_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = pieces_checks.host_memory_gb()
    assert whole > 0.1
    (tmp_path / "limit").write_text("100000000\n")
    monkeypatch.setattr(pieces_checks, "_CONTAINER_LIMIT", tmp_path / "limit")
    assert pieces_checks.host_memory_gb() == 0.1


def test_a_pod_in_pieces_has_a_cpu_the_memory_of_the_fit_and_the_disk_of_its_rows() -> None:
    asked = {"model_type": LIGHTGBM, "target_column": "price", "in_pieces": True}
    rows, columns = 1_000_000_000, 20
    in_pieces = training_workload(TrainingParameters(**asked), rows, columns, None)
    in_memory = training_workload(TrainingParameters(**{**asked, "in_pieces": False}), rows, columns, None)
    assert (in_pieces.device, in_pieces.uses_gpu) == ("cpu", False)
    # LightGBM holds a byte of each number, and some of each row.
    assert 80 < in_pieces.ram_gb < in_memory.ram_gb / 4
    assert (in_pieces.disk_gb, in_memory.disk_gb) == (100, 0)
    (problem,) = disk_problems(NodeSettings(), in_pieces)
    assert problem.startswith(
        "disk_gb is 20, and the encoded rows of a table in pieces take about 100 GB of the pod's disk: set disk_gb: 200"
    )
    assert not [*disk_problems(NodeSettings(disk_gb=200), in_pieces), *disk_problems(NodeSettings(), in_memory)]


def test_an_xgboost_that_has_no_pieces_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces_checks, "version", lambda _: "2.1.4")
    (problem,) = plan_of(planner(tmp_path, "a.csv", in_pieces=True)).problems
    assert "this environment has XGBoost 2.1.4, while pieces need 3.0: pip install --upgrade xgboost" in problem
