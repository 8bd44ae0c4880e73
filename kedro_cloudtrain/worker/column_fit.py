"""How features become numbers, learned piece by piece: the same as from the whole table, of which no more than a piece is in memory."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .categories import distinct_texts
from .columns import is_number
from .digits import WHOLE, DigitsOfPieces
from .encoding import Column, Features, scale_of
from .kinds import as_numbers, days_of, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from .kinds import Kind


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Which rows of a piece are in the samples of a column's digits.

    Attributes:
        table: that of all rows; None where the rows are counted.
        fitted: that of the training rows.
    """

    table: NDArray[np.bool_] | None
    fitted: NDArray[np.bool_] | None


class ColumnFit:
    """Learns a feature from the training rows of a table's pieces.

    Args:
        name: the feature's name.
        alone: returns the column's training rows, which are then in memory at once: a few kinds of columns are learned from nothing less.
        rows: how many rows the table has.
        fitted_rows: how many of them are training rows.
        codes: whether the user calls it a category.
        narrows: whether a reader of the whole table makes float32 of its numbers, where that tells them apart.
    """

    def __init__(
        self, name: str, alone: Callable[[], pd.Series], rows: int, fitted_rows: int, *, codes: bool = False, narrows: bool = True
    ) -> None:
        self._name = name
        self._alone: Callable[[], pd.Series] | None = alone
        self._codes = codes
        self._narrows = narrows
        self._kinds: set[Kind] = set()
        self._empty: Kind | None = None
        self._texts: set[str] = set()
        self._first_day = np.inf
        self._table = DigitsOfPieces(rows, self._middle)
        self._fitted = DigitsOfPieces(fitted_rows, self._middle)
        self._fitted_narrow = DigitsOfPieces(fitted_rows, self._middle)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_alone": None}  # only the process that has made it reads the column alone

    def merge(self, other: ColumnFit) -> None:
        """Add what another process has learned from other rows of the column: the order of the pieces does not count."""
        self._kinds |= other._kinds
        self._empty = self._empty or other._empty
        self._texts |= other._texts
        self._first_day = min(self._first_day, other._first_day)
        self._table.merge(other._table)
        self._fitted.merge(other._fitted)
        self._fitted_narrow.merge(other._fitted_narrow)

    @property
    def narrows(self) -> bool:
        """Whether a reader of the whole table makes float32 of its numbers."""
        return self._narrows and self._kinds == {"number"} and self._table.are_told_apart

    @property
    def is_far(self) -> bool:
        """Whether the numbers of its training rows are farther apart than float32 counts."""
        return float(self._fitted.high - self._fitted.low) > WHOLE

    def add(self, values: pd.Series, fitted: NDArray[np.bool_], sampled: Sampled | None = None) -> None:
        """Add a piece of the column.

        Args:
            values: all its rows.
            fitted: which of them are training rows.
            sampled: which of them are in the samples; left out, the pieces come in the table's order and are counted.
        """
        rows = values[fitted]
        kind: Kind = "category" if self._codes else kind_of(rows)
        if rows.notna().any():
            self._kinds.add(kind)
        else:
            self._empty = self._empty or kind
        if self._codes or kind == "category":
            places, texts = distinct_texts(rows, codes=self._codes)
            self._texts.update(texts[place] for place in np.unique(places[places >= 0]))
        elif kind == "date" and rows.notna().any():
            days = days_of(rows)
            self._first_day = min(self._first_day, float(np.nanmin(days)) if not np.isnan(days).all() else np.inf)
        if kind == "number":
            self._add_numbers(values, fitted, sampled or Sampled(None, None))

    def _add_numbers(self, values: pd.Series, fitted: NDArray[np.bool_], sampled: Sampled) -> None:
        numbers = as_numbers(values, "number")
        numbers = numbers if is_number(numbers) else numbers.astype("float64")
        rows = numbers[fitted]
        of_fitted = None if sampled.fitted is None else sampled.fitted[fitted]
        self._fitted.add(rows, of_fitted)
        if self._narrows:
            self._table.add(numbers, sampled.table)
            with np.errstate(over="ignore"):
                self._fitted_narrow.add(rows.astype("float32"), of_fitted)

    @property
    def column(self) -> Column:
        """How the feature becomes numbers, but for its mean and its scale; see `Moments`."""
        kinds = self._kinds or {self._empty or "number"}
        if len(kinds) > 1:
            # A few texts between dates make a category of all, for example.
            return Column.fit(self._column(), codes=self._codes)
        (kind,) = kinds
        if kind == "category":
            return Column(self._name, kind, tuple(sorted(self._texts)), codes=self._codes)
        origin = 0.0
        if kind == "number":
            narrow = self._narrows and self._table.are_told_apart
            origin = (self._fitted_narrow if narrow else self._fitted).origin
        elif kind == "date" and np.isfinite(self._first_day):
            origin = self._first_day
        return Column(self._name, kind, origin=origin)

    def _column(self) -> pd.Series:
        if self._alone is None:
            raise ValueError(f"another process has made the fit of {self._name}")
        return self._alone()

    def _middle(self) -> float:
        values = as_numbers(self._column(), "number").to_numpy(dtype=np.float64, na_value=np.nan)
        return float(np.median(values[np.isfinite(values)]))


class Moments:
    """The means and scales of a matrix's columns, which are added block by block."""

    def __init__(self, columns: int) -> None:
        self._rows = 0
        self._counts = np.zeros(columns)
        self._means = np.zeros(columns)
        self._squares = np.zeros(columns)

    def add(self, matrix: NDArray[np.float32]) -> None:
        """Add some training rows."""
        self._rows += len(matrix)
        for place, column in enumerate(matrix.T):
            missing = np.isnan(column)
            present = (column[~missing] if missing.any() else column).astype(np.float64)
            if present.size:
                mean = float(present.mean())
                self._add(place, present.size, mean, float(((present - mean) ** 2).sum()))

    def merge(self, other: Moments) -> None:
        """Add the rows of another process."""
        self._rows += other._rows
        for place, count in enumerate(other._counts):
            if count:
                self._add(place, count, other._means[place], other._squares[place])

    def _add(self, place: int, count: float, mean: float, squares: float) -> None:
        # Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
        before = self._counts[place]
        apart, both = mean - self._means[place], before + count
        self._squares[place] += squares + apart**2 * before * count / both
        self._means[place] += apart * count / both
        self._counts[place] = both

    def features(self, features: Features) -> Features:
        """Return features with the means and scales of these rows."""
        return Features(tuple(self._column(place, column) for place, column in enumerate(features.columns)))

    def _column(self, place: int, column: Column) -> Column:
        if column.kind == "category":
            return column
        count = self._counts[place]
        mean, scale = (float(self._means[place]), float(np.sqrt(self._squares[place] / count))) if count else (0.0, 1.0)
        more: dict[str, Any] = {"mean": mean, "scale": scale_of(mean, scale), "gaps": bool(0 < count < self._rows)}
        return dataclasses.replace(column, **more)
