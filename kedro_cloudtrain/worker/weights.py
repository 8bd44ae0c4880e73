"""Weights of a table's rows: a column's, and those of their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import InputError
from .kinds import as_numbers, kind_of
from .labels import by_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .target import Target

_LARGEST = float(np.finfo(np.float32).max)
_CURE = "A weight is a number from 0 on: correct it, take the row out, or choose another weight_column."


def row_weights(values: pd.Series) -> NDArray[np.float64]:
    """Return a column's weights, float64 of shape (rows,).

    Raises:
        InputError: names the first row whose value is not a weight.
    """
    kind = kind_of(values)
    if kind not in ("number", "boolean"):
        # One text makes a text of each number beside it: the text is to be shown.
        texts = values.notna() & (kind == "date" or pd.to_numeric(values.astype(object), errors="coerce").isna())
        row = int(np.flatnonzero(texts if texts.any() else values.notna())[0])
        raise InputError(
            f"The weight column `{values.name}` holds {'dates' if kind == 'date' else 'text'}: {_shown(values.iloc[row])} in "
            f"{_row(values, row)}. {_CURE}"
        )
    weights = np.asarray(as_numbers(values, kind).to_numpy(dtype=np.float64, na_value=np.nan))
    # Every library counts weights in float32.
    odd = np.flatnonzero(~((weights >= 0) & (weights <= _LARGEST)))
    if odd.size:
        row = int(odd[0])
        value = "no value" if np.isnan(weights[row]) else f"the value {weights[row]:g}"
        raise InputError(f"The weight column `{values.name}` has {value} in {_row(values, row)}. {_CURE}")
    return weights


def check_weights(values: pd.Series, *, whole: bool = False) -> None:
    """Check the weights of some rows; of all of them if `whole`.

    Raises:
        InputError: a value is not a weight, or no row counts.
    """
    weights = row_weights(values)
    if whole:
        refuse_zeros(weights, str(values.name), "")


def refuse_zeros(weights: NDArray[np.float64], name: str, part: str) -> None:
    """Check that some row of a part of the table counts.

    Raises:
        InputError: all weights are 0.
    """
    if len(weights) and not weights.any():
        raise InputError(
            f"The weight column `{name}` is 0 in all {len(weights):,} {part}rows, of which none counts then: correct it, or choose another "
            "weight_column."
        )


def class_weights(class_weight: str | Mapping[str, float], target: Target, codes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the weight of each row's class, float64 of shape (rows,).

    Args:
        class_weight: `balanced`, by which scikit-learn gives all classes the same sum of weights; or weights by the classes' labels.
        target: knows the classes.
        codes: each row's class.

    Raises:
        InputError: there are no classes, or a label is not that of a class.
    """
    if target.task == "regression":
        raise InputError("`class_weight` is for a classification, and a regression has no classes: remove it.")
    if isinstance(class_weight, str):
        from sklearn.utils.class_weight import compute_sample_weight  # takes most of a second

        return np.asarray(compute_sample_weight(class_weight, codes), dtype=np.float64)
    by_code = np.array(by_label(class_weight, target.classes, "class_weight"), dtype=np.float64)
    return np.asarray(by_code[codes])


def _row(values: pd.Series, place: int) -> str:
    return f"row {values.index[place]} (counted from 0)"


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)
