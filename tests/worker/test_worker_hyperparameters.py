from __future__ import annotations

import inspect

import numpy as np
import pytest

from kedro_cloudtrain.worker.errors import InputError, nearest
from kedro_cloudtrain.worker.hyperparameters import KNOWN, check_hyperparameters, take, with_defaults


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


def test_all_unknown_names_are_said_at_once() -> None:
    with pytest.raises(InputError) as caught:
        check_hyperparameters("keras", {"epocs": 1, "zzzzzz": 2, "early_stopping_rounds": 3, "epochs": 4})
    first, second, third = str(caught.value).splitlines()
    assert "epocs" in first
    assert "It has: activation, " in second
    assert "move it a level up" in third


def test_two_names_for_the_same_are_an_error() -> None:
    with pytest.raises(InputError, match=r"`hyperparameters.eta` and `hyperparameters.learning_rate` are the same to xgboost"):
        check_hyperparameters("xgboost", {"eta": 0.1, "learning_rate": 0.2})
    with pytest.raises(InputError, match=r"iterations.*n_estimators"):
        check_hyperparameters("catboost", ["iterations", "n_estimators"])
    for library in KNOWN:
        check_hyperparameters(library, {})
        check_hyperparameters(library, {"learning_rate": 0.1})


def test_a_linear_booster_is_refused() -> None:
    with pytest.raises(InputError, match="gblinear"):
        check_hyperparameters("xgboost", {"booster": "gblinear"})
    check_hyperparameters("xgboost", {"booster": "dart"})
    check_hyperparameters("xgboost", ["booster"])


def test_a_default_yields_to_any_name_of_what_is_given() -> None:
    assert with_defaults({"eta": 0.3}, learning_rate=0.1, seed=7) == {"seed": 7, "eta": 0.3}
    assert with_defaults({"random_state": 1, "application": "l1"}, seed=7, objective="l2") == {"random_state": 1, "application": "l1"}
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
    known = set(aliases) | {name for names in aliases.values() for name in names}
    assert KNOWN["lightgbm"] <= known


def test_catboost_knows_every_name() -> None:
    import catboost

    known = {name for kind in (catboost.CatBoostRegressor, catboost.CatBoostClassifier) for name in inspect.signature(kind).parameters}
    assert KNOWN["catboost"] <= known


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
    for name in sorted(KNOWN["xgboost"] - taken):
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
