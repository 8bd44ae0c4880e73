from __future__ import annotations

import inspect

import numpy as np
import pytest

from kedro_cloudtrain.worker.errors import HyperparameterError, InputError, nearest
from kedro_cloudtrain.worker.hyperparameters import (
    HYPERPARAMETERS,
    by_class,
    by_place,
    check_hyperparameters,
    refuse_constrained_categories,
    take,
    with_defaults,
)


@pytest.mark.parametrize(
    ("library", "name", "close"),
    [
        ("xgboost", "n_estimator", "n_estimators"),
        ("xgboost", "max_dept", "max_depth"),
        ("lightgbm", "num_leafs", "num_leaf"),
        ("catboost", "iteration", "iterations"),
        ("keras", "epoch", "epochs"),
        ("keras", "hidden_unit", "hidden_units"),
    ],
)
def test_an_unknown_name_is_an_error_that_names_the_nearest(library, name, close) -> None:
    with pytest.raises(InputError, match=f"`hyperparameters.{name}` is not a hyperparameter of {library}. Did you mean `{close}"):
        check_hyperparameters(library, [name])


def test_all_unknown_names_are_reported_at_once() -> None:
    with pytest.raises(InputError) as caught:
        check_hyperparameters("keras", {"epocs": 1, "zzzzzz": 2, "early_stopping_rounds": 3, "epochs": 4})
    first, second, third = str(caught.value).splitlines()
    assert "epocs" in first
    assert "It has activation, " in second
    assert "move it one level up" in third


def test_what_chose_the_gpu_once_is_told_that_the_machine_does() -> None:
    for name, value in (("gpu_id", 0), ("predictor", "gpu_predictor"), ("n_gpus", 1)):
        with pytest.raises(HyperparameterError, match=f"hyperparameters.{name}` is of XGBoost before 2.0: leave it out"):
            check_hyperparameters("xgboost", {name: value})


@pytest.mark.parametrize(
    ("library", "name", "parameter"),
    [
        ("catboost", "cat_features", "categorical_columns"),
        ("lightgbm", "categorical_feature", "categorical_columns"),
        ("xgboost", "enable_categorical", "categorical_columns"),
        ("keras", "class_weight", "class_weight"),
        ("lightgbm", "weight_column", "weight_column"),
        ("xgboost", "sample_weight", "weight_column"),
        ("lightgbm", "early_stopping_round", "early_stopping_rounds"),
    ],
)
def test_what_is_a_parameter_here_is_called_by_its_name(library, name, parameter) -> None:
    with pytest.raises(InputError, match=rf"`{parameter}` .*beside `hyperparameters`.*: move it one level up"):
        check_hyperparameters(library, [name])


def test_two_names_for_the_same_are_an_error() -> None:
    with pytest.raises(InputError, match=r"`hyperparameters.eta` and `hyperparameters.learning_rate` are the same to xgboost"):
        check_hyperparameters("xgboost", {"eta": 0.1, "learning_rate": 0.2})
    with pytest.raises(InputError, match=r"iterations.*n_estimators"):
        check_hyperparameters("catboost", ["iterations", "n_estimators"])
    for library in HYPERPARAMETERS:
        check_hyperparameters(library, {})
        check_hyperparameters(library, {"learning_rate": 0.1})


def test_a_linear_booster_is_refused() -> None:
    with pytest.raises(InputError, match="gblinear"):
        check_hyperparameters("xgboost", {"booster": "gblinear"})
    check_hyperparameters("xgboost", {"booster": "dart"})
    check_hyperparameters("xgboost", ["booster"])


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("hidden_units", [8, [8, 0], ["8"], [True], None], [[], [8], (8, 4)]),
        ("epochs", [0, 1.5, "3", True], [1]),
        ("batch_size", [0, "automatic", None], [32, "auto"]),
        ("embedding_size", [-1], [4]),
        ("dropout", [1, -0.1, "a", False], [0, 0.5]),
        ("l2", [-1, None], [0, 0.1]),
        ("learning_rate", [0, "fast"], [0.1, 1]),
        ("batch_normalization", [1], [True, False]),
        ("activation", [3], ["relu"]),
        ("optimizer", [["adam"]], ["adam"]),
    ],
)
def test_a_value_that_a_keras_recipe_cannot_take_is_refused(name, bad, good) -> None:
    for value in bad:
        with pytest.raises(InputError, match=rf"`hyperparameters.{name}` is .*\. It takes "):
            check_hyperparameters("keras", {name: value})
    for value in good:
        check_hyperparameters("keras", {name: value})
    # Names without values are only checked as names.
    check_hyperparameters("keras", [name])


