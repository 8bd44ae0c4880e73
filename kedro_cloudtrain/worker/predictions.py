"""Predictions as tables: of the rows that a training has held out, and of any table's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .target import Target

PREDICTION = "prediction"
PROBABILITY = "probability_"


def predictions_table(target: Target, rows: NDArray[np.int64], truth: NDArray[Any], output: NDArray[Any]) -> pd.DataFrame:
    """Return predictions as a table: `row`, `target`, `prediction`, and of a classification `probability_…` for each class.

    Args:
        target: the task and the classes.
        rows: each row's number in its table.
        truth: float32 values, or codes of the classes; shape (rows,).
        output: the library's raw output for the rows.
    """
    names = truth if target.task == "regression" else np.array(target.classes)[truth]
    return pd.DataFrame({"row": rows, "target": names, **prediction_columns(target, output)})


def prediction_columns(target: Target, output: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the columns of predictions: `prediction`, and of a classification `probability_…` for each class.

    Args:
        target: the task and the classes.
        output: the library's raw output.
    """
    columns = {PREDICTION: target.decode(output)}
    if target.task != "regression":
        probabilities = target.probabilities(output).T
        columns |= {f"{PROBABILITY}{label}": values for label, values in zip(target.classes, probabilities, strict=True)}
    return columns
