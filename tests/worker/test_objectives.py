"""The table of objectives against the installed libraries: what a task takes makes a model of it, and what it refuses makes none."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from support.quiet import silence

from kedro_cloudtrain.worker.encoding import Features
from kedro_cloudtrain.worker.errors import HyperparameterError
from kedro_cloudtrain.worker.hyperparameters import check_hyperparameters
from kedro_cloudtrain.worker.metrics import measure
from kedro_cloudtrain.worker.models import output_of
from kedro_cloudtrain.worker.objectives import _NAMES, _OBJECTIVES, check_target, other_tasks
from kedro_cloudtrain.worker.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": RANDOM.uniform(size=200), "b": RANDOM.uniform(size=200)})
SHARES = 0.2 + 0.6 * FRAME["a"]
TARGETS = {
    "regression": 5 + 10 * FRAME["a"],
    "binary_classification": (FRAME["a"] > 0.5).astype(int),
    "multiclass_classification": pd.cut(FRAME["a"], 3, labels=False),
}
# What an objective needs beside it.
NEEDED: dict[str, dict[str, Any]] = {
    "reg:quantileerror": {"quantile_alpha": 0.5},
    "quantile": {"alpha": 0.5},
}
LOSSES = {
    "Expectile": "Expectile:alpha=0.5",
    "Tweedie": "Tweedie:variance_power=1.5",
    "Huber": "Huber:delta=5",
    "Lq": "Lq:q=2",
    "Focal": "Focal:focal_alpha=0.5;focal_gamma=1",
    "MultiQuantile": "MultiQuantile:alpha=0.1,0.9",
    "LogLinQuantile": "LogLinQuantile:alpha=0.5",
}
# Other releases of XGBoost have it.
UNKNOWN = {"reg:expectileerror"}
CASES = [
    (library, task, objective)
    for library, tasks in _OBJECTIVES.items()
    for task in TARGETS
    for objective in dict.fromkeys(name for names in tasks.values() for name in names.split())
]


def scores(library: str, task: str, given: dict[str, Any], target: pd.Series) -> dict[str, Any]:
    """Fit as the recipes do, and measure the model on its own rows; raise what the library or the check of its output raises."""
    features, codes = Features.fit(FRAME, ["a", "b"]), Target.fit(target.rename("y"), task)  # type: ignore[arg-type]
    matrix, truth = features.matrix(FRAME), codes.encode(target)
    classes = len(codes.classes)
    native: Any
    with silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match library:
            case "xgboost":
                import xgboost as xgb

                more = {"num_class": classes} if task.startswith("multi") else {}
                native = xgb.train({"nthread": 1, "learning_rate": 0.5, **more, **given}, xgb.DMatrix(matrix, truth), 60)
            case "lightgbm":
                import lightgbm as lgb

                more = {"num_class": classes} if task.startswith("multi") else {}
                quiet = {"verbosity": -1, "num_threads": 1, "learning_rate": 0.3, "min_data_in_leaf": 5}
                native = lgb.train({**quiet, **more, **given}, lgb.Dataset(matrix, truth), 60)
            case _:
                from catboost import CatBoost, Pool

                more = {"classes_count": classes} if task.startswith("multi") else {}
                # With a class for each number of a regression, a few rounds take as long as all others together.
                few = not task.startswith("multi") and any("MultiClass" in str(value) for value in given.values())
                quiet = {
                    "thread_count": 1,
                    "allow_writing_files": False,
                    "iterations": 5 if few else 200,
                    "bootstrap_type": "No",
                    "allow_const_label": True,
                }
                native = CatBoost({**quiet, **more, **given}).fit(Pool(features.mixed_frame(matrix), truth), silent=True)
        output = output_of(library, native, features, task, matrix)
    codes.check_output(output)
    return measure(codes, truth, output)


def objective_of(library: str, task: str) -> dict[str, str]:
    """Return the recipe's own."""
    losses = {
        "xgboost": ("reg:squarederror", "binary:logistic", "multi:softprob"),
        "lightgbm": ("regression", "binary", "multiclass"),
        "catboost": ("RMSE", "Logloss", "MultiClass"),
    }
    return {_NAMES[library][0]: losses[library][[*TARGETS].index(task)]}


