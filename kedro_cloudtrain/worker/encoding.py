"""Tables as numbers: the matrix that a library gets of a frame, learned from the training rows and kept with the model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .categories import distinct_texts
from .digits import counted_from, origin_of
from .errors import InputError, nearest
from .kinds import as_numbers, days_of, kind_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from .kinds import Kind

# Below this share of a column's mean, its standard deviation is the rounding error of a constant.
_ROUNDING = 1e-7
# The rows that a network's inputs are made of at a time: what is computed on the way stays in a processor's cache.
_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class Column:
    """How one feature becomes numbers.

    Attributes:
        name: the column's name in the caller's frame.
        kind: number and boolean as float32, a number far from zero and a date since the origin, a category as its place among
            `categories`.
        categories: the texts of a category's values in the training rows, sorted; any other text counts as missing.
        mean: the mean of the training rows, for a network.
        scale: the standard deviation of the training rows, 1 if that is 0, for a network.
        origin: what is subtracted before a value becomes float32, which would make one number of several: the lowest number of the
            training rows, where that is so; or the first date, in days since 1970-01-01.
        gaps: whether some of the training rows have a value and others have none, so that a network can learn what a gap means. (A model
            of before this was told apart has a flag for each column.)
        codes: whether the user calls it a category: its numbers are codes, and 3.0 is the code 3.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    origin: float = 0.0
    gaps: bool = True
    codes: bool = False

    @classmethod
    def fit(cls, values: pd.Series, *, codes: bool = False) -> Column:
        """Learn a column from its training rows; with `codes`, as a category whatever its values are."""
        return cls.fit_encode(values, codes=codes)[0]

    @classmethod
    def fit_encode(cls, values: pd.Series, *, codes: bool = False) -> tuple[Column, NDArray[np.float32]]:
        """Learn a column from its training rows as `fit` does, and return their numbers with it."""
        name, kind = str(values.name), "category" if codes else kind_of(values)
        if kind == "category":
            places, texts = distinct_texts(values, codes=codes)
            present = np.flatnonzero(np.bincount(places + 1, minlength=1)[1:])
            column = cls(name, kind, tuple(sorted({texts[place] for place in present})), codes=codes)
            return column, column._codes(places, texts)
        origin = _origin(values, kind)
        numbers = _numbers(values, kind, origin)
        missing = np.isnan(numbers)
        present = (numbers[~missing] if missing.any() else numbers).astype(np.float64)
        mean, scale = (float(present.mean()), float(present.std())) if present.size else (0.0, 1.0)
        column = cls(name, kind, (), mean, scale_of(mean, scale), origin, 0 < present.size < numbers.size)
        return column, numbers

    def encode(self, values: pd.Series) -> NDArray[np.float32]:
        """Return a column's numbers, float32 of shape (rows,); NaN is missing."""
        if self.kind != "category":
            return _numbers(values, self.kind, self.origin)
        return self._codes(*distinct_texts(values, codes=self.codes))

    def _codes(self, places: NDArray[np.integer[Any]], texts: Sequence[str]) -> NDArray[np.float32]:
        """Return each value's place among the categories, given its place among some texts; the place -1 is the last, a missing value."""
        codes_of = {text: code for code, text in enumerate(self.categories)}
        codes = np.array([*(codes_of.get(text, np.nan) for text in texts), np.nan], dtype=np.float32)
        return np.asarray(codes[places])


def scale_of(mean: float, deviation: float) -> float:
    """Return what a network divides a column by: its standard deviation, or 1 where that is 0."""
    return deviation if deviation > _ROUNDING * abs(mean) else 1.0


