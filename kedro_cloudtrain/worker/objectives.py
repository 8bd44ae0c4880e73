"""What each task can be trained by: objectives, weights and metrics of another task are found before a machine is paid for."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from .errors import HyperparameterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

# The objectives by which a library makes of a task what its model is read as: a number in the target's own unit, the second class's
# probability, or a probability for each class. All others of the library are another task's, or need groups, intervals or code.
_OBJECTIVES: dict[str, dict[str, str]] = {
    "xgboost": {
        "regression": """
            reg:squarederror reg:squaredlogerror reg:logistic reg:pseudohubererror reg:absoluteerror reg:quantileerror reg:expectileerror
            reg:gamma reg:tweedie count:poisson
        """,
        "binary_classification": "binary:logistic binary:hinge reg:logistic",
        "multiclass_classification": "multi:softprob",
        "": "binary:logitraw multi:softmax survival:cox survival:aft rank:ndcg rank:map rank:pairwise",
    },
    "lightgbm": {
        "regression": """
            regression regression_l2 l2 mean_squared_error mse l2_root root_mean_squared_error rmse regression_l1 l1 mean_absolute_error
            mae huber fair poisson quantile mape mean_absolute_percentage_error gamma tweedie cross_entropy xentropy
        """,
        "binary_classification": "binary cross_entropy xentropy",
        "multiclass_classification": "multiclass softmax multiclassova multiclass_ova ova ovr",
        "": "cross_entropy_lambda xentlambda lambdarank rank_xendcg xendcg none null custom na",
    },
    "catboost": {
        "regression": """
            RMSE MAE MAPE Poisson Quantile LogLinQuantile LogCosh Lq Expectile Tweedie Huber RMSPE MultiRMSE
        """,
        "binary_classification": "Logloss CrossEntropy Focal MultiClass MultiClassOneVsAll MultiLogloss MultiCrossEntropy",
        "multiclass_classification": "MultiClass MultiClassOneVsAll",
        "": """
            MultiQuantile RMSEWithUncertainty Cox SurvivalAft QueryRMSE QuerySoftMax QueryCrossEntropy YetiRank YetiRankPairwise PairLogit
            PairLogitPairwise StochasticFilter StochasticRank LambdaMart GroupQuantile
        """,
    },
}
_NAMES = {
    "xgboost": ("objective",),
    "lightgbm": ("objective", "objective_type", "app", "application", "loss"),
    "catboost": ("loss_function", "objective"),
}
# The objectives whose loss scikit-learn has, and no metric of every regression is: one quantile of the target, or a distribution.
_LOSSES = {
    "pinball_loss": ("reg:quantileerror", "quantile", "Quantile", "LogLinQuantile"),
    "poisson_deviance": ("count:poisson", "poisson", "Poisson"),
    "gamma_deviance": ("reg:gamma", "gamma"),
    "tweedie_deviance": ("reg:tweedie", "tweedie", "Tweedie"),
}
# The values of the target that an objective is for: in words, the least and the largest. XGBoost and LightGBM refuse others.
_RANGES: dict[str, tuple[str, float, float]] = {
    # LightGBM's gamma takes 0, and only its metric of that name does not.
    **dict.fromkeys(("count:poisson", "poisson", "reg:tweedie", "tweedie", "gamma"), ("of 0 or more", 0.0, math.inf)),
    "reg:gamma": ("above 0", math.nextafter(0.0, 1.0), math.inf),
    "reg:squaredlogerror": ("above -1", math.nextafter(-1.0, 0.0), math.inf),
    **dict.fromkeys(("reg:logistic", "cross_entropy", "xentropy"), ("from 0 to 1", 0.0, 1.0)),
}
# The metrics of one task that a library refuses in another.
_OTHER_METRICS: dict[str, dict[str, str]] = {
    "xgboost": {
        "binary_classification": "merror mlogloss",
        "multiclass_classification": """
            rmse rmsle mae mape logloss error poisson-nloglik gamma-nloglik gamma-deviance tweedie-nloglik
        """,
    },
    "lightgbm": {
        "regression": "multi_logloss multi_error",
        "binary_classification": "multi_logloss multi_error",
        "multiclass_classification": "l1 mae l2 mse rmse mape auc binary_logloss binary_error",
    },
    "catboost": {
        "regression": "MultiClass",
        "binary_classification": "RMSE MAE R2",
        "multiclass_classification": "RMSE MAE R2 Logloss",
    },
}
_METRIC_NAMES = {"xgboost": ("eval_metric",), "lightgbm": ("metric", "metrics", "metric_types"), "catboost": ("eval_metric",)}


def other_tasks(library: str, task: str, hyperparameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each hyperparameter that a task cannot have.

    Args:
        library: xgboost, lightgbm, catboost or keras.
        task: what the model learns.
        hyperparameters: by their names.
    """
    noun = task.replace("_", " ")
    kinds = {name: kind for kind, names in _OBJECTIVES.get(library, {}).items() for name in names.split()}
    own = _OBJECTIVES.get(library, {}).get(task, "").split()
    for name in _NAMES.get(library, ()):
        value = hyperparameters.get(name)
        objective = _objective(library, value)
        if objective in kinds and objective not in own:
            choices = ", ".join(own[:8]) + (", …" if len(own) > 8 else "")  # noqa: PLR2004  # a line's worth
            yield (
                f"`hyperparameters.{name}` is {value!r}, which predicts something else than a {noun} does. A {noun} takes {choices}. For "
                "another task, change model_type."
            )
    for name in _METRIC_NAMES.get(library, ()):
        others = _OTHER_METRICS[library].get(task, "").split()
        if any(metric in others for metric in _metrics(library, hyperparameters.get(name))):
            value = hyperparameters[name]
            yield f"`hyperparameters.{name}` is {value!r}, which measures another task than a {noun}: take another, or leave it out."
    alphas = hyperparameters.get("quantile_alpha")
    if (
        library == "xgboost"
        and isinstance(alphas, list | tuple)
        and len(alphas) > 1
        and hyperparameters.get("objective") == "reg:quantileerror"
    ):
        yield f"`hyperparameters.quantile_alpha` is {alphas!r}, and a regression predicts one number per row: give one quantile."
    if library == "catboost":
        yield from _other_weights(task, noun, hyperparameters)


