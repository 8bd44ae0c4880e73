"""Hyperparameters that a library takes alone and refuses together, or refuses without another: found before a machine is paid for."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

from .results import version_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ANY: tuple[Any, ...] = ()
_EXACT_LOSSES = ("Quantile", "GroupQuantile", "MultiQuantile", "MAE", "MAPE", "RMSPE", "LogCosh")
_WITHOUT_NEWTON = ("MAE", "MAPE", "Quantile", "Lq", "LogLinQuantile")
# What stands behind the name of CatBoost's losses (catboost/private/libs/options/loss_description.cpp, catboost/libs/metrics/metric.cpp):
# the parameter, the lowest and the highest value, whether those are taken themselves, and whether the loss needs the parameter.
_LOSS_PARAMETERS = {
    "Quantile": ("alpha", 0, 1, True, False),
    "Expectile": ("alpha", 0, 1, True, True),
    "Tweedie": ("variance_power", 1, 2, False, True),
    "Huber": ("delta", 0, math.inf, True, True),
    "Lq": ("q", 1, math.inf, True, True),
}
# By which a library weighs the classes itself.
_CLASS_WEIGHTS = ("scale_pos_weight", "is_unbalance", "unbalance", "unbalanced_sets", "class_weights", "auto_class_weights")


@dataclasses.dataclass(frozen=True)
class Conflict:
    """Two hyperparameters of which one rules values of the other out.

    Attributes:
        names: the synonyms of the one.
        values: the values of the one that are meant; none: any.
        other: the synonyms of the other.
        refused: the values of the other that are refused beside it.
        needed: the values of the other of which it needs one.
        default: the value of the other where it is left out.
        before: the library's first release that takes the two; empty if none does.
    """

    names: tuple[str, ...]
    values: tuple[Any, ...]
    other: tuple[str, ...]
    refused: tuple[Any, ...] = ()
    needed: tuple[Any, ...] = ()
    default: Any = None
    before: str = ""

    def sentence(self, hyperparameters: Mapping[str, Any]) -> str | None:
        """Return what is wrong with some hyperparameters; None if it is not this."""
        name = next((name for name in self.names if hyperparameters.get(name) is not None), None)
        if name is None or (self.values and not _is_one(hyperparameters[name], self.values)):
            return None
        other = next((other for other in self.other if hyperparameters.get(other) is not None), None)
        value = self.default if other is None else hyperparameters[other]
        if value is None or not (_is_one(value, self.refused) if self.refused else not _is_one(value, self.needed)):
            return None
        subject = f"`hyperparameters.{name}`" + (f" {hyperparameters[name]}" if self.values else "")
        if self.needed:
            needed = " or ".join(f"`{other or self.other[0]}: {each}`" for each in self.needed)
            return f"{subject} needs {needed}" + (f", and has {value}." if other is not None else ".")
        return f"{subject} cannot be used with `{other or self.other[0]}: {value}`: take one of the two out."


# The file of the library's own check stands above its pairs; the releases that the tests have refuse each of them.
_CONFLICTS: dict[str, tuple[Conflict, ...]] = {
    # src/tree/updater_colmaker.cc, src/gbm/gbtree.cc, src/common/quantile_loss_utils.h
    "xgboost": (
        Conflict(("max_depth",), (0,), ("tree_method",), refused=("exact",)),
        Conflict(("colsample_bynode",), _ANY, ("tree_method",), refused=("exact",)),
        Conflict(("multi_strategy",), ("multi_output_tree",), ("tree_method",), refused=("exact", "approx")),
        Conflict(("multi_strategy",), ("multi_output_tree",), ("booster",), refused=("dart",), before="3.3"),
    ),
    # include/LightGBM/config.h, src/io/config.cpp, src/boosting/rf.hpp, src/objective
    "lightgbm": (
        Conflict(("is_unbalance", "unbalance"), (True,), ("scale_pos_weight",), needed=(1, 1.0), default=1),
        Conflict(("force_col_wise",), (True,), ("force_row_wise",), refused=(True,)),
        Conflict(("linear_tree", "linear_trees"), (True,), ("objective", "loss"), refused=("l1", "mae", "regression_l1")),
        Conflict(
            ("monotone_constraints", "mc", "monotone_constraint"),
            _ANY,
            ("objective", "loss"),
            refused=("l1", "mae", "regression_l1", "quantile", "mape"),
        ),
    ),
    # catboost/private/libs/options: bootstrap_options.cpp, catboost_options.cpp; catboost/private/libs/algo/monotonic_constraint_utils.h
    "catboost": (
        Conflict(("max_leaves", "num_leaves"), _ANY, ("grow_policy",), needed=("Lossguide",), default="SymmetricTree"),
        Conflict(("boosting_type",), ("Ordered",), ("grow_policy",), needed=("SymmetricTree",), default="SymmetricTree"),
        Conflict(("monotone_constraints",), _ANY, ("grow_policy",), needed=("SymmetricTree",), default="SymmetricTree"),
        Conflict(("sampling_frequency",), ("PerTreeLevel",), ("grow_policy",), refused=("Lossguide",)),
        Conflict(("subsample",), _ANY, ("bootstrap_type",), refused=("Bayesian", "No")),
        Conflict(("bagging_temperature",), _ANY, ("bootstrap_type",), needed=("Bayesian",), default="Bayesian"),
        Conflict(("leaf_estimation_method",), ("Simple",), ("leaf_estimation_iterations",), needed=(1, 1.0), default=1),
        Conflict(("leaf_estimation_method",), ("Newton",), ("loss_function", "objective"), refused=_WITHOUT_NEWTON),
        Conflict(("leaf_estimation_method",), ("Exact",), ("loss_function", "objective"), needed=_EXACT_LOSSES, default="RMSE"),
    ),
}


def _loss_problem(name: str, value: Any) -> str | None:
    """Return what is wrong with the parameter of a CatBoost loss: `Quantile:alpha=3`."""
    loss, _, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
    if loss not in _LOSS_PARAMETERS:
        return None
    parameter, low, high, closed, needed = _LOSS_PARAMETERS[loss]
    options = dict(re.findall(r"(\w+)=([^;]*)", rest))
    between = f"from {low} on" if math.isinf(high) else f"from {low} to {high}" if closed else f"above {low} and below {high}"
    if parameter not in options:
        return f"`hyperparameters.{name}` is {value!r}, and {loss} needs {parameter} {between}: `{loss}:{parameter}=…`." if needed else None
    try:
        number = float(options[parameter])
    except ValueError:
        number = math.nan
    if low < number < high or (closed and number in (low, high)):
        return None
    return f"`hyperparameters.{name}` is {value!r}, and {parameter} of {loss} is a number {between}."


def conflicts(library: str, hyperparameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each pair of hyperparameters that the library refuses together."""
    for conflict in _CONFLICTS.get(library, ()):
        sentence = conflict.sentence(hyperparameters)
        if sentence is not None and not (conflict.before and _has_release(library, conflict.before)):
            yield sentence
    losses = [
        (name, hyperparameters[name])
        for name in ("loss_function", "objective", "eval_metric")
        if library == "catboost" and name in hyperparameters
    ]
    yield from filter(None, (_loss_problem(name, value) for name, value in losses))
    weights = [name for name in ("class_weights", "auto_class_weights", "scale_pos_weight") if hyperparameters.get(name) is not None]
    if library == "catboost" and len(weights) > 1:
        yield f"`hyperparameters.{weights[0]}` cannot be used with `{weights[1]}`: take one of the two out."
    if (
        library == "lightgbm"
        and _first(hyperparameters, "boosting", "boosting_type", "boost") in ("rf", "random_forest")
        and not _samples(hyperparameters)
    ):
        yield (
            "`hyperparameters.boosting` rf needs a sample for each tree: `bagging_freq` from 1 on with `bagging_fraction` below 1, or "
            "`feature_fraction` below 1."
        )
    if library == "xgboost" and hyperparameters.get("objective") == "reg:quantileerror" and hyperparameters.get("quantile_alpha") is None:
        yield "`hyperparameters.objective` reg:quantileerror needs `quantile_alpha`, such as 0.5."