def test_columns_in_hyperparameters_become_their_places() -> None:
    columns = ["area", "a [b]", "3"]
    for library, row in (("xgboost", (0, -1, 0)), ("lightgbm", [0, -1, 0]), ("catboost", [0, -1, 0])):
        given = {"max_depth": 3, "monotone_constraints": {"a [b]": -1}}
        assert by_place(library, given, columns) == {"max_depth": 3, "monotone_constraints": row}
        assert given["monotone_constraints"] == {"a [b]": -1}
        assert by_place(library, {"monotone_constraints": list(row)}, columns) == {"monotone_constraints": row}
    assert by_place("catboost", {"feature_weights": {"3": 0.5}}, columns) == {"feature_weights": [1, 1, 0.5]}
    assert by_place("lightgbm", {"interaction_constraints": [["area", "3"], [1, 2]]}, columns) == {
        "interaction_constraints": [[0, 2], [1, 2]]
    }
    # A number that is not a place is a name, and a column may have a name of digits.
    assert by_place("lightgbm", {"interaction_constraints": [[3]]}, columns) == {"interaction_constraints": [[2]]}
    assert by_place("xgboost", {"interaction_constraints": [["area"]]}, columns) == {"interaction_constraints": "[[0]]"}
    assert by_place("xgboost", {"interaction_constraints": "[[0, 1]]"}, columns) == {"interaction_constraints": "[[0, 1]]"}
    with pytest.raises(InputError, match=r"`hyperparameters.mc` names `are`, which is not a feature. Did you mean `area`\?"):
        by_place("lightgbm", {"mc": {"are": 1}}, columns)
    with pytest.raises(InputError, match=r"not a feature. The features are area, a \[b\], 3"):
        by_place("lightgbm", {"interaction_constraints": [[7]]}, columns)


def test_a_default_yields_to_any_name_of_what_is_given() -> None:
    assert with_defaults({"eta": 0.3}, learning_rate=0.1, seed=7) == {"seed": 7, "eta": 0.3}
    assert with_defaults({"random_state": 1, "application": "l1"}, seed=7, objective="l2") == {"random_state": 1, "application": "l1"}
    # The default metric is that of the default objective: a library has its own for another.
    assert with_defaults({"loss": "quantile"}, objective="l2", metric="rmse", seed=7) == {"seed": 7, "loss": "quantile"}
    assert with_defaults({"loss": "quantile", "metrics": "l1"}, metric="rmse") == {"loss": "quantile", "metrics": "l1"}
    assert with_defaults({}, verbosity=-1) == {"verbosity": -1}
    assert with_defaults({"max_depth": 4}, max_depth=6) == {"max_depth": 4}


def test_a_hyperparameter_is_taken_by_any_of_its_names() -> None:
    given = {"num_trees": 5, "max_depth": 3}
    assert take(given, "n_estimators", 100) == 5
    assert given == {"max_depth": 3}
    assert take(given, "iterations", 100) == 100
    assert take(given, "subsample", 1) == 1
    assert take({"max_bin": 3}, "max_bin", 1) == 3


def test_lightgbm_knows_every_name() -> None:
    import lightgbm

    aliases = lightgbm.basic._ConfigAliases._get_all_param_aliases()
    valid = set(aliases) | {name for names in aliases.values() for name in names}
    assert HYPERPARAMETERS["lightgbm"] - valid <= {"bagging_by_query"}  # since LightGBM 4.6


def test_catboost_knows_every_name() -> None:
    import catboost

    valid = {name for kind in (catboost.CatBoostRegressor, catboost.CatBoostClassifier) for name in inspect.signature(kind).parameters}
    assert HYPERPARAMETERS["catboost"] <= valid


