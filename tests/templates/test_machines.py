"""A fit that machines share: each process reads its own part of the table, and the job is as with one that reads all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from support.recipe_job import TASKS, awkward_table

if TYPE_CHECKING:
    from support.recipe_job import Job

TARGETS = dict(zip(TASKS, ("räte ($)", "is it?", "class {{ }}"), strict=True))
ROWS = 400


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
        ("xgboost_regression", "csv", {"validation": {"fraction": 0.2, "test_fraction": 0.1}}),
        ("xgboost_multiclass_classification", "parquet", {"class_weight": "balanced", "validation": {"group_column": "whole numbers"}}),
        ("lightgbm_regression", "parquet", {"validation": {"time_column": "comma,colon:"}, "categorical_columns": ["whole numbers"]}),
        ("lightgbm_binary_classification", "csv", {"class_weight": "balanced", "weight_column": "whole numbers"}),
    ],
)
def test_a_fit_on_machines_has_the_rows_and_features_of_one(job: Job, another_job: Job, recipe: str, form: str, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    target = TARGETS[recipe.partition("_")[2]]
    table = awkward(target)
    key = job.table(f"a b/täble.{form}", table)

    expected = another_job.run_here(recipe, key, target, **asked, seed=11)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("read", "dropped", "check", "train"))]
    result = job.run_here(recipe, key, target, machines=2, **asked, seed=11)
    log = capsys.readouterr().out.replace(str(job.volume), str(another_job.volume)).splitlines()

    assert result["state"] == expected["state"] == "succeeded", (result["error"] or expected["error"])
    assert [line for line in told if line not in log] == []
    assert result["rows"] == expected["rows"]
    assert features_of(job) == another_job.model.description["features"]
    assert scores(job) == pytest.approx(scores(another_job), rel=0.2)
    for column in ("row", "target"):
        assert (job.predictions[column] == another_job.predictions[column]).all()
    held = table.iloc[job.predictions["row"]]
    np.testing.assert_allclose(job.model.predict_table(held).iloc[:, -1], job.predictions.iloc[:, -1], rtol=1e-6)
