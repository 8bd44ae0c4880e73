"""The predictions that a training leaves: a row for each row that was held out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .target import Target


def predictions_table(target: Target, rows: NDArray[np.int64], truth: NDArray[Any], output: NDArray[Any]) -> pd.DataFrame:
    """Lay predictions out as a table: `row`, `target`, `prediction`, and of a classification `probability_…` for each class.

    Args:
        target: the task and the classes.
        rows: each row's number in its table.
        truth: float32 values, or codes of the classes; shape (rows,).
        output: the library's raw output for the rows.
    """
    is_number = target.task == "regression"
    names = truth if is_number else np.array(target.classes)[truth]
    table = pd.DataFrame({"row": rows, "target": names, "prediction": target.decode(output)})
    if not is_number:
        for label, values in zip(target.classes, target.probabilities(output).T, strict=True):
            table[f"probability_{label}"] = values
    return table
