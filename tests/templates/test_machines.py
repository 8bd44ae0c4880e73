"""A fit that machines share: each process reads its own part of the table, and the job is as with one that reads all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from support.recipe_job import TASKS, awkward_table
from support.traffic import Traffic

if TYPE_CHECKING:
    from support.recipe_job import Job

TARGETS = dict(zip(TASKS, ("räte ($)", "is it?", "class {{ }}"), strict=True))
ROWS = 400
EVERY = {"CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS": "4"}


def awkward(target: str) -> pd.DataFrame:
    return awkward_table(ROWS).drop(columns=[name for name in TARGETS.values() if name != target])


def features_of(job: Job) -> list[dict[str, Any]]:
    features = job.model.description["features"]
    return [{**each, "mean": pytest.approx(each["mean"], rel=1e-9), "scale": pytest.approx(each["scale"], rel=1e-9)} for each in features]


def scores(job: Job) -> dict[str, float]:
    return {name: value for name, value in job.output("metrics").items() if isinstance(value, float)}


@pytest.mark.parametrize(
    ("recipe", "form", "asked"),
    [
        (
            "xgboost_multiclass_classification",
            "csv",
            {"class_weight": "balanced", "validation": {"group_column": "whole numbers", "fraction": 0.2, "test_fraction": 0.2}},
        ),
        ("lightgbm_regression", "parquet", {"validation": {"time_column": "comma,colon:"}, "weight_column": "whole numbers"}),
    ],
)
def test_a_fit_on_machines_has_the_rows_and_features_of_one(
    job: Job, another_job: Job, recipe: str, form: str, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    target = TARGETS[recipe.partition("_")[2]]
    table = awkward(target)
    key = job.table(f"a b/täble.{form}", table)

    expected = another_job.run_here(recipe, key, target, **asked, seed=11)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("read", "dropped", "check", "train"))]
    result = job.run_here(recipe, key, target, machines=2, **asked, seed=11)
    log = capsys.readouterr().out.replace(str(job.volume), str(another_job.volume)).splitlines()

    assert result["state"] == expected["state"] == "succeeded", result["error"] or expected["error"]
    assert [line for line in lines if line not in log] == []
    assert result["rows"] == expected["rows"]
    assert features_of(job) == another_job.model.description["features"]
    assert scores(job) == pytest.approx(scores(another_job), rel=0.2)
    for column in ("row", "target"):
        assert (job.predictions[column] == another_job.predictions[column]).all()
    held = table.iloc[job.predictions["row"]]
    np.testing.assert_allclose(job.model.predict_table(held).iloc[:, -1], job.predictions.iloc[:, -1], rtol=1e-6)


def test_less_than_a_hundredth_of_the_table_passes_through_the_jobs_own_process(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(7)
    table = pd.DataFrame(random.normal(size=(250_000, 29)), columns=[f"x{number}" for number in range(29)])
    table["shop"] = random.choice(["here", "there", "nowhere"], len(table))
    table["y"] = np.where(table["x0"] + random.normal(size=len(table)) > 0, "yes", "no")
    file = job.volume / "t.parquet"
    job.volume.mkdir(exist_ok=True)
    table.to_parquet(file, row_group_size=25_000)
    traffic = Traffic().counted(monkeypatch)
    more = {"outputs": ("metrics", "predictions"), "hyperparameters": {"n_estimators": 4, "max_depth": 3}}
    result = job.run_here("xgboost_binary_classification", "t.parquet", "y", machines=2, **more)
    assert result["state"] == "succeeded", result["error"]
    assert 0.95 * file.stat().st_size < result["bytes_read"] < 1.05 * file.stat().st_size
    # Each row's class and what it is for, the predictions, and Dask's own messages.
    assert 0 < traffic.bytes < 0.01 * file.stat().st_size


def test_a_fit_on_machines_goes_on_from_the_checkpoint_of_a_lost_one(job: Job) -> None:
    random = np.random.default_rng(8)
    table = pd.DataFrame({name: random.normal(size=900) for name in "abc"} | {"k": random.choice(["x", "y", "z"], 900)})
    table["y"] = 3 * table["a"] - table["b"] ** 2 + 2 * (table["k"] == "x") + random.normal(size=900)
    key = job.table("t.parquet", table.sort_values("y"))
    more = {"hyperparameters": {"n_estimators": 80, "num_leaves": 7, "learning_rate": 0.3}, "early_stopping_rounds": 4}
    job.run_here("lightgbm_regression", key, "y", **more)
    alone = job.output("metrics")["rmse"]
    job.run_here("lightgbm_regression", key, "y", machines=2, **more)
    metrics, history = job.output("metrics"), job.output("history")
    assert metrics["rmse"] == pytest.approx(alone, rel=0.1)
    assert 12 < len(history) < 80, "it stops early"

    job.lose(after_rounds=10, **EVERY)
    again = job.run_again(job.folder / "train.py", **EVERY)
    assert "resumes from round 8 of its checkpoint" in job.log
    assert again["state"] == "succeeded", job.log
    assert job.output("history") == history
    assert job.output("metrics") == metrics
