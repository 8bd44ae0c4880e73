"""Trainings whose table is read in pieces: the same rows, the same encoding and nearly the same model as of the table in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.recipe_job import TASKS, awkward_table

if TYPE_CHECKING:
    from support.recipe_job import Job

TARGETS = dict(zip(TASKS, ("räte ($)", "is it?", "class {{ }}"), strict=True))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_it(job: Job, another_job: Job, library: str, task: str) -> None:
    table = awkward_table(400)
    target = TARGETS[task]
    frame = table.drop(columns=[name for name in TARGETS.values() if name != target])
    key = job.table("t.parquet" if task != "regression" else "t.csv", frame)
    asked = {"validation": {"fraction": 0.2, "test_fraction": 0.1, "seed": 1}, "seed": 11}
    result = job.run_here(f"{library}_{task}", key, target, in_pieces=True, **asked)
    assert result["state"] == "succeeded", result
    other = another_job.run_here(f"{library}_{task}", key, target, **asked)
    assert result["rows"] == other["rows"]
    print(job.output("metrics"), another_job.output("metrics"))
    assert job.model.description["features"] == another_job.model.description["features"]
    np.testing.assert_allclose(job.predictions["prediction" if task == "regression" else job.predictions.columns[-1]], another_job.predictions["prediction" if task == "regression" else job.predictions.columns[-1]])
