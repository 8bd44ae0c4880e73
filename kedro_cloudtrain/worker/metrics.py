"""Metrics of a model on rows that it was not fitted on, by scikit-learn's definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .encoding import Target


def measure(target: Target, truth: NDArray[Any], output: NDArray[Any]) -> dict[str, Any]:
    """Measure a library's raw output against the encoded truth.

    Args:
        target: the task and the classes.
        truth: float32 values, or codes of the classes; shape (rows,).
        output: values, the second class's probability, or (rows, classes) probabilities.

    Returns:
        Numbers by the metrics' names. Regression: rmse, mse, mae, r2, mape. Binary: accuracy, roc_auc, pr_auc, log_loss, f1,
        precision and recall, of the second class in sorted order. Multiclass: accuracy, macro_f1, log_loss. A classification also
        has `confusion_matrix`, whose rows are the truth, and `classes`. A metric that is not defined is None: the AUC of rows of one
        class, for example.
    """
    if target.task == "regression":
        return _regression(truth.astype(np.float64), np.asarray(output, dtype=np.float64).reshape(-1))
    probabilities = target.probabilities(output)
    measured = _binary(truth, probabilities[:, 1]) if target.task == "binary_classification" else _multiclass(truth, probabilities)
    return {**measured, **_confusion(target, truth, probabilities.argmax(axis=1))}


def _regression(truth: NDArray[Any], predicted: NDArray[Any]) -> dict[str, Any]:
    from sklearn import metrics  # takes most of a second, which a prediction need not wait for

    mse = float(metrics.mean_squared_error(truth, predicted))
    return {
        "rmse": mse**0.5,
        "mse": mse,
        "mae": float(metrics.mean_absolute_error(truth, predicted)),
        "r2": float(metrics.r2_score(truth, predicted)) if len(truth) > 1 else None,
        "mape": float(metrics.mean_absolute_percentage_error(truth, predicted)),
    }


def _binary(truth: NDArray[Any], probability: NDArray[Any]) -> dict[str, Any]:
    from sklearn import metrics

    predicted = (probability > 0.5).astype(int)  # noqa: PLR2004  # the more likely class
    both = len(np.unique(truth)) > 1
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "roc_auc": float(metrics.roc_auc_score(truth, probability)) if both else None,
        "pr_auc": float(metrics.average_precision_score(truth, probability)) if both else None,
        "log_loss": float(metrics.log_loss(truth, probability, labels=[0, 1])),
        "f1": float(metrics.f1_score(truth, predicted, zero_division=0)),
        "precision": float(metrics.precision_score(truth, predicted, zero_division=0)),
        "recall": float(metrics.recall_score(truth, predicted, zero_division=0)),
    }


def _multiclass(truth: NDArray[Any], probabilities: NDArray[Any]) -> dict[str, Any]:
    from sklearn import metrics

    predicted = probabilities.argmax(axis=1)
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "macro_f1": float(metrics.f1_score(truth, predicted, average="macro", zero_division=0)),
        "log_loss": float(metrics.log_loss(truth, probabilities, labels=list(range(probabilities.shape[1])))),
    }


def _confusion(target: Target, truth: NDArray[Any], predicted: NDArray[Any]) -> dict[str, Any]:
    from sklearn import metrics

    matrix = metrics.confusion_matrix(truth, predicted, labels=list(range(len(target.classes))))
    return {"confusion_matrix": matrix.tolist(), "classes": list(target.classes)}