def test_xgboost_knows_every_name() -> None:
    import xgboost as xgb

    taken = {"n_estimators", "num_boost_round"}
    # Each with a value that is of no kind it takes: a name that XGBoost knows is an error or is used, another one is only warned of.
    of_others = {
        "rate_drop": {"booster": "dart"},
        "one_drop": {"booster": "dart"},
        "skip_drop": {"booster": "dart"},
        "sample_type": {"booster": "dart"},
        "normalize_type": {"booster": "dart"},
        "tweedie_variance_power": {"objective": "reg:tweedie"},
        "huber_slope": {"objective": "reg:pseudohubererror"},
        "quantile_alpha": {"objective": "reg:quantileerror"},
        "expectile_alpha": {"objective": "reg:expectileerror"},
    }
    values = np.arange(20, dtype=np.float32).reshape(-1, 1)
    data = xgb.DMatrix(values, values[:, 0] + 1)
    unknown = []
    for name in sorted(HYPERPARAMETERS["xgboost"] - taken):
        if name == "scale_pos_weight":
            continue
        try:
            with pytest.warns(UserWarning, match="are not used") as warned:
                xgb.train({"verbosity": 1, "validate_parameters": True, **of_others.get(name, {}), name: "no such value"}, data, 1)
            unknown += [name for each in warned if f'"{name}"' in str(each.message)]
        except (xgb.core.XGBoostError, ValueError, TypeError, pytest.fail.Exception):
            pass
    assert not unknown


def test_nearest() -> None:
    assert nearest("colour", ["color", "shape"]) == "color"
    assert nearest("colour", ["xyz"]) is None
    assert nearest("colour", []) is None


@pytest.mark.parametrize(
    ("classes", "weights", "row"),
    [
        ((0, 1), {"0": 1, "1": 3}, [1, 3]),
        ((0, 1), {1: 3}, [1, 3]),
        ((3, 5, 9), {"9": 4, "3": 2}, [2, 1, 4]),
        (("adelie", "gentoo"), {"gentoo": 0.5, "adelie": 2}, [2, 0.5]),
        ((False, True), {"True": 5}, [1, 5]),
        ((False, True), {"true": 5, "false": 2}, [2, 5]),
        ((0.5, 1.5), {"1.5": 7}, [1, 7]),
        ((0, 1), [1, 3], [1, 3]),
    ],
)
def test_the_weights_of_classes_are_given_by_their_labels(classes, weights, row) -> None:
    assert by_class({"class_weights": weights, "depth": 3}, classes) == {"class_weights": row, "depth": 3}


def test_a_weight_of_a_class_that_the_target_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match=r"names '2', which is not a class of the target\. The classes are 0, 1\."):
        by_class({"class_weights": {"0": 1, "2": 3}}, (0, 1))
    with pytest.raises(HyperparameterError, match=r'YAML reads no, off and false as False, .* Put it in quotes, as in "off"\.'):
        by_class({"class_weights": {"False": 1}}, ("off", "on"))
    with pytest.raises(HyperparameterError, match=r"The classes are 0, 1\.$"):
        by_class({"class_weights": {"False": 1}}, (0, 1))
    with pytest.raises(InputError, match="a regression has no classes"):
        by_class({"class_weights": {"0": 1}}, ())


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_a_monotone_constraint_on_a_category_is_refused(library: str) -> None:
    kinds = {"area": "number", "colour": "category"}
    for given in ({"monotone_constraints": {"colour": 1}}, {"monotone_constraints": [1, -1]}):
        with pytest.raises(HyperparameterError, match="names `colour`, which is a category: its values have no order"):
            refuse_constrained_categories(by_place(library, given, list(kinds)), kinds)
    for given in ({"monotone_constraints": {"area": 1}}, {"monotone_constraints": [1, 0]}, {"max_depth": 3}):
        refuse_constrained_categories(by_place(library, given, list(kinds)), kinds)


def test_weights_are_as_many_as_classes() -> None:
    with pytest.raises(HyperparameterError, match="has 2 weights, and the target has 3 classes"):
        by_class({"class_weights": [1, 2]}, ("a", "b", "c"))