def watched(library: str, task: str, given: dict[str, Any]) -> None:
    """Fit a round, and measure the training rows by the library's own metric; raise what it raises."""
    matrix, truth = FRAME.to_numpy(), TARGETS[task].to_numpy()
    classes = {"num_class": 3} if task.startswith("multi") and library != "catboost" else {}
    params: dict[str, Any] = {**objective_of(library, task), **classes, **given}
    with silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match library:
            case "xgboost":
                import xgboost as xgb

                data = xgb.DMatrix(matrix, truth)
                xgb.train(params, data, 1, evals=[(data, "train")], verbose_eval=False)
            case "lightgbm":
                import lightgbm as lgb

                table = lgb.Dataset(matrix, truth)
                lgb.train({"verbosity": -1, **params}, table, 1, valid_sets=[table])
            case _:
                from catboost import CatBoost

                params |= {"iterations": 1, "allow_writing_files": False}
                CatBoost(params).fit(matrix, truth, eval_set=(matrix, truth), silent=True)


def hyperparameters(library: str, objective: str) -> dict[str, Any]:
    return {_NAMES[library][0]: LOSSES.get(objective, objective) if library == "catboost" else objective, **NEEDED.get(objective, {})}


@pytest.mark.no_cover
@pytest.mark.parametrize(("library", "task", "objective"), CASES)
def test_an_objective_makes_a_model_of_its_task_or_is_refused(library: str, task: str, objective: str) -> None:
    given = hyperparameters(library, objective)
    refused = list(other_tasks(library, task, given))
    # The steps of the pseudo-Huber loss diverge on a target far from 0.
    shares = task == "regression" and objective in ("reg:logistic", "cross_entropy", "xentropy", "reg:pseudohubererror")
    try:
        measured = scores(library, task, given, SHARES if shares else TARGETS[task])
    except Exception:  # noqa: BLE001  # each library has its own
        # Of a library's own mistakes, such as a model whose output is not a prediction.
        assert refused or objective in UNKNOWN
        return
    if task == "regression":
        # In the target's own unit, and better than its mean; or of another one.
        assert (measured["r2"] < 0) if refused else (measured["r2"] > 0.2), measured
    elif not refused:
        assert measured["accuracy"] > 0.8, measured