@dataclasses.dataclass(frozen=True)
class Features:
    """How the features become a matrix.

    Attributes:
        columns: the features, in the order of the matrix.
    """

    columns: tuple[Column, ...]

    @classmethod
    def fit(cls, frame: pd.DataFrame, names: Sequence[str], categorical: Collection[str] = ()) -> Features:
        """Learn each feature from the training rows; those in `categorical` as categories, even if they hold numbers."""
        return cls.fit_matrix(frame, names, categorical)[0]

    @classmethod
    def fit_matrix(
        cls, frame: pd.DataFrame, names: Sequence[str], categorical: Collection[str] = (), rows: NDArray[np.int64] | None = None
    ) -> tuple[Features, NDArray[np.float32]]:
        """Learn each feature from the training rows as `fit` does, and return their matrix with them.

        Args:
            frame: the table.
            names: the features.
            categorical: those that are categories, even if they hold numbers.
            rows: the places of the training rows; None for all.
        """
        matrix = _empty(frame, rows, len(names))
        columns = []
        for index, name in enumerate(names):
            column, matrix[:, index] = Column.fit_encode(rows_of(frame[name], rows), codes=name in categorical)
            columns.append(column)
        return cls(tuple(columns)), matrix

    def described(self) -> list[dict[str, Any]]:
        """Return the features as `model.json` has them."""
        return [dataclasses.asdict(column) for column in self.columns]

    def matrix(self, frame: pd.DataFrame, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the matrix of a frame: float32 of shape (rows, features), categories by their codes, NaN where missing.

        Args:
            frame: the frame.
            rows: the places of the rows to take; None takes all.

        Raises:
            InputError: the frame lacks a column.
        """
        # A spreadsheet's header may hold numbers, such as years, but a feature's name is always text.
        names = {str(name): name for name in reversed(frame.columns)}
        for column in self.columns:
            if column.name not in names:
                close = nearest(column.name, names)
                hint = f" Did you mean `{close}`?" if close else ""
                needed = ", ".join(each.name for each in self.columns)
                raise InputError(f"The frame has no column `{column.name}`.{hint} The model needs {needed}.")
        matrix = _empty(frame, rows, len(self.columns))
        for index, column in enumerate(self.columns):
            matrix[:, index] = column.encode(rows_of(frame[names[column.name]], rows))
        return matrix

    @property
    def category_indexes(self) -> list[int]:
        """The places of the matrix's columns that are categories."""
        return [index for index, column in enumerate(self.columns) if column.kind == "category"]

    @property
    def types(self) -> list[str] | None:
        """The columns' types in XGBoost's terms: `c` a category, `q` a quantity; None if all are quantities, XGBoost's default."""
        return ["c" if column.kind == "category" else "q" for column in self.columns] if self.category_indexes else None

    def mixed_frame(self, matrix: NDArray[np.float32]) -> pd.DataFrame:
        """Return the matrix as CatBoost takes it: a frame whose categories are integers, -1 where missing."""
        return pd.DataFrame(
            {
                str(index): _integers(matrix[:, index], len(column.categories)) if column.kind == "category" else matrix[:, index]
                for index, column in enumerate(self.columns)
            },
            copy=False,
        )

    def network_inputs(self, matrix: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Return the matrix as a network's inputs.

        Returns:
            First the quantities, float32 of shape (rows, quantities + flags): each standardised, 0 where missing, and after them a flag
            for each that has gaps in the training rows, 1 where it is missing. Then each category, int32 of shape (rows, 1): its code
            plus 1, 0 where missing.
        """
        quantities = [index for index, column in enumerate(self.columns) if column.kind != "category"]
        means = np.array([self.columns[index].mean for index in quantities], dtype=np.float32)
        scales = np.array([self.columns[index].scale for index in quantities], dtype=np.float32)
        with_gaps = [self.columns[index].gaps for index in quantities]
        numbers = np.empty((len(matrix), len(quantities) + sum(with_gaps)), dtype=np.float32)
        for start in range(0, len(matrix), _BLOCK):
            block = slice(start, start + _BLOCK)
            standard = (matrix[block][:, quantities] - means) / scales
            missing = np.isnan(standard)
            numbers[block] = np.hstack([np.where(missing, 0, standard), missing[:, with_gaps]])
        codes = [(np.nan_to_num(matrix[:, index], nan=-1) + 1).astype(np.int32)[:, None] for index in self.category_indexes]
        return [numbers, *codes]

    @property
    def vocabulary_sizes(self) -> list[int]:
        """The number of codes of each category of `network_inputs`, with the one for missing."""
        return [len(self.columns[index].categories) + 1 for index in self.category_indexes]


def rows_of(values: pd.Series, rows: NDArray[np.int64] | None) -> pd.Series:
    """Return some rows of a column, by their places and without their index; all if `rows` is None."""
    return values if rows is None else pd.Series(values.array.take(rows), name=values.name, dtype=values.dtype, copy=False)


def _empty(frame: pd.DataFrame, rows: NDArray[np.int64] | None, columns: int) -> NDArray[np.float32]:
    """Return a matrix to fill, column after column: so its memory is laid out, and CatBoost takes each column as it is."""
    return np.empty((len(frame) if rows is None else len(rows), columns), dtype=np.float32, order="F")


def _integers(codes: NDArray[np.float32], number: int) -> NDArray[np.int32] | pd.Categorical:
    """Return the codes of `number` categories as integers, -1 where missing."""
    whole = np.nan_to_num(codes, nan=-1).astype(np.int32)
    # CatBoost makes a text of each of pandas' categories once, and of any other column's values row by row.
    return pd.Categorical.from_codes(whole + 1, categories=np.arange(-1, number)) if len(whole) > number else whole


def _origin(values: pd.Series, kind: Kind) -> float:
    """Return what a column's values are counted from."""
    if kind == "number":
        return origin_of(as_numbers(values, kind))
    # As days since 1970, two times less than three minutes apart would be the same float32.
    days = days_of(values) if kind == "date" else np.empty(0)
    return float(np.nanmin(days)) if not np.isnan(days).all() else 0.0


def _numbers(values: pd.Series, kind: Kind, origin: float = 0.0) -> NDArray[np.float32]:
    """Return values as float32; one that is not a number, or is infinite, is missing."""
    if kind == "date":
        return (days_of(values) - origin).astype(np.float32)
    if origin:
        numbers = counted_from(as_numbers(values, kind), origin)
    elif values.dtype == np.float32:
        numbers = values.to_numpy()
    else:
        with np.errstate(over="ignore"):
            numbers = as_numbers(values, kind).to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
    infinite = np.isinf(numbers)
    if infinite.any():
        numbers = np.where(infinite, np.nan, numbers)  # a copy: the numbers may be the frame's own
    return np.asarray(numbers, dtype=np.float32)