def weight_conflicts(hyperparameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each hyperparameter that weighs the classes, as the parameter `class_weight` does."""
    for name in _CLASS_WEIGHTS:
        if not _is_one(hyperparameters.get(name), (None, "None", False, 1, 1.0)):
            yield f"`class_weight` cannot be used with `hyperparameters.{name}`, which weighs the classes a second time: keep one of them."


def _has_release(library: str, first: str) -> bool:
    """Return whether a library is installed in some release or a newer one; a machine has the one that its client has."""
    numbers = re.match(r"(\d+)\.(\d+)", version_of(library))
    return numbers is None or (int(numbers[1]), int(numbers[2])) >= tuple(int(number) for number in first.split("."))


def _samples(hyperparameters: Mapping[str, Any]) -> bool:
    """Return whether LightGBM draws rows or columns for each tree."""
    rows = _first(hyperparameters, "bagging_fraction", "subsample", "sub_row", "bagging")
    columns = _first(hyperparameters, "feature_fraction", "colsample_bytree", "sub_feature")
    frequency = _first(hyperparameters, "bagging_freq", "subsample_freq")
    return (_below_one(rows) and frequency is not None and float(frequency) > 0) or _below_one(columns)


def _first(hyperparameters: Mapping[str, Any], *synonyms: str) -> Any:
    return next((hyperparameters[name] for name in synonyms if hyperparameters.get(name) is not None), None)


def _below_one(value: Any) -> bool:
    return value is not None and 0 < float(value) < 1


def _is_one(value: Any, values: tuple[Any, ...]) -> bool:
    # CatBoost's `Quantile:alpha=0.3` is a Quantile. True does not count as 1.
    name = value.partition(":")[0] if isinstance(value, str) else value
    return any(each == name and isinstance(each, bool) == isinstance(name, bool) for each in values)
