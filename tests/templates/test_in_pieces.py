"""Trainings whose table is read in pieces: the same rows, the same encoding and nearly the same model as of the table in memory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from support.http_server import Server
from support.recipe_job import TASKS, awkward_table

from kedro_cloudtrain.worker import encoded_rows, pieces

if TYPE_CHECKING:
    from support.recipe_job import Job

TARGETS = dict(zip(TASKS, ("räte ($)", "is it?", "class {{ }}"), strict=True))
ROWS = 400


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_FEWEST_ROWS", 64)
    monkeypatch.setattr(pieces, "_MOST_ROWS", 64)
    monkeypatch.setattr(encoded_rows, "_CELLS", 1000)


def awkward(target: str) -> pd.DataFrame:
    return awkward_table(ROWS).drop(columns=[name for name in TARGETS.values() if name != target])


def features_of(job: Job) -> list[dict[str, Any]]:
    """Return how a model's features become numbers; the means of pieces are added up in another order."""
    features = job.model.description["features"]
    return [{**each, "mean": pytest.approx(each["mean"], rel=1e-9), "scale": pytest.approx(each["scale"], rel=1e-9)} for each in features]


def scores(job: Job) -> dict[str, float]:
    return {name: value for name, value in job.output("metrics").items() if isinstance(value, float)}


@pytest.mark.parametrize(
    ("recipe", "form", "asked"),
    [
        ("xgboost_regression", "csv", {"validation": {"fraction": 0.2, "test_fraction": 0.1}}),
        ("xgboost_binary_classification", "parquet", {"weight_column": "whole numbers", "early_stopping_rounds": 2}),
        ("xgboost_multiclass_classification", "csv", {"class_weight": "balanced", "validation": {"group_column": "whole numbers"}}),
        ("lightgbm_regression", "parquet", {"validation": {"time_column": "comma,colon:"}, "categorical_columns": ["whole numbers"]}),
        ("lightgbm_binary_classification", "csv", {"class_weight": "balanced", "weight_column": "whole numbers"}),
        ("lightgbm_multiclass_classification", "csv", {"validation": {"fraction": 0.3, "test_fraction": 0.1}, "early_stopping_rounds": 2}),
    ],
)
def test_a_fit_in_pieces_is_the_fit_in_memory(job: Job, another_job: Job, recipe: str, form: str, asked: dict[str, Any]) -> None:
    target = TARGETS[recipe.partition("_")[2]]
    table = awkward(target)
    key = job.table(f"a b/täble.{form}", table)

    result = job.run_here(recipe, key, target, in_pieces=True, **asked, seed=11)
    expected = another_job.run_here(recipe, key, target, **asked, seed=11)

    assert result["state"] == expected["state"] == "succeeded"
    assert (result["rows"], result["device"]) == (expected["rows"], "cpu")
    assert features_of(job) == another_job.model.description["features"]
    assert scores(job) == pytest.approx(scores(another_job), abs=1e-3)
    assert len(job.output("history")) == len(another_job.output("history"))
    ours, theirs = (each.predictions.sort_values("row", ignore_index=True) for each in (job, another_job))
    assert (ours["row"] == theirs["row"]).all()


def test_a_network_learns_from_rows_that_are_loaded_in_pieces(job: Job, another_job: Job) -> None:
    # In the order of what it has to learn: an epoch's batches have rows of everywhere.
    random = np.random.default_rng(4)
    table = pd.DataFrame({"a": np.sort(random.normal(size=2000)), "b": random.choice(["x", "y"], 2000)})
    table["y"] = 3 * table["a"] + (table["b"] == "x") + random.normal(scale=0.1, size=2000)
    asked = {"hyperparameters": {"epochs": 12, "hidden_units": [16], "batch_size": 32, "learning_rate": 0.01}, "seed": 5}
    for each, in_pieces in ((job, True), (another_job, False)):
        assert each.run_here("keras_regression", each.table("t.parquet", table), "y", in_pieces=in_pieces, **asked)["state"] == "succeeded"
    assert features_of(job) == another_job.model.description["features"]
    assert scores(job)["rmse"] < 1.3 * scores(another_job)["rmse"] < 0.4
    held = table.iloc[job.predictions["row"]]
    np.testing.assert_allclose(job.model.predict(held), job.predictions["prediction"], rtol=1e-4)
    assert job.output("importance")[0]["feature"] == "a"


def copies(job: Job) -> list[str]:
    return sorted(copy.name for copy in (job.volume / ".cloudtrain/tables").iterdir())


def test_a_text_is_converted_once_and_anew_when_it_changes(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(4)
    table = pd.DataFrame({"a": random.normal(size=300), "late": np.arange(300) % 7, "y": random.normal(size=300)})
    key = job.table("y.csv", table)
    for seed in (1, 2):
        assert job.run_here("lightgbm_regression", key, "y", in_pieces=True, seed=seed)["state"] == "succeeded"
    assert capsys.readouterr().out.count("to parquet, once") == 1
    assert len(copies(job)) == 1
    # A text in one of its last rows makes a category of a column whose first pieces were numbers.
    table["late"] = table["late"].astype(object)
    table.loc[290, "late"] = "none"
    job.table("y.csv", table)
    assert job.run_here("lightgbm_regression", key, "y", in_pieces=True)["state"] == "succeeded"
    assert capsys.readouterr().out.count("to parquet, once") == 1
    assert len(copies(job)) == 2
    (late,) = (column for column in job.model.description["features"] if column["name"] == "late")
    assert (late["kind"], set(late["categories"])) == ("category", {*"0123456", "none"})


def test_a_remote_table_and_one_of_validation_rows_are_read_in_pieces(job: Job, another_job: Job) -> None:
    table = awkward(TARGETS["regression"])
    file = io.BytesIO()
    table.iloc[:300].to_parquet(file)
    held = table.iloc[300:].reset_index(drop=True)
    asked = {"target": TARGETS["regression"], "validation": {"dataset": "held"}}
    with Server({"t.parquet": file.getvalue()}) as server:
        for each, in_pieces in ((job, True), (another_job, False)):
            tables = {
                "source": {"dataset_url": server.url("t.parquet")},
                "validation_source": {"dataset_key": each.table("held.csv", held)},
            }
            result = each.run_here("xgboost_regression", "", **asked, **tables, in_pieces=in_pieces)
            assert result["state"] == "succeeded"
    assert features_of(job) == another_job.model.description["features"]
    assert scores(job) == pytest.approx(scores(another_job), abs=1e-6)
    assert job.result["rows"] == another_job.result["rows"]


def test_a_mistake_names_the_users_own_table(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    key = job.table("y.csv", pd.DataFrame({"a": [1.0, 2.0], "y": [None, None]}))
    assert job.run_here("xgboost_regression", key, "y", in_pieces=True)["state"] == "failed"
    assert f"No row of {job.volume / key} has a `y`." in capsys.readouterr().err
    assert job.run_here("xgboost_regression", key, "z", in_pieces=True)["state"] == "failed"
    assert f"{job.volume / key} has no column `z`." in capsys.readouterr().err
    (job.volume / key).write_text("a,y\n")
    assert job.run_here("xgboost_regression", key, "y", in_pieces=True)["state"] == "failed"
    assert f"{job.volume / key} has no rows." in capsys.readouterr().err
