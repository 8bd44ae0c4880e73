"""The table of values against the installed libraries: what it takes they take, and what it refuses they refuse, or document."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.quiet import silence

from kedro_cloudtrain.worker.devices import choose_keras_backend
from kedro_cloudtrain.worker.errors import HyperparameterError
from kedro_cloudtrain.worker.hyperparameter_values import Values, values_of, wrong_values
from kedro_cloudtrain.worker.hyperparameters import HYPERPARAMETERS, check_hyperparameters
from kedro_cloudtrain.worker.refusals import refusal

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
Y = X[:, 0] + 0.1 * X[:, 1]
ROUNDS = {
    *("n_estimators", "num_boost_round", "num_iterations", "num_iteration", "n_iter", "num_tree", "num_trees", "num_round", "num_rounds"),
    *("nrounds", "max_iter", "iterations"),
}
# What a library runs with and documents as out of range: (library, name, value).
LENIENT = {
    *(("xgboost", name, -1) for name in ROUNDS),  # as no round at all
    *(("catboost", name, -1) for name in ("learning_rate", "eta")),
}
# These fit nothing in one round with so few rows, or need another hyperparameter or a GPU: only their spelling is held.
CONDITIONAL = {"Region", "Poisson", "Exact", "SatL2", "SolarL2", "LOOL2", "NewtonL2", "NewtonCosine", "multi_output_tree"}


# A library takes any word for these, and means another one by it.
SILENT = {"monotone_constraints_method", "monotone_constraining_method", "mc_method"}


def fit(library: str, name: str, value: Any) -> None:
    """Fit one round as the recipes do; raise what the library raises."""
    beside = values_of(library)[name].beside if name in values_of(library) else None
    params = {name: value, **dict([beside] if beside is not None else [])}
    rounds = params.pop(name) if name in ROUNDS else 1
    with warnings.catch_warnings(), silence():
        warnings.simplefilter("ignore")
        match library:
            case "xgboost":
                import xgboost as xgb

                data = xgb.QuantileDMatrix(X, Y if beside is None else np.abs(Y), max_bin=params.get("max_bin"))
                # As in the recipes: the metric of the objective's own has limits of its own.
                params = {"eval_metric": "rmse", **params} if beside is not None else params
                xgb.train({"nthread": 1, **params} if name not in ("n_jobs", "nthread") else params, data, rounds - 0)
            case "lightgbm":
                import lightgbm as lgb

                quiet = {} if name == "verbose" else {"verbosity": -1}
                lgb.train({"force_row_wise": True, **quiet, **params}, lgb.Dataset(X, Y), rounds - 0)
            case "catboost":
                from catboost import CatBoost

                two_classes = name == "scale_pos_weight"
                params |= {"iterations": rounds, "thread_count": 1, "allow_writing_files": False}
                params |= {"loss_function": "Logloss"} if two_classes else {}
                CatBoost(params).fit(X, Y > 0 if two_classes else Y, silent=True)


def error_of(library: str, name: str, value: Any) -> Exception | None:
    """Return what a library raises for a value; None if it takes it."""
    try:
        fit(library, name, value)
    except Exception as error:  # noqa: BLE001  # each library has its own
        return error
    return None


def examples(taken: Values) -> tuple[list[Any], list[Any]]:
    """Return values within and without what is taken: at each limit, and of another kind."""
    if taken.kind == "flag":
        return [True, False, *(["true", "-"] if taken.as_text else []), *([None] if taken.or_null else [])], ["deep", 2]
    step: Any = 1 if taken.kind == "whole" else 0.25
    within, without = [], ["deep", True]
    if math.isfinite(taken.low):
        low = int(taken.low) if taken.kind == "whole" else taken.low
        within.append(low + step if taken.open_low else low)
        without.append(low if taken.open_low else low - 1)
    if math.isfinite(taken.high):
        high = int(taken.high) if taken.kind == "whole" else taken.high
        within.append((taken.low + taken.high) / 2 if taken.open_high else high)
        without.append(high if taken.open_high else high + 1)
    if math.isinf(taken.low):
        within += [-1, 0, 2]
    if taken.kind == "whole":
        without.append(1.5)
        (within if taken.as_float else without).append(2.0)
    if taken.or_null:
        within.append(None)
    (within if taken.as_text else without).append("1" if taken.take(1) else "2")
    return within, without


@pytest.mark.no_cover
@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_numbers_within_the_table_are_taken_by_the_library_and_others_are_refused(library: str) -> None:
    differing = []
    for name, taken in values_of(library).items():
        if taken.words or taken.kind in ("signs", "weights"):
            continue
        within, without = examples(taken)
        for value in within:
            assert taken.take(value), (name, value)
            error = error_of(library, name, value)
            differing += [f"{name}: {value!r} is taken, but: {error}"] if error is not None else []
        for value in without:
            assert not taken.take(value), (name, value)
            lenient = (library, name, value) in LENIENT or (name in ROUNDS and value is True)
            differing += [f"{name}: {value!r} is refused, but fits"] if not lenient and error_of(library, name, value) is None else []
    assert differing == []


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_each_closed_list_has_the_words_of_the_library(library: str) -> None:
    for name, taken in values_of(library).items():
        if taken.kind != "one of":
            continue
        if name in SILENT:
            assert error_of(library, name, "nosuchword") is None
            continue
        refused = str(error_of(library, name, "nosuchword"))
        assert re.search("nosuchword|Unknown", refused), name
        listed = re.search(r"(?s)[Vv]alid (?:values|[Oo]ptions) are: (.*)", refused)
        if listed is not None:
            assert set(re.findall(r"'(\w+)'", listed[1])) == set(taken.words), name
        for word in set(taken.words) - CONDITIONAL:
            # It may need another hyperparameter, but the library knows it.
            assert not re.search(rf"Unknown|'{word}' not found|Invalid Input", str(error_of(library, name, word))), (name, word)


def test_no_name_of_a_library_is_taken_for_a_misspelt_one() -> None:
    choose_keras_backend()
    import keras

    names = {("xgboost", "objective"): re.findall(r"candidate: (\S+)", str(error_of("xgboost", "objective", "nosuchword")))}
    listed = str(error_of("catboost", "loss_function", "nosuchword")).partition("Valid options are")[2]
    names["catboost", "loss_function"] = names["catboost", "eval_metric"] = re.findall(r"'(\w+)'", listed)
    for kind, module in (("optimizer", keras.optimizers), ("activation", keras.activations)):
        names["keras", kind] = [name for name, each in vars(module).items() if callable(each) and name not in _NOT_NAMES]
    for (library, name), each in names.items():
        assert len(each) > 8
        for value in each:
            if not values_of(library)[name].take(value):  # CatBoost lists its metrics among its losses
                assert re.search(r"metric|optimiz|loss", str(error_of(library, name, value))), value
    for word in values_of("lightgbm")["objective"].words:
        # The target may not fit the objective, but the library knows it.
        assert "Unknown" not in str(error_of("lightgbm", "objective", word)), word


_NOT_NAMES = {"get", "serialize", "deserialize", "Optimizer", "LossScaleOptimizer", "keras_export"}


@pytest.mark.parametrize("library", HYPERPARAMETERS)
def test_the_table_has_only_names_of_the_library(library: str) -> None:
    assert set(values_of(library)) <= HYPERPARAMETERS[library]


@pytest.mark.parametrize(
    ("library", "given", "message"),
    [
        ("xgboost", {"max_depth": "deep"}, "`hyperparameters.max_depth` is 'deep'. It takes a whole number from 0 on."),
        ("xgboost", {"subsample": 2}, "`hyperparameters.subsample` is 2. It takes a number from 0 to 1."),
        ("xgboost", {"objective": "reg:squarederor"}, "Did you mean `reg:squarederror`?"),
        ("xgboost", {"tree_method": "histt"}, "Did you mean `hist`?"),
        ("xgboost", {"eval_metric": "rmsee"}, "Did you mean `rmse`?"),
        ("xgboost", {"eval_metric": ["rmse", "maee"]}, "Did you mean `mae`?"),
        ("xgboost", {"device": "cud"}, "Did you mean `cuda`?"),
        ("xgboost", {"objective": "reg:SquaredError"}, "Did you mean `reg:squarederror`?"),
        ("xgboost", {"booster": "dart", "rate_drop": 5}, "It takes a number from 0 to 1."),
        ("xgboost", {"objective": "reg:tweedie", "tweedie_variance_power": 3}, "It takes a number from 1 to 2."),
        ("xgboost", {"max_cat_to_onehot": 0}, "It takes a whole number from 1 on."),
        ("xgboost", {"monotone_constraints": {"a": 2}}, "It takes 1 (rising), -1 (falling) or 0 for each feature."),
        ("lightgbm", {"mc": [1, 2]}, "It takes 1 (rising), -1 (falling) or 0 for each feature."),
        ("lightgbm", {"metric": "l3"}, "Did you mean `l1`?"),
        ("lightgbm", {"metrics": "auc, rsme"}, "Did you mean `rmse`?"),
        ("lightgbm", {"monotone_constraints_method": "foo"}, "It takes one of basic, intermediate, advanced."),
        ("lightgbm", {"tweedie_variance_power": 5}, "It takes a number from 1 to less than 2."),
        ("lightgbm", {"max_cat_to_onehot": 0}, "It takes a whole number from 1 on."),
        ("catboost", {"eval_metric": "Maee"}, "Did you mean `MAE`?"),
        ("catboost", {"auto_class_weights": "balanced"}, "Did you mean `Balanced`?"),
        ("xgboost", {"tree_method": "gpu_hist"}, "Use hist: it runs on the GPU where the machine has one."),
        ("catboost", {"class_weights": [1, -2]}, "It takes a number from 0 on for each class, not all of them 0."),
        ("catboost", {"class_weights": {"no": 1, "yes": -2}}, "It takes a number from 0 on for each class, not all of them 0."),
        ("catboost", {"class_weights": [0, 0]}, "It takes a number from 0 on for each class, not all of them 0."),
        ("catboost", {"class_weights": ["much", 1]}, "It takes a number from 0 on for each class, not all of them 0."),
        ("catboost", {"monotone_constraints": {"a": 1.5}}, "It takes 1 (rising), -1 (falling) or 0 for each feature."),
        ("lightgbm", {"num_leaves": 1}, "It takes a whole number from 2 to 131072."),
        ("lightgbm", {"bagging_fraction": 0}, "It takes a number above 0 and at most 1."),
        ("catboost", {"depth": 17}, "It takes a whole number from 0 to 16."),
        ("catboost", {"boosting_type": "gbdt"}, "It takes one of Ordered, Plain."),
        ("keras", {"batch_size": "big"}, "It takes a whole number from 1 on, or auto."),
        ("keras", {"dropout": 1}, "It takes a number from 0 to less than 1."),
        ("keras", {"optimizer": "adm"}, "Did you mean `adam`?"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_taken_instead(library: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError) as caught:
        check_hyperparameters(library, given)
    assert message in str(caught.value)


def test_what_a_library_reads_by_itself_is_left_to_it() -> None:
    for library, given in [
        ("xgboost", {"eval_metric": ["rmse", "mae"], "max_depth": "4", "learning_rate": "0.1", "gamma": None, "objective": "my:own"}),
        ("xgboost", {"eval_metric": "error@0.7", "device": "cuda:1", "monotone_constraints": "(1,0,-1)", "rate_drop": 5}),
        ("xgboost", {"eval_metric": ["ndcg@5-", "map-"], "tweedie_variance_power": 3, "monotone_constraints": [1, 0, -1]}),
        ("lightgbm", {"objective": ["l2"], "extra_trees": "+", "metric": "whatever"}),
        ("lightgbm", {"objective": "L1", "metric": "None", "metrics": "l2,AUC", "mc": {"a": -1}}),
        ("lightgbm", {"metric": "", "metrics": ["l1", "r2"]}),
        ("catboost", {"loss_function": "Quantile:alpha=0.3", "iterations": 5.0}),
        (
            "catboost",
            {"eval_metric": "AUC:type=Ranking", "custom_metric": ["F:beta=2", "MultiQuantile:alpha=0.1,0.9"]},
        ),
        ("catboost", {"class_weights": {"no": 0.5, "yes": 3}, "monotone_constraints": {"a": -1}}),
        ("keras", {"optimizer": "Adam", "activation": "relu"}),
    ]:
        assert list(wrong_values(library, given)) == []


@pytest.mark.parametrize(
    ("library", "name", "value", "reason"),
    [
        ("xgboost", "eval_metric", "rmsee", "Unknown metric function rmsee"),
        ("xgboost", "objective", "binary:logistic", "base_score must be in (0,1) for the logistic loss."),
        ("xgboost", "objective", "count:poisson", "label must be non-negative for Poisson/Tweedie regression."),
        ("xgboost", "objective", "reg:gamma", "`base_score` must be greater than 0 for gamma regression."),
        ("xgboost", "objective", "reg:logistic", "base_score must be in (0,1) for the logistic loss."),
        ("xgboost", "objective", "rank:ndcg", "When using relevance degree as target, label must be either 0 or positive integer."),
        ("lightgbm", "objective", "gamma", "[gamma]: at least one target label is negative."),
        ("lightgbm", "objective", "none", "No objective function provided."),
        ("lightgbm", "feature_contri", [1, 2], "Check failed: "),
        ("lightgbm", "device_type", "cuda", "CUDA Tree Learner was not enabled in this build."),
        ("catboost", "class_weights", [1, 2], "class weights takes effect only with Logloss"),
        ("catboost", "score_function", "NewtonL2", "Only Cosine and L2 score functions are supported for CPU."),
        ("catboost", "loss_function", "Quantile:alpha=3", "Alpha parameter for quantile metric should be in interval [0, 1]."),
        ("catboost", "loss_function", "Logloss", "Target with classes must contain only 2 unique values"),
        ("catboost", "penalties_coefficient", -1, "Error: penalties coefficient should be nonnegative."),
        ("xgboost", "max_depth", "deep", "Invalid Parameter format for max_depth"),
        ("lightgbm", "device_type", "gpux", "Unknown device type gpux"),
        ("lightgbm", "num_leaves", 1, "Check failed: (num_leaves)"),
        ("catboost", "eval_metric", "rmsee", "Key 'rmsee' not found"),
        ("catboost", "langevin", "a", 'Can\'t parse parameter "langevin"'),
    ],
)
def test_a_librarys_refusal_is_one_line_that_names_the_value(library: str, name: str, value: Any, reason: str) -> None:
    explained = refusal(library, {"seed": 7, name: value}, error_of(library, name, value))
    assert str(explained).startswith(f"`hyperparameters.{name}` is {value!r}, which {library} refuses: {reason}")
    assert "\n" not in str(explained)
    assert str(Path(__file__).anchor + "__w") not in str(explained)


def test_an_error_of_a_target_that_does_not_fit_names_the_objective_and_what_weighs_it() -> None:
    import catboost
    import xgboost as xgb

    two = {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}
    with pytest.raises(xgb.core.XGBoostError) as many:
        xgb.train({**two, "eval_metric": "rmse"}, xgb.DMatrix(X, Y), 1, evals=[(xgb.DMatrix(X, Y), "train")], verbose_eval=False)
    sentence = str(refusal("xgboost", {"max_depth": 3, **two}, many.value))
    assert "`hyperparameters.quantile_alpha` is [0.1, 0.9]" in sentence
    assert "max_depth" not in sentence
    for weights, words in (([1, -2], "Weight[0] is negative."), ([1], "class weights should be given for 0 and 1 classes.")):
        with pytest.raises(catboost.CatBoostError) as caught, silence():
            catboost.CatBoost({"loss_function": "Logloss", "iterations": 1, "class_weights": weights}).fit(X, Y > 0)
        assert str(refusal("catboost", {"depth": 3, "class_weights": weights}, caught.value)).endswith(words)


def test_an_error_that_is_about_no_hyperparameter_stays_as_it_is() -> None:
    import xgboost as xgb

    with pytest.raises(xgb.core.XGBoostError) as caught:
        xgb.train({"objective": "binary:logistic"}, xgb.DMatrix(X, Y), 1)
    assert refusal("xgboost", {"max_depth": 3}, caught.value) is None
    assert refusal("xgboost", {"depth": 3}, ValueError("depth is wrong")) is None  # not out of the library
    assert refusal("xgboost", {"device": "cuda"}, xgb.core.XGBoostError("device 0 has no memory left")) is None
    assert refusal("xgboost", {"device": "cuda"}, KeyboardInterrupt()) is None
