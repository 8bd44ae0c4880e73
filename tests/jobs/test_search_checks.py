"""What is wrong with a search is told before anything runs, with the key that is wrong."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.preflight import problems_before, problems_on_pod, without_search
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.search_checks import described, goal_of
from kedro_cloudtrain.worker.metrics import measure
from kedro_cloudtrain.worker.target import Target
from kedro_cloudtrain.worker.watched_metric import MEASURED

DEPTH = {"int": [2, 6]}
RATE = {"float": [0.01, 0.3]}


def training(model_type: str = "xgboost_multiclass_classification", hyperparameters: Any = None, **search: Any) -> dict[str, Any]:
    given = {"space": {"max_depth": DEPTH}, "n_trials": 4, **search}
    return {
        "model_type": model_type,
        "target_column": "kind",
        "hyperparameters": hyperparameters or {},
        "search": {name: value for name, value in given.items() if value != "left out"},
    }


def problems_of(values: dict[str, Any]) -> list[str]:
    try:
        parameters = TrainingParameters.parse(values, "species")
    except ConfigError as error:
        return [error.message]
    return problems_before(parameters, TrainingScriptGenerator(), local=False)


def space(**dimensions: Any) -> dict[str, Any]:
    return {"space": dimensions}


@pytest.mark.parametrize(
    ("search", "part"),
    [
        (space(), "`search.space` is {}: name at least one hyperparameter, such as max_depth: {int: [3, 10]}"),
        ({"space": "left out"}, "`search.space` is missing"),
        ({"n_trials": "left out"}, "`search.n_trials` is missing"),
        (space(max_depth={"integer": [2, 6]}), "`search.space.max_depth` is {'integer': [2, 6]}: write {int: [3, 10]}, {float: "),
        (space(max_depth=[2, 6]), "`search.space.max_depth` is [2, 6]: write {int: [3, 10]}"),
        (space(max_depth={"int": [2, 6], "float": [1.0, 2.0]}), "write {int: [3, 10]}, {float: [0.01, 0.3]"),
        (space(max_depth={"int": [6, 2]}), "the lowest number, 6, is above the highest, 2: write [2, 6]"),
        (space(max_depth={"int": [2, 6.5]}), "`int` takes two whole numbers, the lowest and the highest, such as {int: [3, 10]}"),
        (space(max_depth={"int": [2, True]}), "`int` takes two whole numbers"),
        (space(max_depth={"int": [2]}), "`int` takes two whole numbers"),
        (space(max_depth={"int": [3, 10**30]}), "whole numbers from -2**53 to 2**53, and 1" + 30 * "0" + " is outside"),
        (space(max_depth={"int": [-(2**60), 3]}), "-1152921504606846976 is outside"),
        (space(max_depth={"int": [3, 10**400]}), "`int` takes two whole numbers"),
        (space(max_depth={"int": [2, 6], "step": 10**400}), "`step` is a whole number above 0"),
        (space(eta={"float": [0.1, 10**400]}), "`float` takes two numbers"),
        (space(eta={"float": [0.0, 1.0], "step": 1e-300}), "`step` is 1e-300, which makes more than 2**53 numbers of the range"),
        (space(eta={"float": [-1e308, 1e308], "step": 1}), "`step` is 1, which makes more than 2**53 numbers of the range"),
        ({"sampler": "grid", **space(max_depth={"int": [1, 10**15]})}, "the space has 1,000,000,000,000,000 points"),
        ({"space": None}, "`search.space` is null: write settings by their names, as {name: value}"),
        (space(eta={"float": [0.1, float("inf")]}), "`float` takes two numbers"),
        (space(max_depth={"int": [2, 6], "step": 0}), "`step` is a whole number above 0, and not 0"),
        (space(max_depth={"int": [2, 6], "step": 5}), "`step` is 5, and the range is 4 wide, so only its lowest number is drawn"),
        (space(eta={"float": [0.1, 0.3], "step": 0.21}), "`step` is 0.21, and the range is 0.2 wide"),
        (space(max_depth={"int": [2, 6], "lgo": True}), "beside `int` stand `log` and `step`, and not `lgo`"),
        (space(learning_rate={"float": [0, 0.3], "log": True}), "`log` needs numbers above 0, and the lowest is 0"),
        (space(learning_rate={"float": [0.1, 0.3], "log": "yes"}), "`log` is true or false, and not 'yes'"),
        (space(learning_rate={"float": [0.1, 0.3], "log": True, "step": 0.1}), "`log` and `step` exclude one another"),
        (space(grow_policy={"choice": []}), "a choice lists at least one value, such as {choice: [a, b]}"),
        (space(grow_policy={"choice": ["lossguide", "lossguide"]}), "the choice names 'lossguide' twice"),
        (space(grow_policy={"choice": ["lossguide"], "log": True}), "a choice has no `log`"),
        (space(score=DEPTH), "the table of trials has a column `score` of its own"),
        ({"n_trials": 0}, "`search.n_trials` is 0: input should be greater than or equal to 1"),
        ({"parallel": 0}, "`search.parallel` is 0"),
        ({"timeout_s": 0}, "`search.timeout_s` is 0"),
        ({"max_cost_usd": -1}, "`search.max_cost_usd` is -1"),
        ({"sampler": "tpee"}, "`search.sampler` is 'tpee'; allowed: 'tpe', 'random', 'grid', 'cmaes' or 'qmc'. Did you mean `tpe`?"),
        ({"pruner": "medain"}, "Did you mean `median`?"),
        ({"max_trials": 3}, "`search.max_trials` is not a setting"),
        ({"metric": "rmse"}, "'rmse', which a multiclass classification does not have. It has accuracy, macro_f1, log_loss."),
        ({"metric": "logloss"}, "Did you mean `log_loss`?"),
        ({"direction": "maximize"}, "`search.direction` is maximize, and the best log_loss is the lowest: leave it out, or write min"),
        (
            {"sampler": "cmaes", **space(max_depth=DEPTH, grow_policy={"choice": ["lossguide", "depthwise"]})},
            "`search.sampler` is cmaes, which knows numbers alone, and `search.space.grow_policy` is a choice",
        ),
        ({"sampler": "grid", **space(eta=RATE)}, "grid, and `search.space.eta` has any number between its ends: give it a `step`"),
        ({"sampler": "grid", **space(max_depth={"int": [1, 99]}, max_bin={"int": [2, 9999]})}, "the space has 989,802 points"),
        # Each value that can be drawn is one that may be fixed.
        (space(max_depht=DEPTH), "`search.space.max_depht` is not a hyperparameter of xgboost. Did you mean `max_depth`?"),
        (space(eta={"float": [-0.1, 1.0]}), "`search.space.eta` is -0.1. It takes a number from 0 on."),
        (space(subsample={"float": [0.5, 1.5]}), "`search.space.subsample` is 1.5."),
        (space(max_depth={"float": [2.0, 6.0]}), "`search.space.max_depth` is 3.48. It takes a whole number"),
        (space(max_depth=DEPTH, subsample={"float": [0.5, 1.5]}, gamma={"float": [-1, 1]}), "`search.space.gamma` is -1"),
        (space(grow_policy={"choice": ["depthwise", "lossguid"]}), "`search.space.grow_policy` is 'lossguid'. Did you mean `lossguide`?"),
        (space(eval_metric={"choice": ["rmse", "mlogloss"]}), "`search.space.eval_metric` is 'rmse', which measures another task"),
        (space(early_stopping_rounds=DEPTH), "`early_stopping_rounds` belongs beside `hyperparameters`, not in it"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_is_refused_with_its_key(search: dict[str, Any], part: str) -> None:
    assert part in "\n".join(problems_of(training(**search)))


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (training(hyperparameters={"max_depth": 4}), "`max_depth` stands in `hyperparameters` and in `search.space`"),
        (training(hyperparameters={"eta": 0.1}, **space(learning_rate=RATE)), "`search.space.learning_rate` are the same to xgboost"),
        (training("my_own_model"), "`my_own_model` is not a model type"),
        (training("keras_regression", **space(dropout={"float": [0.0, 1.0]})), "`search.space.dropout` is 1.0"),
        (training("catboost_regression", {"task_type": "GPU"}, pruner="median"), "CatBoost reports no rounds on a GPU"),
    ],
)
def test_a_search_that_its_training_does_not_take_is_refused(values: dict[str, Any], part: str) -> None:
    assert part in "\n".join(problems_of(values))


FINE = [
    training(),
    training(**space(learning_rate={"float": [0.01, 0.3], "log": True}, grow_policy={"choice": ["depthwise", "lossguide"]})),
    training(sampler="grid", **space(eta={"float": [0.1, 0.3], "step": 0.1}, max_depth={"int": [2, 6], "step": 2})),
    training(**space(eta={"float": [0.1, 0.3], "step": 0.2}, max_depth={"int": [2, 6], "step": 4}, gamma={"int": [1, 1], "step": 1})),
    training("keras_regression", **space(hidden_units={"choice": [[64], [64, 32]]}, batch_size={"choice": ["auto", 32]})),
    training("catboost_regression", {"task_type": "CPU"}, pruner="hyperband", metric="r2", direction="maximize", **space(depth=DEPTH)),
    # Two that exclude one another: such a trial fails, and the search goes on.
    training("lightgbm_regression", {"bagging_fraction": 0.5}, **space(boosting={"choice": ["gbdt", "rf"]}, bagging_freq={"int": [0, 5]})),
    training("xgboost_regression", {"objective": "reg:quantileerror", "quantile_alpha": 0.9}, metric="pinball_loss"),
]  # fmt: skip


@pytest.mark.parametrize("values", FINE)
def test_a_search_that_can_be_has_no_problem(values: dict[str, Any]) -> None:
    assert problems_of(values) == []


def test_no_more_trials_run_at_once_than_there_are() -> None:
    parameters = TrainingParameters.parse(training(n_trials=3, parallel=1000), "species")
    assert parameters.search is not None
    assert ", 3 at once" in described(parameters, parameters.search)


def test_the_goal_is_what_early_stopping_watches_and_its_direction_is_known() -> None:
    goals = {
        ("xgboost_regression", None, None): ("rmse", False),
        ("xgboost_binary_classification", None, None): ("log_loss", False),
        ("xgboost_binary_classification", "roc_auc", None): ("roc_auc", True),
        ("xgboost_binary_classification", "roc_auc", "log_loss"): ("log_loss", False),
    }
    for (model_type, watched, metric), (name, maximize) in goals.items():
        parameters = TrainingParameters.parse({**training(model_type, metric=metric), "metric": watched}, "x")
        assert parameters.search is not None
        goal = goal_of(parameters, parameters.search)
        assert (goal.metric, goal.maximize) == (name, maximize)
    parameters = TrainingParameters.parse(training("lightgbm_regression", {"objective": "quantile"}, timeout_s=60, parallel=2), "x")
    assert parameters.search is not None
    assert described(parameters, parameters.search) == (
        "searches max_depth: 4 trials by tpe for the lowest pinball_loss, 2 at once; none begins once 60 s have passed"
    )


def test_every_metric_that_a_search_takes_is_measured() -> None:
    truth = np.array([0, 1, 2, 0, 1, 2])
    for task, names in MEASURED.items():
        codes = truth % 2 if task == "binary_classification" else truth
        target = Target.fit(pd.Series(codes.astype(float) if task == "regression" else codes.astype(str)), task)
        output = {"regression": codes * 1.1, "binary_classification": codes * 0.5 + 0.2}.get(task, np.full((6, 3), 1 / 3))
        measured = measure(target, codes, output)
        assert {name for name, value in measured.items() if isinstance(value, float)} == set(names)


def test_what_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    for missing, search in {"optuna": {}, "cmaes": {"sampler": "cmaes"}}.items():
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_, missing=missing: None if name == missing else find_spec(name))
        assert any('pip install "kedro-cloudtrain[search]"' in problem for problem in problems_of(training(**search)))


def test_a_pod_of_a_search_takes_what_some_of_its_trials_take() -> None:
    L4 = ("NVIDIA L4",)  # noqa: N806
    methods = {"choice": ["exact", "hist"]}
    parameters = TrainingParameters.parse(training("xgboost_regression", **space(tree_method=methods)), "x")
    (problem,) = problems_on_pod(parameters, L4, 1)
    assert problem.startswith("`search.space.tree_method` is 'exact', which xgboost has on a CPU alone: use hist")
    assert list(problems_on_pod(parameters, "none", 1)) == []
    pruned = TrainingParameters.parse(training("catboost_regression", pruner="median"), "x")
    assert "CatBoost reports no rounds on a GPU" in "".join(problems_on_pod(pruned, L4, 1))
    assert list(problems_on_pod(pruned, "none", 1)) == []


def test_trials_are_of_a_search() -> None:
    plain = TrainingParameters.parse({"model_type": "xgboost_regression", "target_column": "y"}, "x")
    assert "have no `search`" in (without_search(plain, ("model", "trials")) or "")
    assert without_search(plain, ("model",)) is None
    assert without_search(TrainingParameters.parse(training(), "x"), ("trials",)) is None
