"""Numbers that float32 cannot tell apart: those that are far from zero and near to each other are counted from an origin."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# IEEE 754: float32 has 24 binary digits, float64 53.
WHOLE = 2**24
_WHOLE_64 = 2**53
# Trees look at 254 places of a column and networks at some thousands: 2^16 of them, of the 2^24, are more than either can use.
_FEWEST_STEPS = 2**16
# How many numbers are looked at, and the share of them that has to stay apart.
_SAMPLED, _KEPT = 4096, 0.99


def narrowed(values: pd.Series) -> pd.Series:
    """Return a column of numbers as float32, or unchanged where float32 would merge distinct numbers."""
    return values.astype("float32") if values.dtype == np.float32 or WholeColumn(values).are_told_apart else values


def origin_of(values: pd.Series) -> float:
    """Return the number from which a column's numbers are counted: 0 where float32 tells them apart as they are.

    Returns:
        The lowest number, of whole numbers as an int of any size; the middle one where some numbers lie far from all others (-999 for a
        missing one, for example).
    """
    return WholeColumn(values).origin


class Digits(abc.ABC):
    """What of a column's numbers decides how they are counted.

    Attributes:
        low: the lowest number, an int where all are whole; 0 where there is none.
        high: the highest.
        whole: whether their type has whole numbers alone.
    """

    low: Any
    high: Any
    whole: bool

    @property
    @abc.abstractmethod
    def hold_whole_numbers(self) -> bool:
        """Whether floats are whole numbers: a missing value makes floats of a column of them."""

    @abc.abstractmethod
    def merges(self, origin: float) -> bool:
        """Return whether float32, counted from an origin, makes one number of several."""

    @abc.abstractmethod
    def middle(self) -> float:
        """Return the middle one of the numbers."""

    @property
    def are_told_apart(self) -> bool:
        """Whether float32 tells the numbers apart as they are."""
        low, high = self.low, self.high
        largest = max(abs(low), abs(high))
        if self.whole or (_WHOLE_64 > largest > WHOLE and self.hold_whole_numbers):
            return bool(largest <= WHOLE)
        if high > low:
            return bool((high - low) * WHOLE >= largest * _FEWEST_STEPS) and not self.merges(0.0)
        # One number alone: another piece of the column may have its neighbours.
        return float(np.float32(low)) == low or not np.isfinite(low)

    @property
    def origin(self) -> float:
        """The number from which they are counted, as `origin_of` returns it."""
        if self.are_told_apart:
            return 0.0
        low, high = self.low, self.high
        alone = low == high and isinstance(low, float)
        if isinstance(low, float) and not alone and self.merges(low):
            return self.middle()
        return low if high - low < 2**63 and not alone else 0.0


class WholeColumn(Digits):
    """The digits of a column that is in memory."""

    def __init__(self, values: pd.Series) -> None:
        self._values = values
        self.whole = _is_whole(values)
        self.low, self.high = _limits(values)

    @property
    def hold_whole_numbers(self) -> bool:
        """Whether floats are whole numbers."""
        return _hold_whole_numbers(self._values)

    def merges(self, origin: float) -> bool:
        """Return whether float32, counted from an origin, makes one number of several, by a sample of the numbers."""
        numbers = _floats(self._values)
        return numbers.dtype != np.float32 and _merge(numbers[:: sample_step(len(numbers))], origin)

    def middle(self) -> float:
        """Return the middle one of the numbers."""
        numbers = _floats(self._values)
        return float(np.median(numbers[np.isfinite(numbers)]))


class DigitsOfPieces(Digits):
    """The digits of a column that comes in pieces: the same as those of the whole column.

    Args:
        rows: how many rows the column has: the sample is taken from the whole of it.
        middle: returns the middle one of the numbers, for which the column has to be read alone.
    """

    def __init__(self, rows: int, middle: Callable[[], float]) -> None:
        self._step = sample_step(rows)
        self._middle = middle
        self._limits: tuple[Any, Any] | None = None
        self._whole_numbers = True
        self._rows = 0
        self._sample: list[NDArray[np.floating[Any]]] = []
        self.whole, self._narrow = False, False

    def add(self, values: pd.Series, sampled: NDArray[np.bool_] | None = None) -> None:
        """Add a piece of the column.

        Args:
            values: its numbers, with the missing ones; they have the same type in all pieces.
            sampled: which of them are in the sample; left out, the pieces come in the table's order and are counted.
        """
        self.whole, self._narrow = _is_whole(values), values.dtype == np.float32
        present = values.notna().any() if self.whole else None
        numbers = None if self.whole else _floats(values)
        finite = None if numbers is None else numbers[np.isfinite(numbers)]
        if present or (finite is not None and finite.size):
            low, high = _limits(values)
            self._limits = (low, high) if self._limits is None else (min(low, self._limits[0]), max(high, self._limits[1]))
        if finite is not None:
            self._whole_numbers = self._whole_numbers and bool((finite == np.floor(finite)).all())
        if not self._narrow:
            chosen = values.iloc[-self._rows % self._step :: self._step] if sampled is None else values[sampled]
            self._sample.append(_floats(chosen).copy())  # a view would keep the piece in memory
        self._rows += len(values)

    def merge(self, other: DigitsOfPieces) -> None:
        """Add the pieces that another process has of the column."""
        if not other._rows:
            return
        self.whole, self._narrow = other.whole, other._narrow
        if other._limits is not None:
            low, high = other._limits
            self._limits = (low, high) if self._limits is None else (min(low, self._limits[0]), max(high, self._limits[1]))
        self._whole_numbers = self._whole_numbers and other._whole_numbers
        self._sample += other._sample
        self._rows += other._rows

    @property
    def low(self) -> Any:
        """The lowest number, an int where all are whole; 0 where there is none."""
        return self._limits[0] if self._limits is not None else 0 if self.whole else 0.0

    @property
    def high(self) -> Any:
        """The highest number."""
        return self._limits[1] if self._limits is not None else 0 if self.whole else 0.0

    @property
    def hold_whole_numbers(self) -> bool:
        """Whether floats are whole numbers."""
        return self._whole_numbers

    def merges(self, origin: float) -> bool:
        """Return whether float32, counted from an origin, makes one number of several, by a sample of the numbers."""
        return not self._narrow and bool(self._sample) and _merge(np.concatenate(self._sample), origin)

    def middle(self) -> float:
        """Return the middle one of the numbers."""
        return self._middle()


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


def sample_step(rows: int) -> int:
    """Return of how many rows of a column one is in the sample."""
    return max(1, rows // _SAMPLED)


def _merge(sample: NDArray[np.floating[Any]], origin: float) -> bool:
    """Return whether float32, counted from an origin, makes one number of several of a sample."""
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
