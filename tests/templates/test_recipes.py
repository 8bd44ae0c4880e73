"""The twelve recipes, each on a table that holds everything awkward at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from support.recipe_job import EVERYTHING, FEW_ROUNDS, LIBRARIES, TASKS, awkward_table

from kedro_cloudtrain.worker import InputError, load_model
from kedro_cloudtrain.worker.devices import Device

if TYPE_CHECKING:
    from support.recipe_job import Job

TARGETS = dict(zip(TASKS, ("räte ($)", "is it?", "class {{ }}"), strict=True))
FORMATS = dict(zip(TASKS, ("parquet", "csv", "jsonl"), strict=True))
METRICS = {
    "regression": {"rmse", "mse", "mae", "r2", "mape"},
    "binary_classification": {"accuracy", "roc_auc", "pr_auc", "log_loss", "f1", "precision", "recall", "confusion_matrix"},
    "multiclass_classification": {"accuracy", "macro_f1", "log_loss", "confusion_matrix"},
}
NATIVE = {"xgboost": "booster.ubj", "lightgbm": "booster.txt", "catboost": "model.cbm", "keras": "model.keras"}


def numbers(rows: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"a": random.normal(size=rows), "b": random.normal(size=rows)})
    frame["y"] = 3 * frame["a"] + random.normal(scale=0.5, size=rows)
    return frame


@pytest.mark.no_cover
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_recipe_trains_on_everything_awkward_at_once(  # noqa: PLR0915  # one process a recipe, and all that it must hold
    job: Job, another_job: Job, library: str, task: str
) -> None:
    table = awkward_table()
    target = TARGETS[task]
    frame = table.drop(columns=[name for name in TARGETS.values() if name != target])
    key = job.table(f"a b/täble.{FORMATS[task]}", frame)
    asked: dict[str, Any] = {"validation": {"fraction": 0.2, "test_fraction": 0.1, "seed": 1}, "seed": 11}

    result = job.run(f"{library}_{task}", key, target, **asked)

    assert result["state"] == "succeeded", job.log
    assert job.exit_code == 0
    assert set(result["outputs"]) == set(EVERYTHING)
    assert result["seconds"]["fit"] > 0
    assert result["versions"][library]
    assert ("jax" in result["versions"]) is (library == "keras")
    rows = int(table[target].notna().sum())
    assert result["rows"]["read"] == len(table)
    assert result["rows"]["train"] + result["rows"]["validation"] + result["rows"]["test"] == rows

    wanted = METRICS[task] | {f"test_{name}" for name in METRICS[task]} | (set() if task == "regression" else {"classes"})
    metrics = job.output("metrics")
    assert set(metrics) == wanted
    if task != "regression":
        assert metrics["classes"] == sorted(table[target].dropna().unique())
        assert np.sum(metrics["confusion_matrix"]) == result["rows"]["validation"]
        assert np.sum(metrics["test_confusion_matrix"]) == result["rows"]["test"]
    history = job.output("history")
    assert [row["round"] for row in history] == list(range(1, 1 + (2 if library == "keras" else 6)))
    # The seconds are rounded to a millisecond, of which a small fit has a few dozen.
    fit_s = result["seconds"]["fit"]
    assert result["rows_per_s"] == pytest.approx(result["rows"]["train"] * len(history) / fit_s, rel=0.01 + 0.0005 / fit_s)
    assert all(any(name.startswith("train_") for name in row) and any(name.startswith("validation_") for name in row) for row in history)
    assert {row["feature"] for row in job.output("importance")} == set(frame.columns) - {target}
    files = {file.name for file in (job.folder / "outputs/model").iterdir()}
    assert files == {"model.json", NATIVE[library]}
    lines = [json.loads(line) for line in (job.folder / "progress.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [row["round"] for row in history]

    # The loaded model predicts for the validation rows what predictions.parquet holds, in the caller's terms.
    predictions, model = job.predictions, job.model
    held = table.iloc[predictions["row"]]
    truth = held[target].to_list() if task != "regression" else held[target].astype("float32").to_list()
    assert predictions["target"].to_list() == truth
    predicted = model.predict(held)
    assert model.feature_columns == [name for name in frame.columns if name != target]
    if task == "regression":
        np.testing.assert_allclose(predicted, predictions["prediction"], rtol=1e-5)
        with pytest.raises(InputError, match="no probabilities"):
            model.predict_proba(held)
    else:
        assert (predicted == predictions["prediction"]).all()
        chances = model.predict_proba(held)
        assert list(chances.columns) == metrics["classes"]
        assert chances.index.equals(held.index)
        np.testing.assert_allclose(chances, predictions[[f"probability_{label}" for label in metrics["classes"]]], atol=1e-5)
        np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-6)

    # Values that no training row had, one row, no rows, a column too few.
    strange = held.head(3).copy()
    strange["[brackets]<x>"] = ["never seen", None, "red"]
    strange["whole numbers"] = ["12", "x", None]
    strange["back\\slash"] = ["no date", None, "2031-01-01"]
    assert len(model.predict(strange)) == 3
    assert len(model.predict(held.head(1))) == 1
    assert len(model.predict(held.head(0))) == 0
    with pytest.raises(InputError, match="no column `number`"):
        model.predict(held.drop(columns="number"))

    # The same seed gives the same predictions, in another process too.
    another_job.run_here(f"{library}_{task}", key, target, **asked)
    pd.testing.assert_frame_equal(another_job.predictions, predictions, check_exact=True)


@pytest.mark.parametrize("library", LIBRARIES)
def test_early_stopping_keeps_the_best_round(job: Job, library: str) -> None:
    rounds = {
        "xgboost": {"n_estimators": 300, "learning_rate": 0.5},
        "lightgbm": {"n_estimators": 300, "learning_rate": 0.5, "min_data_in_leaf": 2},
        "catboost": {"iterations": 300, "learning_rate": 0.5},
        "keras": {"epochs": 200, "learning_rate": 0.1, "hidden_units": [32, 32]},
    }
    key = job.table("t.parquet", numbers())
    job.run_here(
        f"{library}_regression",
        key,
        "y",
        hyperparameters=rounds[library],
        early_stopping_rounds=4,
        validation={"fraction": 0.3, "test_fraction": 0.1},
    )
    history, metrics = job.output("history"), job.output("metrics")
    assert len(history) < 200
    name = {"catboost": "validation_RMSE", "keras": "validation_mse"}.get(library, "validation_rmse")
    watched = [row[name] for row in history]
    assert len(history) - 1 - int(np.argmin(watched)) == 4
    assert min(watched) == pytest.approx(metrics["mse" if library == "keras" else "rmse"], rel=1e-4)
    predictions = job.predictions
    saved = job.model.predict(numbers().iloc[predictions["row"]])
    np.testing.assert_allclose(saved, predictions["prediction"], rtol=1e-5)
    assert np.sqrt(np.mean((saved - predictions["target"]) ** 2)) == pytest.approx(metrics["rmse"], rel=1e-4)


@pytest.mark.no_cover
@pytest.mark.parametrize("library", LIBRARIES)
def test_tables_of_one_column_train(job: Job, library: str) -> None:
    frame = numbers(60)
    frame["text"] = ["x", "y", None] * 20
    frame["constant"] = 7.0
    frame["nothing"] = None
    for column in ("a", "text", "constant", "nothing"):
        key = job.table(f"{column}.parquet", frame[[column, "y"]])
        if library == "catboost" and column in ("constant", "nothing"):
            error = job.run_here("catboost_regression", key, "y")["error"]
            assert error["input_error"]
            assert "constant" in error["message"]
            continue
        assert job.run_here(f"{library}_regression", key, "y")["state"] == "succeeded", column
        assert len(job.output("history")) >= 1, column
        assert [row["feature"] for row in job.output("importance")] == [column]
        assert np.isfinite(job.model.predict(frame)).all()


@pytest.mark.no_cover
@pytest.mark.parametrize("library", LIBRARIES)
def test_classes_come_back_in_their_own_type(job: Job, library: str) -> None:
    frame = numbers(90)
    groups = pd.qcut(frame["y"], 3, labels=False)
    for name, values, kind, task in (
        ("whole", groups.map({0: 3, 1: 5, 2: 9}), int, "multiclass"),
        ("float-coded", groups.map({0: 3.0, 1: 5.0, 2: 9.0}).where(frame.index % 9 > 0), int, "multiclass"),
        ("two of a multiclass", (groups > 0).astype(int) + 1, int, "multiclass"),
        ("bool", groups > 0, bool, "binary"),
        ("bool with missing", (groups > 0).astype(object).where(frame.index % 9 > 0, None), bool, "binary"),
        ("negative", (groups > 0) * 2 - 1, int, "binary"),
    ):
        frame["c"] = values
        key = job.table("t.parquet" if name != "whole" else "t.csv", frame.drop(columns="y"))
        result = job.run_here(f"{library}_{task}_classification", key, "c")
        assert result["state"] == "succeeded", name
        expected = sorted(kind(value) for value in frame["c"].dropna().unique())
        assert job.output("metrics")["classes"] == expected, name
        assert job.model.classes == expected, name
        predicted = job.model.predict(frame)
        assert {type(value) for value in predicted.tolist()} == {kind}, name
        assert set(predicted.tolist()) <= set(expected)
        assert job.predictions["prediction"].dtype == job.predictions["target"].dtype == predicted.dtype, name
    if library != "keras":  # whose two epochs only show that it runs
        assert (job.predictions["prediction"] == job.predictions["target"]).mean() > 0.5


def test_validation_rows_come_from_a_column_a_time_or_a_table(job: Job) -> None:
    frame = numbers(50)
    frame["part"] = ["train"] * 30 + ["val"] * 12 + ["TEST"] * 8
    frame["when"] = pd.date_range("2024-01-01", periods=50)[::-1].astype(str)
    key = job.table("t.csv", frame)
    recipe = "lightgbm_regression"

    result = job.run_here(recipe, key, "y", validation={"column": "part"})
    assert (result["rows"]["train"], result["rows"]["validation"], result["rows"]["test"]) == (30, 12, 8)
    assert list(job.predictions["row"]) == list(range(30, 42))
    assert job.model.feature_columns == ["a", "b", "when"]
    assert "test_rmse" in job.output("metrics")

    job.run_here(recipe, key, "y", feature_columns=["b", "a"], validation={"time_column": "when", "fraction": 0.2, "test_fraction": 0.1})
    assert set(job.predictions["row"]) == set(range(5, 15))
    assert job.model.feature_columns == ["b", "a"]

    other = job.table("held.csv", frame.tail(9).assign(extra=1, y=lambda held: held["y"].mask(held["a"] == held["a"].iloc[0])))
    asked = {"validation": {"dataset": "held"}, "validation_source": {"dataset_key": other}, "feature_columns": ["a", "when"]}
    result = job.run_here(recipe, key, "y", **asked)
    assert (result["rows"]["train"], result["rows"]["validation"], result["rows"]["test"]) == (50, 8, 0)
    assert result["rows"]["read"] == 59
    assert list(job.predictions["row"]) == list(range(1, 9))
    np.testing.assert_allclose(job.model.predict(frame.tail(8)), job.predictions["prediction"])


def test_outputs_are_written_only_where_wanted(job: Job, another_job: Job) -> None:
    key = job.table("t.csv", numbers())
    assert set(job.run_here("lightgbm_regression", key, "y", outputs=["metrics"])["outputs"]) == {"metrics"}
    assert [file.name for file in (job.folder / "outputs").iterdir()] == ["metrics.json"]
    assert set(another_job.run_here("lightgbm_regression", key, "y", outputs=["model"])["outputs"]) == {"model"}
    assert not list(another_job.folder.rglob("*.pkl"))
    with pytest.raises(InputError, match="holds no model"):
        load_model(job.folder / "outputs/model")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_users_mistake_is_named(job: Job, library: str) -> None:
    frame = numbers(40)
    frame["text"] = ["u", "v"] * 20
    frame["three"] = ["p", "q", "r", "p"] * 10
    frame["one"] = "same"
    frame["inf"] = np.where(frame.index == 3, np.inf, 1.0)
    frame["empty"] = np.nan
    key = job.table("t.csv", frame)
    first = next(iter(FEW_ROUNDS[library]))
    for recipe, target, more, wanted in (
        ("regression", "yy", {}, ["yy"]),
        ("regression", "y", {"feature_columns": ["a", "bb"]}, ["bb"]),
        ("regression", "text", {}, ["`text`", "numbers", "target_column"]),
        ("regression", "inf", {}, ["`inf`", "infinite"]),
        ("regression", "empty", {}, ["empty"]),
        ("regression", "y", {"hyperparameters": {first + "x": 3}}, [f"hyperparameters.{first}x", f"Did you mean `{first}`"]),
        ("binary_classification", "three", {}, ["3 classes", "multiclass_classification"]),
        ("binary_classification", "one", {}, ["one class only", "'same'"]),
        ("multiclass_classification", "one", {}, ["one class only"]),
        ("regression", "y", {"validation": {"column": "three"}}, ["three", "'p'"]),
        ("regression", "y", {"validation": {"time_column": "text"}}, ["text", "'u'", "not a time"]),
        ("regression", "y", {"validation": {"column": "missing"}}, ["missing"]),
    ):
        result = job.run_here(f"{library}_{recipe}", key, target, **more)
        assert job.exit_code == 1, wanted
        assert result["state"] == "failed"
        assert result["error"]["input_error"], result["error"]
        assert result["outputs"] == {}
        for word in wanted:
            assert word in result["error"]["message"], result["error"]["message"]


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("recipe", "hyperparameters"),
    [
        ("xgboost_regression", {"tree_method": "exact", "n_estimators": 4}),
        ("xgboost_regression", {"tree_method": "approx", "num_boost_round": 4}),
        ("xgboost_regression", {"booster": "dart", "rate_drop": 0.1, "n_estimators": 4, "max_bin": 16}),
        ("xgboost_regression", {"n_estimators": 4, "monotone_constraints": {"a": 1}, "interaction_constraints": [["a", "b"]]}),
        ("lightgbm_regression", {"num_trees": 4, "monotone_constraints": {"a": 1}, "interaction_constraints": [["a"], ["b"]]}),
        ("catboost_regression", {"iterations": 4, "monotone_constraints": {"b": -1}, "feature_weights": {"a": 0.5}}),
        ("xgboost_binary_classification", {"n_estimators": 4, "eval_metric": ["auc", "error"], "num_parallel_tree": 2}),
        ("xgboost_multiclass_classification", {"n_estimators": 4, "random_state": 3, "reg_alpha": 1, "eta": 0.5}),
        ("lightgbm_regression", {"num_trees": 4, "objective": "l1", "metric": ["mae", "rmse"]}),
        ("lightgbm_regression", {"num_trees": 4, "boosting": "dart", "linear_tree": True}),
        ("lightgbm_binary_classification", {"n_iter": 4, "is_unbalance": True, "max_bin": 15, "random_state": 3}),
        ("lightgbm_multiclass_classification", {"max_iter": 4, "eta": 0.5, "metric": "multi_error"}),
        ("catboost_regression", {"n_estimators": 4, "loss_function": "MAE", "eta": 0.5, "max_depth": 2}),
        ("catboost_binary_classification", {"iterations": 4, "auto_class_weights": "Balanced", "eval_metric": "AUC"}),
        ("catboost_multiclass_classification", {"iterations": 4, "class_weights": [1, 2, 3], "random_state": 3}),
        ("catboost_binary_classification", {"iterations": 4, "class_weights": {0: 1, 1: 3}}),
        ("keras_regression", {"epochs": 4, "hidden_units": [], "optimizer": "sgd", "learning_rate": 0.01}),
        ("keras_multiclass_classification", {"epochs": 4, "hidden_units": [8], "batch_normalization": True, "dropout": 0.5, "l2": 0.01}),
    ],
)
def test_hyperparameters_reach_the_library(job: Job, recipe: str, hyperparameters: dict[str, Any]) -> None:
    frame = numbers(80)
    task = recipe.partition("_")[2]
    frame["c"] = pd.qcut(frame["y"], 2 if "binary" in recipe else 3, labels=False)
    key = job.table("t.csv", frame.drop(columns="y" if "class" in task else "c"))
    asked: dict[str, Any] = {"hyperparameters": hyperparameters, "early_stopping_rounds": 3}
    result = job.run_here(recipe, key, "c" if "class" in task else "y", **asked)
    assert result["state"] == "succeeded"
    assert 1 <= len(job.output("history")) <= 4
    predictions = job.predictions
    predicted = job.model.predict(frame.iloc[predictions["row"]])
    np.testing.assert_allclose(predicted, predictions["prediction"], rtol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "hyperparameters"),
    [
        ("xgboost_binary_classification", {"objective": "binary:logitraw"}),
        ("xgboost_multiclass_classification", {"objective": "multi:softmax"}),
        ("catboost_regression", {"iterations": 4, "loss_function": "RMSEWithUncertainty"}),
    ],
)
def test_an_objective_that_gives_no_prediction_is_refused(job: Job, recipe: str, hyperparameters: dict[str, Any]) -> None:
    frame = numbers(80)
    if "class" in recipe:
        frame["y"] = pd.qcut(frame["y"], 2 if "binary" in recipe else 3, labels=False)
    result = job.run_here(recipe, job.table("t.csv", frame), "y", hyperparameters=hyperparameters)
    assert result["error"]["input_error"], result["error"]
    assert "predicts something else than a" in result["error"]["message"]


def test_a_network_learns_a_target_of_any_size(job: Job) -> None:
    for scale, offset in ((1e6, 0), (1e-6, 0), (1, 1e5)):
        frame = numbers(200)
        frame["y"] = frame["y"] * scale + offset
        asked = {"hyperparameters": {"epochs": 30, "optimizer": "sgd", "learning_rate": 0.05, "hidden_units": [8]}}
        assert job.run_here("keras_regression", job.table("t.parquet", frame), "y", **asked)["state"] == "succeeded"
        assert job.output("metrics")["r2"] > 0.8
    asked = {"hyperparameters": {"epochs": 5, "optimizer": "sgd", "learning_rate": 1e6}}
    result = job.run_here("keras_regression", job.table("t.parquet", frame), "y", **asked)
    assert "diverged" in result["error"]["message"]


def test_a_wide_table_is_laid_out_as_a_user_asks(job: Job) -> None:
    asked = {"hyperparameters": {"n_estimators": 2, "force_col_wise": True}}
    assert job.run_here("lightgbm_regression", job.table("t.csv", numbers()), "y", **asked)["state"] == "succeeded"


def test_catboost_has_a_history_where_it_calls_nobody_back(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU CatBoost takes no callbacks; here the same script fits without them on the CPU."""
    monkeypatch.setattr("kedro_cloudtrain.worker.training.choose_device", lambda *_: Device("cuda", "NVIDIA H100"))
    asked = {"hyperparameters": {"iterations": 4, "task_type": "CPU"}}
    assert job.run_here("catboost_regression", job.table("t.csv", numbers()), "y", **asked)["device"] == "cuda"
    assert [row["round"] for row in job.output("history")] == [1, 2, 3, 4]
    assert set(job.output("history")[0]) == {"round", "train_RMSE", "validation_RMSE"}
