"""Hyperparameters that a library takes on one device alone: found before a machine is chosen.

On a GPU, XGBoost has no `tree_method: exact`, and CatBoost neither sampled columns, monotone constraints, a shrinking model, posterior
sampling nor, for several classes, ordered boosting; on a CPU, CatBoost has neither Poisson's bootstrap, Newton's scores nor Armijo's steps.
LightGBM's wheel computes on a CPU alone, and the Keras recipes have the same hyperparameters on both.

CatBoost checks its options before it looks for a device, so tests/worker/test_hyperparameter_devices.py compares each row with the library.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ANY: tuple[Any, ...] = ()
_CLASSES = ("MultiClass", "MultiClassOneVsAll")
# Losses whose leaves CatBoost estimates exactly where nothing else is asked for.
_EXACT = ("LogCosh",)
_DEVICES = ("device", "device_type", "task_type")


@dataclasses.dataclass(frozen=True)
class Rule:
    """A hyperparameter that a library refuses on one device.

    Attributes:
        names: its synonyms.
        fine: the values that it takes there all the same.
        refused: the values that it refuses; none: all but `fine`.
        most: the highest number that it takes there; None where numbers do not count.
        losses: the losses with which it refuses them; none: any.
        instead: another value, as the end of a sentence.
    """

    names: tuple[str, ...]
    fine: tuple[Any, ...] = _ANY
    refused: tuple[Any, ...] = _ANY
    most: float | None = None
    losses: tuple[str, ...] = ()
    instead: str = "leave it out"

    def broken_by(self, hyperparameters: Mapping[str, Any], loss: str) -> str | None:
        """Return the name by which some hyperparameters break the rule; None if they do not."""
        for name in self.names:
            value = hyperparameters.get(name)
            if value is None or (self.losses and loss not in self.losses):
                continue
            each = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            above = self.most is not None and any(isinstance(one, int | float) and one > self.most for one in each)
            wrong = self.refused and any(_is_one(one, self.refused) for one in each)
            other = not self.refused and self.most is None and not (each and all(_is_one(one, self.fine) for one in each))
            if above or wrong or other:
                return name
        return None


_ON_GPU: dict[str, tuple[Rule, ...]] = {
    # src/gbm/gbtree.cc
    "xgboost": (Rule(("tree_method",), refused=("exact",), instead="use hist"),),
    # catboost/private/libs/options: catboost_options.cpp, bootstrap_options.cpp, boosting_options.cpp
    "catboost": (
        Rule(("rsm", "colsample_bylevel"), fine=(1, 1.0)),
        Rule(("monotone_constraints",), fine=(0,)),
        Rule(("sampling_frequency",), fine=("PerTree",), instead="use PerTree"),
        Rule(("model_shrink_rate", "sparse_features_conflict_fraction"), fine=(0, 0.0)),
        Rule(("model_shrink_mode",), fine=("Constant",), instead="use Constant"),
        Rule(("posterior_sampling", "store_all_simple_ctr", "approx_on_full_history"), fine=(False,)),
        Rule(
            ("simple_ctr", "combinations_ctr"),
            refused=("Counter", "BinarizedTargetMeanValue"),
            instead="use Borders, Buckets or FeatureFreq",
        ),
        Rule(("one_hot_max_size",), most=256, instead="use 256 at most"),
        Rule(("random_score_type",), fine=("NormalWithModelSizeDecrease",)),
        Rule(("sampling_unit",), fine=("Object",), instead="use Object"),
        Rule(("ctr_leaf_count_limit", "dev_score_calc_obj_block_size")),
        Rule(("boosting_type",), refused=("Ordered",), losses=_CLASSES, instead="use Plain"),
        Rule(("bootstrap_type",), refused=("MVS",), losses=_CLASSES, instead="use Bernoulli"),
        Rule(("data_partition",), refused=("FeatureParallel",), losses=_CLASSES, instead="use DocParallel"),
    ),
}
_ON_CPU: dict[str, tuple[Rule, ...]] = {
    "catboost": (
        Rule(("task_type",), refused=("GPU",)),
        Rule(("score_function",), fine=("Cosine", "L2"), instead="use Cosine or L2"),
        Rule(("bootstrap_type",), refused=("Poisson",), instead="use Bernoulli"),
        Rule(("leaf_estimation_backtracking",), refused=("Armijo",), instead="use AnyImprovement"),
        Rule(("data_partition", "fixed_binary_splits")),
    ),
}


def refused_on(device: str, library: str, hyperparameters: Mapping[str, Any], task: str | None = None) -> Iterator[str]:
    """Yield a clause for each hyperparameter that a library refuses on a device, with the value to use instead.

    Args:
        device: `cuda` or `cpu`.
        library: xgboost, lightgbm, catboost or keras; it is not imported.
        hyperparameters: by their names.
        task: what the model learns; None where it is not known.

    Example:
        >>> list(refused_on("cuda", "xgboost", {"tree_method": "exact"}))
        ["`hyperparameters.tree_method` is 'exact', which xgboost has on a CPU alone: use hist"]
    """
    loss = _loss(hyperparameters, task)
    other = "CPU" if device == "cuda" else "GPU"
    for rule in (_ON_GPU if device == "cuda" else _ON_CPU).get(library, ()):
        name = rule.broken_by(hyperparameters, loss)
        if name is not None:
            with_loss = f" with {loss}" if rule.losses else ""
            value = hyperparameters[name]
            yield f"`hyperparameters.{name}` is {value!r}, which {library} has{with_loss} on a {other} alone: {rule.instead}"
    if device == "cuda" and library == "catboost" and hyperparameters.get("boosting_type") != "Plain":
        # A GPU's default for fewer than 50,000 rows is Ordered.
        name = next((name for name in ("loss_function", "objective") if _is_one(hyperparameters.get(name), _EXACT)), None)
        if hyperparameters.get("leaf_estimation_method", "Exact" if name else None) == "Exact":
            name = "leaf_estimation_method" if hyperparameters.get("leaf_estimation_method") else name
            value = hyperparameters[name or ""]
            yield f"`hyperparameters.{name}` is {value!r}, which catboost has on a GPU only with `boosting_type: Plain`: add it"


def chosen_device(library: str, hyperparameters: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the device that hyperparameters name (`cuda` or `cpu`), and the one that does; None where none does."""
    for name in _DEVICES:
        value = str(hyperparameters.get(name, "")).lower()
        if value == "cpu":
            return "cpu", name
        if library != "lightgbm" and value.partition(":")[0] in ("cuda", "gpu"):
            return "cuda", name
    return None


def needed_device(library: str, hyperparameters: Mapping[str, Any], task: str | None = None) -> tuple[str, str] | None:
    """Return the only device that some hyperparameters leave, and why, as a clause; None where they leave both."""
    chosen = chosen_device(library, hyperparameters)
    if chosen is not None:
        device, name = chosen
        return device, f"`hyperparameters.{name}` is {hyperparameters[name]!r}"
    for device, other in (("cpu", "cuda"), ("cuda", "cpu")):
        refused = next(refused_on(other, library, hyperparameters, task), None)
        if refused is not None:
            return device, refused.rpartition(": ")[0]
    return None


def _loss(hyperparameters: Mapping[str, Any], task: str | None) -> str:
    """Return the name of CatBoost's loss: the one that is given, or the recipe's own."""
    loss = hyperparameters.get("loss_function") or hyperparameters.get("objective")
    return str(loss).partition(":")[0] if loss else "MultiClass" if task == "multiclass_classification" else ""


def _is_one(value: Any, values: tuple[Any, ...]) -> bool:
    name = value.partition(":")[0] if isinstance(value, str) else value
    return any(each == name and isinstance(each, bool) == isinstance(name, bool) for each in values)
