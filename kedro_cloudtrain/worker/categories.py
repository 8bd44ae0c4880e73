"""Categories by the distinct values of a column: each of those becomes a text once, not each row's."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import InputError
from .kinds import as_numbers, kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Values of these types that are equal have one text. (1, 1.0 and True are equal, too, and have three.)
_TEXT_TYPES = {str, float, type(None), type(pd.NA)}


def distinct_texts(values: pd.Series, *, codes: bool = False) -> tuple[NDArray[np.integer[Any]], list[str]]:
    """Return each value's place among the distinct values of a column, -1 where it is missing, and the text of each of these.

    Two of them may have the same text, and a categorical column may have some that no row has.

    Args:
        values: the column.
        codes: whether its numbers are codes: 3 is the same in a column of ints and in one that a missing value has made floats.
    """
    if codes:
        places, distinct = pd.factorize(values)
        return places, [str(int(code)) if _is_whole(code) else str(code) for code in distinct]
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.codes.to_numpy(), [str(value) for value in values.cat.categories.astype(object)]
    places, distinct = pd.factorize(values if isinstance(values.dtype, pd.StringDtype) else _texts(values))
    return places, [str(text) for text in distinct]


def _texts(values: pd.Series) -> pd.Series:
    """Return values of any type as texts; missing ones stay missing."""
    objects = values.astype(object)
    if set(map(type, objects)) <= _TEXT_TYPES and pd.api.types.infer_dtype(objects, skipna=True) == "string":
        return objects
    return objects.map(str, na_action="ignore")


def _is_whole(value: Any) -> bool:
    return isinstance(value, float | np.floating | Decimal) and math.isfinite(value) and value == int(value)


def check_codes(values: pd.Series) -> None:
    """Check that the numbers of a column that the user calls a category are codes.

    Raises:
        InputError: one is not a whole number.
    """
    if kind_of(values) == "number" and not pd.api.types.is_integer_dtype(values.dtype):
        numbers = as_numbers(values, "number").to_numpy(dtype=np.float64, na_value=np.nan)
        odd = np.flatnonzero(~np.isnan(numbers) & ~(np.isfinite(numbers) & (np.floor(numbers) == numbers)))
        if odd.size:
            raise InputError(
                f"`{values.name}` of categorical_columns has the value {numbers[odd[0]]:g} in row {values.index[odd[0]]} (counted from 0), "
                "and a category's code is a whole number. Take it out, or make text of it in a node before."
            )
