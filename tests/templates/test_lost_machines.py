"""A fit whose machine is lost, and the same script again: it goes on from its checkpoint and ends with the same model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from support.recipe_job import Job

# With random draws where the library keeps their state: CatBoost's rows, Keras's batches and dropout.
EQUAL: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 40, "max_depth": 3, "learning_rate": 0.1, "n_jobs": 1},
    "lightgbm": {"n_estimators": 40, "num_leaves": 7, "num_threads": 1},
    "catboost": {"iterations": 40, "depth": 3, "bootstrap_type": "Bernoulli", "subsample": 0.5, "thread_count": 1},
    "keras": {"epochs": 12, "hidden_units": [8], "batch_size": 64, "dropout": 0.3},
}
# CatBoost writes snapshots by the clock only: 40 rounds must take two seconds.
PAUSE_S = {"catboost": 0.06}
LOST_AFTER = {"xgboost": (13, 30), "lightgbm": (13, 30), "catboost": (22, 36), "keras": (5, 10)}
EVERY = {"CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS": "4", "CLOUDTRAIN_CHECKPOINT_EVERY_S": "1"}

IN_PIECES = ("xgboost", "lightgbm", "keras")


def table(rows: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(8)
    frame = pd.DataFrame({name: random.normal(size=rows) for name in "abc"})
    frame["y"] = 3 * frame["a"] - frame["b"] ** 2 + random.normal(scale=2.0, size=rows)
    return frame


def outputs(job: Job) -> tuple[Any, list[Any]]:
    return job.predictions.filter(like="predict").to_numpy(), job.output("history")


def lost_twice(job: Job, library: str, **asked: Any) -> None:
    """Fit, lose the machine at two rounds, and fit to the end."""
    script = job.write(f"{library}_regression", job.table("y.csv", table()), "y", **asked)
    for rounds in LOST_AFTER[library]:
        job.lose(rounds, PAUSE_S.get(library, 0.0), **EVERY)
        assert (job.folder / "checkpoint/latest.json").is_file()
    job.run_again(script, **EVERY)
    assert job.exit_code == 0, job.log
    assert not (job.folder / "checkpoint").exists()


@pytest.mark.parametrize(
    ("library", "more"), [*((library, {}) for library in EQUAL), *((library, {"in_pieces": True}) for library in IN_PIECES)]
)
def test_a_fit_that_lost_its_machine_twice_ends_as_one_that_lost_none(
    job: Job, another_job: Job, library: str, more: dict[str, Any]
) -> None:
    asked = {"hyperparameters": EQUAL[library], "seed": 3, **more}
    another_job.run_here(f"{library}_regression", another_job.table("y.csv", table()), "y", **asked)
    lost_twice(job, library, **asked)
    assert "resumes from" in job.log
    (predictions, history), (wanted, wanted_history) = outputs(job), outputs(another_job)
    np.testing.assert_array_equal(predictions, wanted)
    assert history == wanted_history
    # The progress is that of the whole fit, not of the rest of it.
    last = json.loads((job.folder / "progress.jsonl").read_text().splitlines()[-1])
    assert last["step"] == last["of"] == len(history)


@pytest.mark.parametrize("library", EQUAL)
def test_a_fit_stops_early_by_the_rounds_before_its_machine_was_lost(job: Job, another_job: Job, library: str) -> None:
    slow = {"xgboost": ("n_estimators", 400), "lightgbm": ("n_estimators", 400), "catboost": ("iterations", 400), "keras": ("epochs", 60)}
    fast = {"xgboost": {"learning_rate": 0.3}, "lightgbm": {"learning_rate": 0.3}, "catboost": {"learning_rate": 0.4}}
    fast["keras"] = {"learning_rate": 0.05}
    name, rounds = slow[library]
    asked = {"hyperparameters": {**EQUAL[library], **fast[library], name: rounds}, "early_stopping_rounds": 8 if library != "keras" else 4}
    another_job.run_here(f"{library}_regression", another_job.table("y.csv", table()), "y", **asked)
    wanted, wanted_history = outputs(another_job)
    assert len(wanted_history) < rounds, "the fit does not stop early, so the test proves nothing"
    script = job.write(f"{library}_regression", job.table("y.csv", table()), "y", **asked)
    # Within the patience: the best round is before the machine was lost, and the round it stops at after it.
    job.lose(len(wanted_history) - 2, 1.5 / len(wanted_history) if library == "catboost" else 0.0, **EVERY)
    job.run_again(script, **EVERY)
    predictions, history = outputs(job)
    assert "resumes from" in job.log
    np.testing.assert_array_equal(predictions, wanted)
    assert history == wanted_history


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_sampled_fit_is_within_the_spread_of_five_seeds(job: Job, another_job: Job, library: str) -> None:
    sampled = {"xgboost": {"subsample": 0.5, "colsample_bytree": 0.7}, "lightgbm": {"bagging_fraction": 0.5, "bagging_freq": 1}}
    asked = {"hyperparameters": {**EQUAL[library], **sampled[library]}}
    key = another_job.table("y.csv", table())
    errors = []
    for seed in range(1, 6):
        another_job.run_here(f"{library}_regression", key, "y", **asked, seed=seed, validation={"fraction": 0.2, "seed": 1})
        errors.append(another_job.output("metrics")["rmse"])
    lost_twice(job, library, **asked, seed=1, validation={"fraction": 0.2, "seed": 1})
    width = max(errors) - min(errors)
    assert min(errors) - width <= job.output("metrics")["rmse"] <= max(errors) + width
    assert width > 0


def test_an_edited_script_begins_anew(job: Job) -> None:
    asked = {"hyperparameters": EQUAL["xgboost"]}
    script = job.write("xgboost_regression", job.table("y.csv", table()), "y", **asked)
    job.lose(20, **EVERY)
    script.write_text(script.read_text().replace('"max_depth": 3', '"max_depth": 2'))
    job.run_again(script, **EVERY)
    assert "resumes from" not in job.log
    assert len(job.output("history")) == 40


def test_a_state_that_cannot_be_written_costs_no_fit(job: Job) -> None:
    asked = {"hyperparameters": EQUAL["xgboost"]}
    script = job.write("xgboost_regression", job.table("y.csv", table()), "y", **asked)
    (job.folder / "checkpoint").write_text("in the way")
    job.run_again(script, **EVERY)
    assert job.exit_code == 0, job.log
    assert "no checkpoint of round 4" in job.log
