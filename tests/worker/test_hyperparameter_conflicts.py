"""The table of conflicts against the installed libraries: what it refuses together they refuse, and each alone they take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.quiet import silence

from kedro_cloudtrain.worker.errors import HyperparameterError
from kedro_cloudtrain.worker.hyperparameter_conflicts import conflicts
from kedro_cloudtrain.worker.hyperparameters import HYPERPARAMETERS, check_hyperparameters

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
Y = np.abs(X[:, 0] + 0.1 * X[:, 1])
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("xgboost", {"max_depth": 0, "tree_method": "exact"}, "max_depth"),
    ("xgboost", {"colsample_bynode": 0.5, "tree_method": "exact"}, "colsample_bynode"),
    ("xgboost", {"multi_strategy": "multi_output_tree", "tree_method": "exact"}, "multi_strategy"),
    ("xgboost", {"multi_strategy": "multi_output_tree", "tree_method": "approx"}, "multi_strategy"),
    ("xgboost", {"objective": "reg:quantileerror"}, "needs `quantile_alpha`"),
    ("lightgbm", {"force_col_wise": True, "force_row_wise": True}, "force_col_wise"),
    ("lightgbm", {"linear_tree": True, "objective": "l1"}, "linear_tree"),
    ("lightgbm", {"monotone_constraints": [1, 0, 0], "objective": "quantile"}, "monotone_constraints"),
    ("lightgbm", {"monotone_constraints": [1, 0, 0], "objective": "mae"}, "monotone_constraints"),
    ("lightgbm", {"boosting": "rf"}, "bagging_freq"),
    ("lightgbm", {"boosting": "rf", "bagging_fraction": 0.5}, "bagging_freq"),
    ("lightgbm", {"objective": "binary", "is_unbalance": True, "scale_pos_weight": 2.0}, "is_unbalance"),
    ("catboost", {"max_leaves": 8}, "needs `grow_policy: Lossguide`."),
    ("catboost", {"num_leaves": 8, "grow_policy": "Depthwise"}, "needs `grow_policy: Lossguide`, and has Depthwise."),
    ("catboost", {"boosting_type": "Ordered", "grow_policy": "Depthwise"}, "boosting_type"),
    ("catboost", {"monotone_constraints": [1, 0, 0], "grow_policy": "Lossguide"}, "monotone_constraints"),
    ("catboost", {"sampling_frequency": "PerTreeLevel", "grow_policy": "Lossguide"}, "sampling_frequency"),
    ("catboost", {"subsample": 0.5, "bootstrap_type": "Bayesian"}, "subsample"),
    ("catboost", {"subsample": 0.5, "bootstrap_type": "No"}, "subsample"),
    ("catboost", {"bagging_temperature": 0.5, "bootstrap_type": "Bernoulli"}, "bagging_temperature"),
    ("catboost", {"bagging_temperature": 0.5, "bootstrap_type": "No"}, "bagging_temperature"),
    ("catboost", {"leaf_estimation_method": "Simple", "leaf_estimation_iterations": 2}, "leaf_estimation_method"),
    ("catboost", {"leaf_estimation_method": "Exact"}, "leaf_estimation_method"),
    ("catboost", {"leaf_estimation_method": "Newton", "loss_function": "MAE"}, "leaf_estimation_method"),
    ("catboost", {"leaf_estimation_method": "Newton", "loss_function": "Quantile:alpha=0.3"}, "leaf_estimation_method"),
    ("catboost", {"leaf_estimation_method": "Newton", "loss_function": "MAPE"}, "leaf_estimation_method"),
    ("catboost", {"leaf_estimation_method": "Newton", "loss_function": "Lq:q=1.5"}, "leaf_estimation_method"),
    ("catboost", {"leaf_estimation_method": "Newton", "loss_function": "LogLinQuantile"}, "leaf_estimation_method"),
    ("catboost", {"loss_function": "Quantile:alpha=3"}, "alpha of Quantile is a number from 0 to 1."),
    ("catboost", {"loss_function": "Quantile:alpha=x"}, "alpha of Quantile is a number from 0 to 1."),
    ("catboost", {"loss_function": "Expectile"}, "Expectile needs alpha from 0 to 1: `Expectile:alpha=…`."),
    ("catboost", {"loss_function": "Expectile:alpha=3"}, "alpha of Expectile is a number from 0 to 1."),
    ("catboost", {"loss_function": "Tweedie"}, "Tweedie needs variance_power above 1 and below 2"),
    ("catboost", {"loss_function": "Tweedie:variance_power=2"}, "variance_power of Tweedie is a number above 1 and below 2."),
    ("catboost", {"objective": "Huber:delta=-1"}, "delta of Huber is a number from 0 on."),
    ("catboost", {"loss_function": "Huber"}, "Huber needs delta from 0 on"),
    ("catboost", {"loss_function": "Lq:q=0.5"}, "q of Lq is a number from 1 on."),
    ("catboost", {"eval_metric": "Quantile:alpha=3"}, "alpha of Quantile is a number from 0 to 1."),
    ("catboost", {"depth": 3, "max_depth": 3}, "are the same to catboost"),
    ("catboost", {"min_data_in_leaf": 3, "min_child_samples": 3}, "are the same to catboost"),
    ("catboost", {"border_count": 16, "max_bin": 16}, "are the same to catboost"),
    ("catboost", {"l2_leaf_reg": 1.0, "reg_lambda": 1.0}, "are the same to catboost"),
    ("catboost", {"rsm": 0.5, "colsample_bylevel": 0.5}, "are the same to catboost"),
    ("catboost", {"auto_class_weights": "Balanced", "class_weights": [1, 2]}, "cannot be used with `auto_class_weights`"),
    ("catboost", {"scale_pos_weight": 2.0, "class_weights": [1, 2]}, "cannot be used with `scale_pos_weight`"),
    ("catboost", {"grow_policy": "Lossguide", "max_leaves": 8, "num_leaves": 8}, "are the same to catboost"),
]
TAKEN: list[tuple[str, dict[str, Any]]] = [
    ("xgboost", {"max_depth": 0, "tree_method": "hist"}),
    ("xgboost", {"colsample_bynode": 0.5, "booster": "dart"}),
    ("xgboost", {"objective": "reg:quantileerror", "quantile_alpha": 0.5}),
    ("lightgbm", {"force_col_wise": True, "force_row_wise": False}),
    ("lightgbm", {"linear_tree": True, "objective": "huber"}),
    ("lightgbm", {"monotone_constraints": [1, 0, 0], "objective": "regression"}),
    ("lightgbm", {"boosting": "rf", "bagging_fraction": "0.5", "bagging_freq": 1}),
    ("lightgbm", {"boosting": "rf", "colsample_bytree": 0.5}),
    ("lightgbm", {"objective": "binary", "is_unbalance": False, "scale_pos_weight": 2.0}),
    ("lightgbm", {"objective": "binary", "is_unbalance": True, "scale_pos_weight": 1}),
    ("catboost", {"max_leaves": 8, "grow_policy": "Lossguide"}),
    ("catboost", {"boosting_type": "Ordered"}),
    ("catboost", {"monotone_constraints": [1, 0, 0]}),
    ("catboost", {"sampling_frequency": "PerTreeLevel", "grow_policy": "Depthwise"}),
    ("catboost", {"subsample": 0.5}),
    ("catboost", {"subsample": 0.5, "bootstrap_type": "MVS"}),
    ("catboost", {"bagging_temperature": 0.5}),
    ("catboost", {"leaf_estimation_method": "Simple", "leaf_estimation_iterations": 1}),
    ("catboost", {"leaf_estimation_method": "Exact", "loss_function": "Quantile:alpha=0.3"}),
    ("catboost", {"leaf_estimation_method": "Newton", "loss_function": "Poisson"}),
    ("catboost", {"leaf_estimation_method": "Newton", "loss_function": "RMSPE"}),
    ("catboost", {"leaf_estimation_method": "Newton"}),
    ("catboost", {"loss_function": "Quantile:alpha=1"}),
    ("catboost", {"loss_function": "Quantile"}),
    ("catboost", {"loss_function": "Quantile:delta=0.001"}),
    ("catboost", {"loss_function": "Tweedie:variance_power=1.5"}),
    ("catboost", {"loss_function": "Huber:delta=0.5"}),
    ("catboost", {"loss_function": "Lq:q=1"}),
    ("catboost", {"loss_function": "Expectile:alpha=0.5"}),
]


def fit(library: str, given: dict[str, Any]) -> None:
    """Fit two rounds with the library itself; raise what it raises."""
    target = (Y > 0.5).astype(int) if given.get("objective") == "binary" else Y
    with silence():
        match library:
            case "xgboost":
                import xgboost as xgb

                xgb.train({"nthread": 1, **given}, xgb.DMatrix(X, target), 2)
            case "lightgbm":
                import lightgbm as lgb

                lgb.train({"verbosity": -1, "num_threads": 1, **given}, lgb.Dataset(X, target), 2)
            case "catboost":
                from catboost import CatBoostClassifier, CatBoostRegressor

                if any(name.endswith(("weights", "weight")) for name in given):
                    model: Any = CatBoostClassifier(**given, iterations=2, thread_count=1, allow_writing_files=False)
                    target = (Y > 0.5).astype(int)
                else:
                    model = CatBoostRegressor(**given, iterations=2, thread_count=1, allow_writing_files=False)
                model.fit(X, target, silent=True)


@pytest.mark.parametrize(("library", "given", "named"), REFUSED, ids=str)
def test_what_the_table_refuses_the_library_refuses(library: str, given: dict[str, Any], named: str) -> None:
    with pytest.raises(HyperparameterError, match="hyperparameters") as refused:
        check_hyperparameters(library, given)
    assert named in str(refused.value)
    with pytest.raises(Exception, match=r"\w") as raised:
        fit(library, given)
    assert not isinstance(raised.value, TypeError | ImportError)  # it is the library's own check


def test_what_a_newer_release_takes_is_refused_for_the_older_ones_alone() -> None:
    given = {"multi_strategy": "multi_output_tree", "booster": "dart"}
    problems = list(conflicts("xgboost", given))
    try:
        import xgboost as xgb

        with silence():
            xgb.train({"nthread": 1, **given}, xgb.DMatrix(X, np.column_stack([Y, Y])), 2)
    except xgb.core.XGBoostError:
        assert problems
    else:
        assert not problems


@pytest.mark.parametrize(("library", "given"), TAKEN, ids=str)
def test_what_the_library_takes_is_not_refused(library: str, given: dict[str, Any]) -> None:
    check_hyperparameters(library, given)
    fit(library, given)


def test_two_names_of_one_hyperparameter_are_refused_as_lightgbms_own_table_has_them() -> None:
    import lightgbm.basic

    for name, synonyms in lightgbm.basic._ConfigAliases._get_all_param_aliases().items():
        names = [synonym for synonym in dict.fromkeys([name, *synonyms]) if synonym in HYPERPARAMETERS["lightgbm"]]
        for synonym in names[1:]:
            with pytest.raises(HyperparameterError, match="are the same to lightgbm: keep one of them"):
                check_hyperparameters("lightgbm", [names[0], synonym])
