"""Metrics of a model on rows that it was not fitted on, by scikit-learn's definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .target import Target

    Weight = NDArray[np.float64] | None


def measure(
    target: Target, truth: NDArray[Any], output: NDArray[Any], weight: Weight = None, loss: tuple[str, float] | None = None
) -> dict[str, Any]:
    """Measure a library's raw output against the encoded truth.

    Args:
        target: the task and the classes.
        truth: float32 values, or codes of the classes; shape (rows,).
        output: values, the second class's probability, or (rows, classes) probabilities.
        weight: each row's weight; None where all rows count alike.
        loss: what the objective of a regression minimises, as `loss_of` returns it, to be measured as well.

    Returns:
        Numbers by the metrics' names. Regression: rmse, mse, mae, r2, mape, and the loss. Binary: accuracy, roc_auc, pr_auc, log_loss, f1,
        precision and recall, of the second class in sorted order. Multiclass: accuracy, macro_f1, log_loss. A classification also
        has `confusion_matrix`, whose rows are the truth, and `classes`; rows that have weights are counted by them.
        A metric that is not defined is None: the AUC of rows of one class, for example.
    """
    if weight is not None:
        # A row that does not count is left out: two classes of which one does not count are one.
        counted = weight > 0
        truth, output, weight = truth[counted], output[counted], weight[counted]
    if target.task == "regression":
        truth, predicted = truth.astype(np.float64), np.asarray(output, dtype=np.float64).reshape(-1)
        return {**_regression(truth, predicted, weight), **(_loss(*loss, truth, predicted, weight) if loss is not None else {})}
    probabilities = target.probabilities(output)
    by_task = _binary if target.task == "binary_classification" else _multiclass
    return {**by_task(truth, probabilities, weight), **_confusion(target, truth, probabilities.argmax(axis=1), weight)}


def _regression(truth: NDArray[Any], predicted: NDArray[Any], weight: Weight) -> dict[str, Any]:
    from sklearn import metrics  # takes most of a second, which a prediction need not wait for

    mse = float(metrics.mean_squared_error(truth, predicted, sample_weight=weight))
    return {
        "rmse": mse**0.5,
        "mse": mse,
        "mae": float(metrics.mean_absolute_error(truth, predicted, sample_weight=weight)),
        "r2": float(metrics.r2_score(truth, predicted, sample_weight=weight)) if len(truth) > 1 else None,
        "mape": float(metrics.mean_absolute_percentage_error(truth, predicted, sample_weight=weight)),
    }


def _loss(name: str, parameter: float, truth: NDArray[Any], predicted: NDArray[Any], weight: Weight) -> dict[str, Any]:
    from sklearn import metrics

    if name == "pinball_loss":
        return {name: float(metrics.mean_pinball_loss(truth, predicted, sample_weight=weight, alpha=parameter))}
    try:
        return {name: float(metrics.mean_tweedie_deviance(truth, predicted, sample_weight=weight, power=parameter))}
    except ValueError:  # It has no value for a target or a prediction below 0, some for 0.
        return {name: None}


def _binary(truth: NDArray[Any], probabilities: NDArray[Any], weight: Weight) -> dict[str, Any]:
    from sklearn import metrics

    probability = probabilities[:, 1]
    predicted = (probability > 0.5).astype(int)  # noqa: PLR2004  # the more likely class
    both = len(np.unique(truth)) > 1
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted, sample_weight=weight)),
        "roc_auc": float(metrics.roc_auc_score(truth, probability, sample_weight=weight)) if both else None,
        "pr_auc": float(metrics.average_precision_score(truth, probability, sample_weight=weight)) if both else None,
        "log_loss": float(metrics.log_loss(truth, probability, labels=[0, 1], sample_weight=weight)),
        "f1": float(metrics.f1_score(truth, predicted, zero_division=0, sample_weight=weight)),
        "precision": float(metrics.precision_score(truth, predicted, zero_division=0, sample_weight=weight)),
        "recall": float(metrics.recall_score(truth, predicted, zero_division=0, sample_weight=weight)),
    }


def _multiclass(truth: NDArray[Any], probabilities: NDArray[Any], weight: Weight) -> dict[str, Any]:
    from sklearn import metrics

    predicted, labels = probabilities.argmax(axis=1), list(range(probabilities.shape[1]))
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted, sample_weight=weight)),
        "macro_f1": float(metrics.f1_score(truth, predicted, average="macro", zero_division=0, sample_weight=weight)),
        "log_loss": float(metrics.log_loss(truth, probabilities, labels=labels, sample_weight=weight)),
    }


def _confusion(target: Target, truth: NDArray[Any], predicted: NDArray[Any], weight: Weight) -> dict[str, Any]:
    from sklearn import metrics

    matrix = metrics.confusion_matrix(truth, predicted, labels=list(range(len(target.classes))), sample_weight=weight)
    return {"confusion_matrix": matrix.tolist(), "classes": list(target.classes)}
