"""What early stopping watches: the metrics of the metrics file, as each library calls its own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What Keras watches without being asked.
LOSS = "loss"
# Only where a library's metric is what the metrics file has under that name, or what it is 1 minus of: MAPE of LightGBM and of CatBoost
# divides by 1 at least. Keras' are code.
_METRICS: dict[str, dict[str, dict[str, str]]] = {
    "xgboost": {
        "regression": {"rmse": "rmse", "mae": "mae", "mape": "mape"},
        "binary_classification": {"log_loss": "logloss", "accuracy": "error", "roc_auc": "auc", "pr_auc": "aucpr"},
        "multiclass_classification": {"log_loss": "mlogloss", "accuracy": "merror"},
    },
    "lightgbm": {
        "regression": {"rmse": "rmse", "mse": "l2", "mae": "l1"},
        "binary_classification": {
            "log_loss": "binary_logloss",
            "accuracy": "binary_error",
            "roc_auc": "auc",
            "pr_auc": "average_precision",
        },
        "multiclass_classification": {"log_loss": "multi_logloss", "accuracy": "multi_error"},
    },
    "catboost": {
        "regression": {"rmse": "RMSE", "mae": "MAE", "r2": "R2"},
        "binary_classification": {
            "log_loss": "Logloss",
            "accuracy": "Accuracy",
            "roc_auc": "AUC",
            "pr_auc": "PRAUC",
            "f1": "F1",
            "precision": "Precision",
            "recall": "Recall",
        },
        "multiclass_classification": {"log_loss": "MultiClass", "accuracy": "Accuracy", "macro_f1": "TotalF1:average=Macro"},
    },
    "keras": {
        "regression": {
            "rmse": 'keras.metrics.RootMeanSquaredError(name="rmse")',
            "mse": 'keras.metrics.MeanSquaredError(name="mse")',
            "mae": 'keras.metrics.MeanAbsoluteError(name="mae")',
            "r2": 'keras.metrics.R2Score(name="r2")',
        },
        "binary_classification": {
            "log_loss": LOSS,
            "accuracy": 'keras.metrics.BinaryAccuracy(name="accuracy")',
            "roc_auc": 'keras.metrics.AUC(name="roc_auc")',
            "pr_auc": 'keras.metrics.AUC(curve="PR", name="pr_auc")',
            "precision": 'keras.metrics.Precision(name="precision")',
            "recall": 'keras.metrics.Recall(name="recall")',
        },
        "multiclass_classification": {
            "log_loss": LOSS,
            "accuracy": 'keras.metrics.SparseCategoricalAccuracy(name="accuracy")',
        },
    },
}
# The numbers of the metrics file, by what the model learns; `measure` returns them.
MEASURED: dict[str, tuple[str, ...]] = {
    "regression": ("rmse", "mse", "mae", "r2", "mape"),
    "binary_classification": ("accuracy", "roc_auc", "pr_auc", "log_loss", "f1", "precision", "recall"),
    "multiclass_classification": ("accuracy", "macro_f1", "log_loss"),
}
_MAXIMISED = ("accuracy", "roc_auc", "pr_auc", "r2", "f1", "macro_f1", "precision", "recall")
# What the metrics file has beside the others under some objectives, which the fit then watches without being asked.
OF_AN_OBJECTIVE = ("pinball_loss", "poisson_deviance", "gamma_deviance", "tweedie_deviance")
# CatBoost's AUC counts rows as equals unless it is told otherwise, and its PRAUC always.
_WITH_WEIGHTS = {"AUC": "AUC:use_weights=true", "PRAUC": None}
_HYPERPARAMETERS = {"xgboost": ("eval_metric",), "lightgbm": ("metric", "metrics", "metric_types"), "catboost": ("eval_metric",)}


@dataclasses.dataclass(frozen=True)
class WatchedMetric:
    """A metric that early stopping watches.

    Attributes:
        name: as the metrics file has it.
        own: the library's own name; for Keras, the code that makes it.
        hyperparameter: the library's hyperparameter that takes it; None for Keras, which has none.
        mode: `max` if more is better, else `min`.
    """

    name: str
    own: str
    hyperparameter: str | None
    mode: str


def more_is_better(metric: str) -> bool | None:
    """Return whether the higher of two values of a number of the metrics file is the better one; None where it is not one of those."""
    is_listed = metric in OF_AN_OBJECTIVE or any(metric in names for names in MEASURED.values())
    return metric in _MAXIMISED if is_listed else None


def watched_metric(library: str, task: str, metric: str, *, weighted: bool = False) -> WatchedMetric | None:
    """Return the metric by which a library knows one of the metrics file; None if it has none.

    Args:
        library: xgboost, lightgbm, catboost or keras.
        task: what the model learns.
        metric: the name in the metrics file.
        weighted: whether the rows have weights, by which the metric is to count.
    """
    own = _METRICS.get(library, {}).get(task, {}).get(metric)
    if weighted and library == "catboost" and own in _WITH_WEIGHTS:
        own = _WITH_WEIGHTS[own]
    if own is None:
        return None
    return WatchedMetric(metric, own, next(iter(_HYPERPARAMETERS.get(library, ())), None), "max" if metric in _MAXIMISED else "min")


def metric_problems(library: str, task: str, metric: str, hyperparameters: Mapping[str, Any], *, weighted: bool = False) -> Iterator[str]:
    """Yield what is wrong with the metric that a training names.

    Args:
        library: as for `watched_metric`.
        task: as for `watched_metric`.
        metric: as for `watched_metric`.
        hyperparameters: by their names.
        weighted: as for `watched_metric`.
    """
    for name in _HYPERPARAMETERS.get(library, ()):
        if hyperparameters.get(name) is not None:
            yield f"`metric` cannot be used with `hyperparameters.{name}`, which says the same: keep one of them."
    if watched_metric(library, task, metric, weighted=weighted) is None:
        choices = [name for name in _METRICS[library][task] if watched_metric(library, task, name, weighted=weighted) is not None]
        noun = task.replace("_", " ") + (" with weights" if weighted and metric in _METRICS[library][task] else "")
        cure = f"Write one of {', '.join(choices)}."
        if metric in OF_AN_OBJECTIVE:
            cure = "Leave it out: with another objective, its own loss is watched."
        yield f"`metric` is {metric!r}, which {library} cannot watch in a {noun}. {cure}"
