"""Numbers that float32 cannot tell apart: those that are far from zero and near to each other are counted from an origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

# IEEE 754: float32 has 24 binary digits, float64 53.
WHOLE = 2**24
_WHOLE_64 = 2**53
# Trees look at 254 places of a column and networks at some thousands: 2^16 of them, of the 2^24, are more than either can use.
_FEWEST_STEPS = 2**16
# Of so many numbers, the share that has to stay apart.
_SAMPLED, _KEPT = 4096, 0.99


def narrowed(values: pd.Series) -> pd.Series:
    """Return a column of numbers as float32, or as it is where float32 would make one number of several."""
    return values.astype("float32") if values.dtype == np.float32 or _are_told_apart(values) else values


def origin_of(values: pd.Series) -> float:
    """Return the number from which a column's numbers are counted: 0 where float32 tells them apart as they are.

    Returns:
        The lowest number, of whole numbers as an int of any size; the middle one where some numbers lie far from all others (-999 for a
        missing one, for example).
    """
    if _are_told_apart(values):
        return 0.0
    low, high = _limits(values)
    alone = low == high and isinstance(low, float)
    if isinstance(low, float) and not alone and _merges(values, low):
        numbers = _floats(values)
        return float(np.median(numbers[np.isfinite(numbers)]))
    return low if high - low < 2**63 and not alone else 0.0


def counted_from(values: pd.Series, origin: float) -> NDArray[np.float32]:
    """Return numbers as float32, counted from an origin; NaN where one is missing."""
    if isinstance(origin, int) and _is_whole(values):
        missing = values.isna().to_numpy()
        unsigned = values.dtype.kind == "u"
        whole = values.to_numpy(dtype=np.uint64 if unsigned else np.int64, na_value=origin)
        # Without a sign, the difference of any two 64-bit numbers is exact.
        differences = (whole.astype(np.uint64) - np.uint64(origin % 2**64)).view(np.int64)
        return np.where(missing, np.nan, differences).astype(np.float32)
    with np.errstate(over="ignore"):
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan) - origin, dtype=np.float32)


def too_far_apart(values: pd.Series) -> float:
    """Return how far the lowest and the highest of some whole numbers are apart; 0 where float32 tells all between, or of other numbers."""
    far = span(values)
    return far if far > WHOLE and (_is_whole(values) or _hold_whole_numbers(values)) else 0.0


def have_lost_digits(values: pd.Series) -> bool:
    """Return whether floats are whole numbers beyond 2^53: a reader has made decimals of them, for the sake of a missing one."""
    if values.dtype != np.float64:
        return False
    low, high = _limits(values)
    return max(abs(low), abs(high)) >= _WHOLE_64 and bool(values.isna().any()) and _hold_whole_numbers(values)


def span(values: pd.Series) -> float:
    """Return how far the lowest and the highest of some numbers are apart."""
    low, high = _limits(values)
    return float(high - low)


def _are_told_apart(values: pd.Series) -> bool:
    low, high = _limits(values)
    largest = max(abs(low), abs(high))
    if _is_whole(values) or (_WHOLE_64 > largest > WHOLE and _hold_whole_numbers(values)):
        return bool(largest <= WHOLE)
    if high > low:
        return bool((high - low) * WHOLE >= largest * _FEWEST_STEPS) and not _merges(values, 0.0)
    # One number alone: another piece of the column may have its neighbours.
    return float(np.float32(low)) == low or not np.isfinite(low)


def _merges(values: pd.Series, origin: float) -> bool:
    """Return whether float32, counted from an origin, makes one number of several, by a sample of them."""
    numbers = _floats(values)
    if numbers.dtype == np.float32:
        return False
    sample = numbers[:: max(1, len(numbers) // _SAMPLED)]
    distinct = np.unique(sample[np.isfinite(sample)])
    with np.errstate(over="ignore"):
        return len(np.unique((distinct - origin).astype(np.float32))) < _KEPT * len(distinct)


def _limits(values: pd.Series) -> tuple[Any, Any]:
    """Return the lowest and the highest number, ints where all are whole; zeros where there is none."""
    if _is_whole(values):
        low, high = values.min(), values.max()
        return (0, 0) if pd.isna(low) else (int(low), int(high))
    numbers = _floats(values)
    # NaN and infinity come through: most columns have neither, and no copy of them is made.
    low, high = (numbers.min(), numbers.max()) if numbers.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)):
        numbers = numbers[np.isfinite(numbers)]
        low, high = (numbers.min(), numbers.max()) if numbers.size else (0.0, 0.0)
    return float(low), float(high)


def _floats(values: pd.Series) -> NDArray[np.floating[Any]]:
    """Return numbers as floats: float32 as they are, others as float64."""
    if values.dtype == np.float32:
        return np.asarray(values.to_numpy())
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))


def _is_whole(values: pd.Series) -> bool:
    return bool(pd.api.types.is_integer_dtype(values.dtype))


def _hold_whole_numbers(values: pd.Series) -> bool:
    """Return whether floats are whole numbers: a missing value makes floats of a column of them."""
    numbers = _floats(values)
    finite = numbers[np.isfinite(numbers)]
    return bool((finite == np.floor(finite)).all())
