"""A search in a plan: its trials, its bound, and what its node and its settings have against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, MemoryDataset

from kedro_cloudtrain import CloudDataset, training_node
from kedro_cloudtrain.backends.runpod.offers import Candidate
from kedro_cloudtrain.config import make_settings
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.search_space import Search
from kedro_cloudtrain.planning.inspection import Look
from kedro_cloudtrain.planning.plan import NodePlan
from kedro_cloudtrain.planning.planner import Planner
from kedro_cloudtrain.planning.quotes import Quote, of_search
from kedro_cloudtrain.planning.report import NodeReport

SEARCH = {"space": {"max_depth": {"int": [2, 6]}}, "n_trials": 10}


def plan_of(folder: Path, settings: dict[str, Any], search: Any = SEARCH) -> NodePlan:
    volume = {"path": str(folder / "volume")}
    asked = {"model_type": "lightgbm_regression", "target_column": "price", **({} if search is None else {"search": search})}
    catalog = DataCatalog({"table": CloudDataset(dataset_key="a.csv", volume=volume), "params:price": MemoryDataset(asked)})
    planner = Planner(catalog, make_settings({"volume": volume, **settings}), TrainingScriptGenerator(), folder)
    (plan,) = planner.plan([training_node("table", "params:price", model="model", trials="trials", name="train")])
    return plan


def test_a_plan_has_the_trials_of_a_search(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {})
    assert (plan.problems, plan.search is not None) == ((), True)
    trials = "searches max_depth: 10 trials by tpe for the lowest rmse, one after another"
    assert plan.notes == [f"{trials}; its space has 5 points, and a trial that comes again is reused"]
    wide = {**SEARCH, "space": {"max_depth": {"int": [2, 11]}}}
    assert plan_of(tmp_path, {}, wide).notes == [trials]


@pytest.mark.parametrize(
    ("asked", "max_pods", "note"),
    [
        ({"parallel": 4}, 1, "`search.parallel` is 4, but only 1 runs at once: raise `run.max_pods`"),
        ({"parallel": 4}, 4, None),
        ({}, 1, None),
        # Two trials are never three at once.
        ({"parallel": 4, "n_trials": 2}, 2, None),
        ({"parallel": 4, "n_trials": 3}, 2, "`search.parallel` is 4, but only 2 run at once: raise `run.max_pods`"),
    ],
)
def test_the_trials_that_max_pods_holds_back_are_told(tmp_path: Path, asked: dict[str, Any], max_pods: int, note: str | None) -> None:
    plan = plan_of(tmp_path, {}, {**SEARCH, **asked})
    notes = NodeReport(plan, Look(), max_pods=max_pods).notes
    assert notes == [*plan.notes, *([] if note is None else [note])]


@pytest.mark.parametrize(
    ("settings", "search", "part"),
    [
        ({}, None, "The node saves `trials`, and its parameters have no `search`"),
        ({"nodes": {"train": {"group": "small"}}}, SEARCH, "its trials have machines of their own, and `group: small`"),
        ({"run": {"detach": True}}, SEARCH, "`run.detach` leaves jobs running, and a search needs its client"),
        ({}, {**SEARCH, "space": {"max_dept": {"int": [2, 6]}}}, "`search.space.max_dept` is not a hyperparameter of lightgbm"),
    ],
)
def test_what_a_node_and_its_settings_have_against_a_search_is_planned(tmp_path: Path, settings: Any, search: Any, part: str) -> None:
    assert part in "\n".join(plan_of(tmp_path, settings, search).problems)


def test_the_machines_of_a_search_start_once_and_its_limit_bounds_its_dollars() -> None:
    # A start of 120 to 360 s at $0.36 an hour, and a fit of at most 100 s.
    price = Quote(Candidate("GPU", None, 1, 0.36, "HIGH", 24.0), "", (0.012, 0.046), 0.5)
    many = of_search(price, Search.model_validate({**SEARCH, "n_trials": 100}), 1)
    assert many.estimate_usd == pytest.approx((0.012, 0.036 + 100 * 0.01))
    assert (many.worst_usd, many.notes) == (0.5, ("the search costs at most $50.00 in the worst case: its trials",))
    limited = of_search(price, Search.model_validate({**SEARCH, "n_trials": 100, "max_cost_usd": 0.25}), 2)
    assert limited.estimate_usd == pytest.approx((0.024, 0.036 * 2 + 1.0))
    assert limited.notes == ("the search costs at most $1.25 in the worst case: search.max_cost_usd and what is under way then",)
    assert of_search(Quote(), Search.model_validate(SEARCH), 1) == Quote()