@pytest.mark.parametrize(
    ("library", "task", "given", "words"),
    [
        ("lightgbm", "regression", {"objective": "binary"}, "'binary', which predicts something else than a regression does."),
        ("lightgbm", "regression", {"loss": "Binary"}, "`hyperparameters.loss` is 'Binary'"),
        ("xgboost", "regression", {"objective": "binary:logistic"}, "For another task, change model_type."),
        ("catboost", "regression", {"loss_function": "Logloss"}, "A regression takes RMSE, MAE, MAPE"),
        ("xgboost", "binary_classification", {"objective": "reg:squarederror"}, "A binary classification takes binary:logistic"),
        ("xgboost", "multiclass_classification", {"objective": "multi:softmax"}, "takes multi:softprob."),
        ("catboost", "multiclass_classification", {"objective": "Quantile:alpha=0.3"}, "takes MultiClass, MultiClassOneVsAll."),
        ("catboost", "regression", {"class_weights": [1, 2]}, "a regression has no classes"),
        ("catboost", "regression", {"class_weights": {"a": 2}}, "a regression has no classes"),
        ("catboost", "regression", {"auto_class_weights": "Balanced"}, "a regression has no classes"),
        ("catboost", "regression", {"scale_pos_weight": 2}, "a regression has no classes"),
        ("catboost", "multiclass_classification", {"scale_pos_weight": 2}, "is for a binary classification"),
        ("catboost", "binary_classification", {"class_weights": [1]}, "has two classes: give a weight for each"),
        ("catboost", "binary_classification", {"class_weights": [1, 1, 1]}, "has two classes: give a weight for each"),
        ("xgboost", "regression", {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}, "give one quantile"),
        ("xgboost", "binary_classification", {"eval_metric": "mlogloss"}, "`hyperparameters.eval_metric` is 'mlogloss', which measures"),
        ("xgboost", "multiclass_classification", {"eval_metric": ["mlogloss", "error@0.7"]}, "which measures another task"),
        ("lightgbm", "regression", {"metric": "multi_logloss"}, "which measures another task"),
        ("lightgbm", "multiclass_classification", {"metric": "l1,auc"}, "which measures another task"),
        ("catboost", "binary_classification", {"eval_metric": "MAE"}, "which measures another task"),
    ],
)
def test_what_a_task_cannot_have_is_refused_by_the_library_as_well(library: str, task: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(HyperparameterError) as caught:
        check_hyperparameters(library, given, task)
    assert words in str(caught.value)
    check_hyperparameters(library, given)  # A template of the project's own has a task of its own.
    if any(name in given for name in ("eval_metric", "metric")):
        name = "metric" if library == "lightgbm" else "eval_metric"
        with pytest.raises(Exception, match=r"(?i)metric|class|label"):
            watched(library, task, {name: given[name]})


@pytest.mark.parametrize(
    ("library", "task", "given"),
    [
        ("catboost", "regression", {"auto_class_weights": "None"}),
        ("catboost", "binary_classification", {"scale_pos_weight": 2.0, "loss_function": "Logloss"}),
        ("catboost", "binary_classification", {"class_weights": [1, 2], "eval_metric": "AUC"}),
        ("catboost", "multiclass_classification", {"class_weights": [1, 2, 3], "eval_metric": "Accuracy"}),
        ("xgboost", "regression", {"scale_pos_weight": 2, "eval_metric": ["rmse", "mae"]}),
        ("xgboost", "multiclass_classification", {"scale_pos_weight": 2, "eval_metric": "auc"}),
        ("lightgbm", "regression", {"scale_pos_weight": 2, "metric": "auc"}),
        ("lightgbm", "multiclass_classification", {"is_unbalance": True, "objective": "softmax", "metric": "auc_mu"}),
    ],
)
def test_what_a_library_takes_for_a_task_is_not_refused(library: str, task: str, given: dict[str, Any]) -> None:
    check_hyperparameters(library, given, task)
    watched(library, task, given)


REGRESSIONS = [(library, objective) for library, task, objective in CASES if task == "regression" and objective not in UNKNOWN]


@pytest.mark.no_cover
@pytest.mark.parametrize(("library", "objective"), REGRESSIONS)
def test_a_target_is_refused_just_where_the_library_refuses_it(library: str, objective: str) -> None:
    given = hyperparameters(library, objective)
    if list(other_tasks(library, "regression", given)):
        return
    for value in (-2.0, -1.0, -0.5, 0.0, 1.0, 1.5):
        target = SHARES.rename("y").where(FRAME.index != 5, value)
        ours, theirs = error_of(check_target, library, given, target), error_of(fit, library, given, target)
        assert (ours is None) == (theirs is None), (value, theirs)
        assert ours is None or f"of 200 rows of `y` 1 has another, such as {value}." in ours


def error_of(function: Callable[..., None], *args: Any) -> str | None:
    try:
        function(*args)
    except Exception as error:  # noqa: BLE001  # whatever a library raises
        return str(error)
    return None


def fit(library: str, given: dict[str, Any], target: pd.Series) -> None:
    """Fit two rounds; raise what the library raises."""
    with silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match library:
            case "xgboost":
                import xgboost as xgb

                xgb.train(given, xgb.DMatrix(FRAME.to_numpy(), target), 2)
            case "lightgbm":
                import lightgbm as lgb

                lgb.train({"verbosity": -1, "metric": "none", **given}, lgb.Dataset(FRAME.to_numpy(), target), 2)
            case _:
                from catboost import CatBoost

                CatBoost({**given, "iterations": 2, "bootstrap_type": "No", "allow_writing_files": False}).fit(
                    FRAME.to_numpy(), target, silent=True
                )


def test_text_and_other_objectives_are_no_matter_of_a_targets_range() -> None:
    for given in ({}, {"objective": "reg:squarederror"}, {"objective": ["count:poisson"]}):
        check_target("xgboost", given, pd.Series([-1.0], name="y"))
    check_target("xgboost", {"objective": "count:poisson"}, pd.Series(["a"], name="y"))
    check_target("xgboost", {"objective": "count:poisson"}, pd.Series([0, 5, True], name="y"))
