"""A fit that two processes share: as good as one of a single process, the same each time, and from its checkpoint after a lost machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from support.recipe_job import awkward_table

if TYPE_CHECKING:
    from support.recipe_job import Job

ROUNDS = 80
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": ROUNDS, "max_depth": 3, "learning_rate": 0.3},
    "lightgbm": {"n_estimators": ROUNDS, "num_leaves": 7, "learning_rate": 0.3},
}
EVERY = {"CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS": "4"}


def table(rows: int = 900) -> pd.DataFrame:
    random = np.random.default_rng(8)
    frame = pd.DataFrame({name: random.normal(size=rows) for name in "abc"})
    frame["k"] = random.choice(["x", "y", "z"], rows)
    frame["y"] = 3 * frame["a"] - frame["b"] ** 2 + 2 * (frame["k"] == "x") + random.normal(scale=1.0, size=rows)
    frame["w"] = random.random(rows) + 0.5
    return frame.sort_values("y")  # each process must get some of everything


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_shared_fit_whose_machine_is_lost_ends_as_one_that_is_not(job: Job, library: str) -> None:
    key = job.table("t.parquet", table())
    more = {"hyperparameters": HYPERPARAMETERS[library], "weight_column": "w", "early_stopping_rounds": 4}
    recipe = f"{library}_regression"
    alone = job.run_here(recipe, key, "y", **more)
    expected, importance = job.output("metrics"), job.output("importance")

    shared = job.run_here(recipe, key, "y", workers=2, **more)
    metrics, history = job.output("metrics"), job.output("history")
    assert (shared["state"], shared["rows"], shared["device"]) == ("succeeded", alone["rows"], "cpu")
    assert metrics.keys() == expected.keys()
    assert metrics["rmse"] == pytest.approx(expected["rmse"], rel=0.1)
    assert {row["feature"] for row in job.output("importance")[:2]} == {row["feature"] for row in importance[:2]}
    steps = [json.loads(line)["step"] for line in (job.folder / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
    assert steps == list(range(1, len(history) + 1))
    assert 12 < len(history) < ROUNDS, "it stops early"
    assert history[-1].keys() == {"round", "train_rmse", "validation_rmse"}
    assert metrics["rmse"] == pytest.approx(min(row["validation_rmse"] for row in history), rel=1e-5)

    job.lose(after_rounds=10, **EVERY)
    again = job.run_again(job.folder / "train.py", **EVERY)
    assert "resumes from round 8 of its checkpoint" in job.log
    assert again["state"] == "succeeded", job.log
    assert job.output("history") == history
    assert job.output("metrics") == metrics


def test_processes_that_would_each_see_a_part_of_the_values_have_the_bins_of_all(job: Job) -> None:
    key, target = job.table("t.parquet", awkward_table(400)), "räte ($)"
    asked = {"validation": {"time_column": "comma,colon:"}, "categorical_columns": ["whole numbers"]}
    expected = job.run_here("lightgbm_regression", key, target, **asked)
    metrics = job.output("metrics")
    # By itself, LightGBM would divide the columns, and each process would find the bins of some, of its own rows alone: it dies of that.
    result = job.run_here("lightgbm_regression", key, target, workers=2, **asked)
    assert (result["state"], result["rows"]) == ("succeeded", expected["rows"]), result["error"]
    assert job.output("metrics")["rmse"] == pytest.approx(metrics["rmse"], rel=0.2)


def test_folds_share_the_processes_too(job: Job) -> None:
    key = job.table("t.parquet", table(300).drop(columns="w"))
    more = {"hyperparameters": {"n_estimators": 4, "max_depth": 2}, "validation": {"folds": 2}}
    job.run_here("xgboost_regression", key, "y", **more)
    expected = job.output("metrics")["rmse"]
    job.run_here("xgboost_regression", key, "y", workers=2, **more)
    assert job.output("metrics")["rmse"] == pytest.approx(expected, rel=0.1)
    assert not (job.folder / "checkpoint").exists()
