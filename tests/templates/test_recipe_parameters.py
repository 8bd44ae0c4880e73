"""The parameters of a training beside its hyperparameters, in the scripts of all four libraries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from sklearn.utils.class_weight import compute_class_weight
from support.recipe_job import FEW_ROUNDS, LIBRARIES, TASKS

from kedro_cloudtrain.worker.metrics import measure
from kedro_cloudtrain.worker.target import Target
from kedro_cloudtrain.worker.watched_metric import _METRICS as METRICS
from kedro_cloudtrain.worker.watched_metric import LOSS, watched_metric

if TYPE_CHECKING:
    from support.recipe_job import Job

ROWS = 240


def shops() -> pd.DataFrame:
    """Return a table whose `shop` is a code: its signal has no order."""
    random = np.random.default_rng(4)
    shop = random.integers(0, 12, ROWS) + 2**24
    frame = pd.DataFrame({"area": random.normal(size=ROWS).round(2), "shop": shop})
    return frame.assign(sold=((shop * 7) % 12 + frame["area"]).round(2))


@pytest.mark.parametrize("library", LIBRARIES)
def test_codes_are_the_categories_that_their_texts_are(job: Job, library: str) -> None:
    frame = shops()
    texts = frame.assign(shop=frame["shop"].astype(str))
    gaps = frame.assign(shop=frame["shop"].where(frame.index > 0))  # floats
    recipe, asked = f"{library}_regression", {"categorical_columns": ["shop"]}
    predictions: dict[str, Any] = {}
    for name, table, more in (
        ("texts.parquet", texts, {}),
        ("codes.parquet", frame, asked),
        ("codes.csv", frame, asked),
        ("gaps.csv", gaps, asked | {"feature_columns": ["area", "shop"]}),
    ):
        if library == "keras" and name in ("gaps.csv", "codes.parquet"):
            continue  # whose fit takes seconds
        assert job.run_here(recipe, job.table(name, table), "sold", **more)["state"] == "succeeded", job.result["error"]
        predictions[name] = job.predictions["prediction"]
        (shop,) = [column for column in job.model.description["features"] if column["name"] == "shop"]
        assert shop["kind"] == "category"
        assert shop["categories"] == sorted(set(texts["shop"]) & set(shop["categories"]))
    assert all(predictions[name].equals(predictions["texts.parquet"]) for name in predictions if name.startswith("codes"))
    # A prediction's frame may hold the codes as floats, beside a missing one, or as texts; a code that no row had counts as missing.
    model, head = job.model, frame.head(8)
    expected = model.predict(head)
    assert len(set(expected)) > 4
    np.testing.assert_array_equal(model.predict(head.assign(shop=head["shop"].astype("float64"))), expected)
    np.testing.assert_array_equal(model.predict(head.assign(shop=head["shop"].astype(str))), expected)
    np.testing.assert_array_equal(model.predict(head.assign(shop=head["shop"].astype("Int64").where(head.index > 3)))[4:], expected[4:])
    strange = [head.assign(shop=value) for value in (-1, 0.5, np.inf, None)]
    assert len({tuple(model.predict(each)) for each in strange}) == 1


def test_a_code_that_is_no_whole_number_is_refused_with_its_row(job: Job) -> None:
    frame = shops().astype({"shop": float})
    frame.loc[7, "shop"] = 1.5
    result = job.run_here("lightgbm_regression", job.table("t.parquet", frame), "sold", categorical_columns=["shop"])
    assert result["error"]["input_error"]
    assert "`shop` of categorical_columns has the value 1.5 in row 7 (counted from 0)" in result["error"]["message"]
    result = job.run_here("lightgbm_regression", job.table("t.parquet", frame), "sold", categorical_columns=["shops"])
    assert "has no column `shops`. Did you mean `shop`?" in result["error"]["message"]
    assert "Fix categorical_columns." in result["error"]["message"]


# Enough rounds for a table of two rules, and few enough for a test.
FITTED: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 20, "max_depth": 2, "learning_rate": 0.3, "n_jobs": 1},
    "lightgbm": {"n_estimators": 20, "num_leaves": 4, "learning_rate": 0.3, "num_threads": 1},
    "catboost": {"iterations": 20, "depth": 2, "learning_rate": 0.3, "thread_count": 1},
    "keras": {"epochs": 12, "hidden_units": [16], "learning_rate": 0.02, "batch_size": 32},
}
LOSSES = {
    "xgboost": ("rmse", "logloss", "mlogloss"),
    "lightgbm": ("rmse", "binary_logloss", "multi_logloss"),
    "catboost": ("RMSE", "Logloss", "MultiClass"),
    "keras": ("mse", "loss", "loss"),
}


def contradictions(task: str) -> pd.DataFrame:
    """Return a table that has each row with two targets, of which the weight tells the true one."""
    random = np.random.default_rng(4)
    half = pd.DataFrame({"a": random.normal(size=ROWS // 2).round(2), "part": random.choice(["train", "train", "val", "test"], ROWS // 2)})
    frame = pd.concat([half.assign(y=0), half.assign(y=1)], ignore_index=True)
    frame["w"] = np.where((frame["a"] > 0) == frame["y"], 1800.0, 200.0)
    if task == "multiclass_classification":
        frame.loc[frame["a"].between(-0.2, 0.2), "y"] = 2
    return frame


@pytest.mark.parametrize(("library", "task"), [(library, task) for library in LIBRARIES for task in TASKS][:-1])
def test_rows_count_by_their_weights_in_the_fit_and_in_every_metric(job: Job, library: str, task: str) -> None:
    frame = contradictions(task)
    asked: dict[str, Any] = {"validation": {"column": "part"}, "weight_column": "w", "hyperparameters": FITTED[library]}
    assert job.run_here(f"{library}_{task}", job.table("t.csv", frame), "y", **asked)["state"] == "succeeded", job.result["error"]
    model, metrics = job.model, job.output("metrics")
    assert model.feature_columns == ["a"]

    for prefix, part in (("", "val"), ("test_", "test")):
        rows = frame[frame["part"] == part]
        weights = {"sample_weight": rows["w"]}
        if task == "regression":
            predicted = model.predict(rows)
            expected = {"mae": sk.mean_absolute_error(rows["y"], predicted, **weights), "r2": sk.r2_score(rows["y"], predicted, **weights)}
            expected["rmse"] = sk.root_mean_squared_error(rows["y"], predicted, **weights)
        else:
            chances = model.predict_proba(rows)
            expected = {
                "accuracy": sk.accuracy_score(rows["y"], model.predict(rows), **weights),
                "log_loss": sk.log_loss(rows["y"], chances, labels=model.classes, **weights),
            }
            matrix = sk.confusion_matrix(rows["y"], model.predict(rows), labels=model.classes, **weights)
            np.testing.assert_allclose(metrics[f"{prefix}confusion_matrix"], matrix)
        measured = {name: metrics[f"{prefix}{name}"] for name in expected}
        assert measured == pytest.approx(expected, rel=1e-4), part

    # What early stopping watches counts by the same weights.
    watched = job.output("history")[-1][f"validation_{LOSSES[library][TASKS.index(task)]}"]
    assert (watched**0.5 if library == "keras" and task == "regression" else watched) == pytest.approx(
        metrics["rmse" if task == "regression" else "log_loss"], rel=1e-3
    )
    # Without the weights, each row and its contradiction make a half of one another.
    low, high = pd.DataFrame({"a": [-1.0]}), pd.DataFrame({"a": [1.0]})
    if task == "regression":
        expected = [model.predict(low)[0], model.predict(high)[0]]
    else:
        expected = [model.predict_proba(low)[1].iloc[0], model.predict_proba(high)[1].iloc[0]]
    assert expected[0] < 0.3
    assert expected[1] > 0.7


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({7: -2.0}, "has the value -2 in row 7 (counted from 0)"),
        ({7: np.nan}, "has no value in row 7 (counted from 0)"),
        ({7: np.inf}, "has the value inf in row 7 (counted from 0)"),
        ({7: 1e39}, "has the value 1e+39 in row 7 (counted from 0)"),
        ({7: "many"}, "holds text: 'many' in row 7 (counted from 0)"),
        (0.0, "is 0 in all "),
        ("2024-01-31", "holds dates: '2024-01-31' in row 0"),
    ],
)
def test_a_weight_that_is_none_is_refused_with_its_row(job: Job, values: Any, words: str) -> None:
    frame = contradictions("regression")
    frame["w"] = [values.get(row, 1.0) if isinstance(values, dict) else values for row in range(ROWS)]
    # Parquet holds no text among numbers, and JSON no infinity.
    for key in ("t.csv", "t.jsonl" if "many" in words else "t.parquet"):
        result = job.run_here("xgboost_regression", job.table(key, frame), "y", weight_column="w", validation={"column": "part"})
        assert result["error"]["input_error"], result["error"]["traceback"]
        assert words in result["error"]["message"], key


def test_rows_without_a_target_need_no_weight_and_a_table_of_validation_rows_needs_its_own(job: Job) -> None:
    frame = contradictions("regression").astype({"y": float})
    frame.loc[3, ["y", "w"]] = [np.nan, np.nan]
    key = job.table("t.csv", frame.drop(columns="part"))
    held = frame.dropna().tail(40)
    source = {"dataset_key": job.table("held.csv", held)}
    asked: dict[str, Any] = {"weight_column": "w", "validation": {"dataset": "held"}, "validation_source": source}
    assert job.run_here("lightgbm_regression", key, "y", **asked)["state"] == "succeeded", job.result["error"]
    measured = sk.mean_absolute_error(held["y"], job.model.predict(held), sample_weight=held["w"])
    assert job.output("metrics")["mae"] == pytest.approx(measured)
    job.table("held.csv", held.drop(columns="w"))
    message = job.run_here("lightgbm_regression", key, "y", **asked)["error"]["message"]
    assert re.search(r"held.csv has no column `w`.* Fix weight_column\.$", message), message


def test_a_group_is_in_one_part_and_is_a_feature_only_where_it_is_named(job: Job) -> None:
    random = np.random.default_rng(5)
    frame = shops().assign(customer=random.integers(0, 20, ROWS))
    key, validation = job.table("t.csv", frame), {"group_column": "customer", "fraction": 0.25, "test_fraction": 0.25}
    result = job.run_here("lightgbm_regression", key, "sold", validation=validation)
    assert job.model.feature_columns == ["area", "shop"]
    held = frame["customer"].iloc[job.predictions["row"]]
    assert held.nunique() == 5
    assert len(held) == frame["customer"].isin(held).sum() == result["rows"]["validation"]
    assert result["rows"]["test"] > 0
    job.run_here("lightgbm_regression", key, "sold", validation=validation, feature_columns=["area", "customer"])
    assert job.model.feature_columns == ["area", "customer"]
    assert frame["customer"].iloc[job.predictions["row"]].equals(held)
    message = job.run_here("lightgbm_regression", key, "sold", validation={"group_column": "costumer"})["error"]["message"]
    assert "has no column `costumer`. Did you mean `customer`?" in message
    assert "Fix validation.group_column." in message


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_class_weight_multiplies_the_weights_of_the_fit_and_of_nothing_else(job: Job, library: str) -> None:
    frame = contradictions("binary_classification")
    frame["y"] = frame["y"].map({0: "no", 1: "yes"})
    train = frame["part"] == "train"
    recipe, asked = f"{library}_binary_classification", {"validation": {"column": "part"}, "hyperparameters": FITTED[library]}
    results = {}
    for name, weight, more in (
        ("alone", None, {"class_weight": {"yes": 4}}),
        ("by hand", np.where(train & (frame["y"] == "yes"), 4.0, 1.0), {"weight_column": "w"}),
        ("with weights", frame["w"], {"class_weight": {"yes": 4, "no": 0.5}, "weight_column": "w"}),
        ("both by hand", frame["w"] * np.where(train, frame["y"].map({"yes": 4, "no": 0.5}), 1), {"weight_column": "w"}),
    ):
        if library == "keras" and name in ("with weights", "both by hand"):
            continue  # whose fit takes a second
        key = job.table("t.csv", frame.drop(columns="w") if weight is None else frame.assign(w=weight))
        assert job.run_here(recipe, key, "y", **asked, **more)["state"] == "succeeded", job.result["error"]
        results[name] = (job.predictions["probability_yes"].to_list(), job.output("metrics"), job.output("history")[-1])
    assert results["alone"][0] == results["by hand"][0]
    assert results["alone"][1:] == results["by hand"][1:]
    if library != "keras":
        assert results["with weights"][0] == results["both by hand"][0]
        assert results["with weights"][1:] == results["both by hand"][1:]
        assert results["alone"][0] != results["with weights"][0]


def test_balanced_is_what_scikit_learn_calls_balanced(job: Job) -> None:
    frame = contradictions("multiclass_classification")
    recipe, key = "lightgbm_multiclass_classification", job.table("t.csv", frame.drop(columns="w"))
    asked: dict[str, Any] = {"validation": {"column": "part"}, "hyperparameters": FITTED["lightgbm"]}
    job.run_here(recipe, key, "y", class_weight="balanced", **asked)
    probabilities = job.predictions["probability_2"]
    balanced = compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=frame["y"][frame["part"] == "train"])
    job.run_here(recipe, job.table("t.csv", frame.assign(w=balanced[frame["y"]])), "y", weight_column="w", **asked)
    np.testing.assert_allclose(job.predictions["probability_2"], probabilities, rtol=1e-6)


def test_a_class_weight_that_weighs_no_class_is_refused(job: Job) -> None:
    key = job.table("t.csv", contradictions("binary_classification"))
    result = job.run_here("xgboost_binary_classification", key, "y", class_weight={"1": 3, "2": 5})
    assert "`class_weight` names '2', which is not a class of the target. The classes are 0, 1." in result["error"]["message"]
    result = job.run_here("xgboost_binary_classification", key, "y", class_weight={"1": 0})
    assert "The training rows of a weight above 0 have one class of `y` only, 0" in result["error"]["message"]
    result = job.run_here("xgboost_regression", key, "y", class_weight="balanced")
    assert "`class_weight` is for a classification" in result["error"]["message"]


# A library has its own way from one point of a curve to the next.
ROUGHLY = {("xgboost", "pr_auc"), ("catboost", "pr_auc"), ("keras", "roc_auc"), ("keras", "pr_auc")}
# Two scores that a bit tells apart may be one probability: a curve then has a point less.
A_POINT = 2e-3


@pytest.mark.no_cover
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(("library", "task"), [(library, task) for library in LIBRARIES[:3] for task in TASKS])
def test_what_is_watched_is_what_the_metrics_file_has_under_the_name(job: Job, library: str, task: str, weighted: bool) -> None:
    random = np.random.default_rng(5)
    frame = contradictions(task)
    frame["a"] += random.normal(scale=0.5, size=ROWS)
    frame["y"] += 2 if task == "regression" else 0  # a share of 0 is not defined
    recipe, key = f"{library}_{task}", job.table("t.csv", frame if weighted else frame.drop(columns="w"))
    asked: dict[str, Any] = {"validation": {"column": "part"}, "hyperparameters": FEW_ROUNDS[library]}
    asked |= {"weight_column": "w"} if weighted else {}
    for metric in METRICS[library][task]:
        if weighted and (library, metric) == ("catboost", "pr_auc"):
            continue  # It counts rows as equals, and is refused.
        assert job.run_here(recipe, key, "y", metric=metric, **asked)["state"] == "succeeded", (metric, job.result["error"])
        watched = watched_metric(library, task, metric, weighted=weighted)
        assert watched is not None
        last, measured = job.output("history")[-1][f"validation_{watched.own}"], job.output("metrics")[metric]
        expected = 1 - measured if watched.own in ("error", "merror", "binary_error", "multi_error") else measured
        assert last == pytest.approx(
            expected, abs=0.06 if (library, metric) in ROUGHLY else A_POINT if metric.endswith("_auc") else 1e-4
        ), metric


@pytest.mark.no_cover
@pytest.mark.parametrize("task", TASKS)
def test_what_keras_watches_is_what_the_metrics_file_has_under_the_name(task: str) -> None:
    random = np.random.default_rng(4)
    from kedro_cloudtrain.worker.devices import choose_keras_backend

    choose_keras_backend()
    import keras

    outputs = {"regression": 1, "binary_classification": 1, "multiclass_classification": 3}[task]
    activation = {"regression": None, "binary_classification": "sigmoid", "multiclass_classification": "softmax"}[task]
    given, output, weight = random.normal(size=(ROWS, 2)), keras.Input((2,)), random.uniform(0, 3, ROWS)
    model = keras.Model(output, keras.layers.Dense(outputs, activation)(output))
    truth = (given[:, 0] + random.normal(size=ROWS)).astype("float32")
    truth = truth if task == "regression" else pd.cut(truth, [-9, 0, 0.5, 9] if outputs > 1 else [-9, 0, 9], labels=False).astype("int32")
    names = {name: own for name, own in METRICS["keras"][task].items() if own != LOSS}
    model.compile(weighted_metrics=[eval(own, {"keras": keras}) for own in names.values()])  # noqa: S307  # our own table
    watched = model.evaluate(given, truth, sample_weight=weight, verbose=0, return_dict=True)
    predicted = model.predict(given, verbose=0)
    target = Target("y", task, () if task == "regression" else tuple(range(max(2, outputs))))  # type: ignore[arg-type]
    measured = measure(target, truth, predicted if outputs > 1 else predicted.reshape(-1), weight)
    for name in names:
        assert watched[name] == pytest.approx(measured[name], abs=0.06 if ("keras", name) in ROUGHLY else 1e-4), name


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_fit_stops_at_the_best_round_of_the_metric_that_it_watches(job: Job, library: str) -> None:
    random = np.random.default_rng(5)
    frame = contradictions("binary_classification").drop(columns="w")
    frame["y"] = ((frame["a"] + random.normal(size=ROWS)) > 0).astype(int)
    given = {**FITTED[library], ("epochs" if library == "keras" else "n_estimators"): 60}
    given.pop("iterations", None)
    key, asked = job.table("t.csv", frame), {"validation": {"column": "part"}, "hyperparameters": given}
    for metric, choose in (("roc_auc", max), ("log_loss", min)):
        if library == "keras" and metric == "log_loss":
            continue  # It is what Keras watches anyway, and its fit takes seconds.
        watched = watched_metric(library, "binary_classification", metric)
        assert watched is not None
        result = job.run_here(f"{library}_binary_classification", key, "y", metric=metric, early_stopping_rounds=4, **asked)
        assert result["state"] == "succeeded", result["error"]
        own = metric if library == "keras" else watched.own
        values = [row[f"validation_{own}"] for row in job.output("history")]
        assert len(values) < 60, metric
        assert values.index(choose(values)) == len(values) - 5, metric
        assert job.output("metrics")[metric] == pytest.approx(choose(values), abs=0.01 if library == "keras" else A_POINT)


@pytest.mark.parametrize(
    ("library", "given", "own", "name", "parameter"),
    [
        ("xgboost", {"objective": "reg:quantileerror", "quantile_alpha": 0.9}, "quantile", "pinball_loss", 0.9),
        ("lightgbm", {"objective": "quantile", "alpha": 0.8}, "quantile", "pinball_loss", 0.8),
        ("lightgbm", {"application": "quantile"}, "quantile", "pinball_loss", 0.9),
        ("catboost", {"loss_function": "Quantile:alpha=0.9"}, "Quantile:alpha=0.9", "pinball_loss", 0.9),
        ("xgboost", {"objective": "count:poisson"}, "poisson-nloglik", "poisson_deviance", 1),
        ("lightgbm", {"objective": "gamma"}, "gamma", "gamma_deviance", 2),
        ("lightgbm", {"objective": "tweedie", "tweedie_variance_power": 1.2}, "tweedie", "tweedie_deviance", 1.2),
        ("catboost", {"objective": "Tweedie:variance_power=1.3"}, "Tweedie:variance_power=1.3", "tweedie_deviance", 1.3),
        ("xgboost", {"objective": "reg:absoluteerror"}, "mae", "mae", None),
    ],
)
def test_another_objective_is_watched_by_its_own_loss_and_measured_by_it(
    job: Job, library: str, given: dict[str, Any], own: str, name: str, parameter: float | None
) -> None:
    random = np.random.default_rng(4)
    frame = pd.DataFrame({"a": random.uniform(size=ROWS), "w": random.uniform(1, 3, ROWS)})
    frame["y"] = random.poisson(3 + 5 * frame["a"]) + 1.0
    asked: dict[str, Any] = {"weight_column": "w", "hyperparameters": FITTED[library] | given, "early_stopping_rounds": 5}
    result = job.run_here(f"{library}_regression", job.table("t.parquet", frame), "y", **asked)
    assert result["state"] == "succeeded", result["error"]
    held = frame.iloc[job.predictions["row"]]
    measured, predicted = job.output("metrics"), job.model.predict(held)
    assert {"rmse", "mae", "r2", name} <= set(measured)
    if name == "pinball_loss":
        expected = sk.mean_pinball_loss(held["y"], predicted, sample_weight=held["w"], alpha=parameter)
        assert measured[name] == pytest.approx(min(row[f"validation_{own}"] for row in job.output("history")), rel=1e-4)
    elif parameter is not None:
        expected = sk.mean_tweedie_deviance(held["y"], predicted, sample_weight=held["w"], power=parameter)
    else:
        expected = sk.mean_absolute_error(held["y"], predicted, sample_weight=held["w"])
    assert measured[name] == pytest.approx(expected, rel=1e-4)
    assert set(job.output("history")[0]) == {"round", f"train_{own}", f"validation_{own}"}