def _objective(library: str, value: Any) -> str:
    if not isinstance(value, str):
        return ""  # A list of objectives is left to the library.
    name = value.partition(":")[0] if library == "catboost" else value
    return name.lower() if library == "lightgbm" else name


def check_target(library: str, hyperparameters: Mapping[str, Any], values: pd.Series) -> None:
    """Check that a regression's objective is for the values of its target.

    Args:
        library: xgboost, lightgbm, catboost or keras.
        hyperparameters: by their names.
        values: some of the target's numbers.

    Raises:
        HyperparameterError: it is for others.
    """
    name = next((name for name in _NAMES.get(library, ()) if hyperparameters.get(name) is not None), None)
    needed = None if name is None else _RANGES.get(_objective(library, hyperparameters[name]))
    if name is None or needed is None or values.dtype.kind not in "biuf":  # text is another problem
        return
    words, least, largest = needed
    others = values[(values < least) | (values > largest)]
    if len(others):
        have = "has another" if len(others) == 1 else "have others"
        raise HyperparameterError(
            f"`hyperparameters.{name}` is {hyperparameters[name]!r}, which is for a target {words}, and of {len(values):,} rows of "
            f"`{values.name}` {len(others):,} {have}, such as {others.iloc[0]}. Choose another objective, or correct the data."
        )


def loss_of(library: str, hyperparameters: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return what a regression's objective minimises, where the metrics file does not have it anyway.

    Returns:
        `pinball_loss` with the quantile, or a deviance with its power in Tweedie's family; None for any other objective.
    """
    name = next((name for name in _NAMES.get(library, ()) if hyperparameters.get(name) is not None), None)
    objective = _objective(library, hyperparameters[name]) if name is not None else ""
    kind = next((kind for kind, names in _LOSSES.items() if objective in names), None)
    if name is None or kind is None:
        return None
    if library == "catboost":
        inner = dict(re.findall(r"(\w+)=([^;]*)", str(hyperparameters[name])))
        value = inner.get("alpha", 0.5) if kind == "pinball_loss" else inner.get("variance_power")
    elif kind == "pinball_loss":
        value = hyperparameters.get("quantile_alpha") if library == "xgboost" else hyperparameters.get("alpha", 0.9)
        value = value[0] if isinstance(value, list | tuple) and value else value
    else:
        value = hyperparameters.get("tweedie_variance_power", 1.5)
    value = {"poisson_deviance": 1, "gamma_deviance": 2}.get(kind, value)
    return None if value is None else (kind, float(value))


def _metrics(library: str, value: Any) -> list[str]:
    """Return the names of metrics: XGBoost's `error@0.7` is error."""
    texts = value if isinstance(value, list | tuple) else str(value).split(",") if library == "lightgbm" else [value]
    names = [text.strip().partition("@")[0] for text in texts if isinstance(text, str)]
    return [name.lower() for name in names] if library == "lightgbm" else names


def _other_weights(task: str, noun: str, hyperparameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each of CatBoost's weights of classes that a task cannot have."""
    weights = hyperparameters.get("class_weights")
    if task == "regression":
        names = [
            name for name in ("class_weights", "auto_class_weights", "scale_pos_weight") if hyperparameters.get(name) not in (None, "None")
        ]
        yield from (f"`hyperparameters.{name}` is for a classification, and a regression has no classes: remove it." for name in names)
    elif task == "multiclass_classification" and hyperparameters.get("scale_pos_weight") is not None:
        yield f"`hyperparameters.scale_pos_weight` is for a binary classification, and this is a {noun}: use class_weights."
    elif task == "binary_classification" and isinstance(weights, list | tuple) and len(weights) != 2:  # noqa: PLR2004  # classes
        yield f"`hyperparameters.class_weights` is {weights!r}, and a binary classification has two classes: give a weight for each."
