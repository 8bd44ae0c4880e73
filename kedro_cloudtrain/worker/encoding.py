"""Tables as numbers: what a library is given of a frame, learned from the training rows and kept with the model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Kind = Literal["number", "boolean", "date", "category"]
Task = Literal["regression", "binary_classification", "multiclass_classification"]
_DATE_TEXT = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?\s*(Z|[+-]\d{2}:?\d{2})?"
_DAY_US = 86_400 * 10**6
# Below this share of a column's mean, its standard deviation is what rounding has left of a constant.
_ROUNDING = 1e-7


@dataclasses.dataclass(frozen=True)
class Column:
    """How one feature becomes numbers.

    Attributes:
        name: the column's name in the caller's frame.
        kind: number and boolean as float32, a date as days since its origin, a category as its place among `categories`.
        categories: the texts of a category's values in the training rows, sorted; another one counts as missing.
        mean: of the training rows, for a network.
        scale: the standard deviation of the training rows, 1 where that is 0, for a network.
        origin: the first date of the training rows, in days since 1970-01-01: what dates are counted from.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    origin: float = 0.0

    @classmethod
    def fit(cls, values: pd.Series) -> Column:
        """Learn a column from its training rows."""
        kind = _kind_of(values)
        if kind == "category":
            texts = _texts(values)
            return cls(str(values.name), kind, tuple(sorted(texts.dropna().unique())))
        # Counted from 1970, two times less than three minutes apart would be the same float32.
        days = _days(values) if kind == "date" else np.empty(0)
        origin = float(np.nanmin(days)) if not np.isnan(days).all() else 0.0
        numbers = _numbers(values, kind, origin)
        known = numbers[~np.isnan(numbers)].astype(np.float64)
        mean, scale = (float(known.mean()), float(known.std())) if known.size else (0.0, 1.0)
        return cls(str(values.name), kind, (), mean, scale if scale > _ROUNDING * abs(mean) else 1.0, origin)

    def encode(self, values: pd.Series) -> NDArray[np.float32]:
        """Give a column's numbers, float32 of shape (rows,); NaN is missing."""
        if self.kind != "category":
            return _numbers(values, self.kind, self.origin)
        codes = pd.Categorical(_texts(values), categories=list(self.categories)).codes
        return np.where(codes < 0, np.nan, codes).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Features:
    """How the features become a matrix.

    Attributes:
        columns: the features, in the order of the matrix.
    """

    columns: tuple[Column, ...]

    @classmethod
    def fit(cls, frame: pd.DataFrame, names: Sequence[str]) -> Features:
        """Learn each feature from the training rows."""
        return cls(tuple(Column.fit(frame[name]) for name in names))

    def matrix(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Give the matrix of a frame: float32 of shape (rows, features), categories by their codes, NaN where missing.

        Raises:
            InputError: the frame lacks a column.
        """
        # A spreadsheet's header may hold numbers, a year say; here a name is a text.
        names = {str(name): name for name in reversed(frame.columns)}
        for column in self.columns:
            if column.name not in names:
                close = nearest(column.name, names)
                hint = f" Closest: {close}." if close else ""
                wanted = ", ".join(each.name for each in self.columns)
                raise InputError(f"The frame has no column `{column.name}`.{hint} The model reads: {wanted}.")
        matrix = np.empty((len(frame), len(self.columns)), dtype=np.float32)
        for index, column in enumerate(self.columns):
            matrix[:, index] = column.encode(frame[names[column.name]])
        return matrix

    @property
    def category_indexes(self) -> list[int]:
        """Which columns of the matrix are categories."""
        return [index for index, column in enumerate(self.columns) if column.kind == "category"]

    @property
    def types(self) -> list[str] | None:
        """XGBoost's words for the columns: `c` a category, `q` a quantity; None where all are quantities, as it takes them by itself."""
        return ["c" if column.kind == "category" else "q" for column in self.columns] if self.category_indexes else None

    def mixed_frame(self, matrix: NDArray[np.float32]) -> pd.DataFrame:
        """Give the matrix as a frame whose categories are integers, -1 where missing: what CatBoost wants."""
        return pd.DataFrame(
            {
                str(index): np.nan_to_num(matrix[:, index], nan=-1).astype(np.int32) if column.kind == "category" else matrix[:, index]
                for index, column in enumerate(self.columns)
            }
        )

    def network_inputs(self, matrix: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Give the matrix as a network's inputs.

        Returns:
            First the quantities, float32 of shape (rows, 2 x quantities): each standardised, 0 where missing, and behind them a 1
            where it was missing. Then a category each, int32 of shape (rows, 1): its code plus 1, 0 where missing.
        """
        quantities = [index for index, column in enumerate(self.columns) if column.kind != "category"]
        means = np.array([self.columns[index].mean for index in quantities], dtype=np.float32)
        scales = np.array([self.columns[index].scale for index in quantities], dtype=np.float32)
        standard = (matrix[:, quantities] - means) / scales
        missing = np.isnan(standard)
        numbers = np.hstack([np.where(missing, 0, standard), missing]).astype(np.float32)
        codes = [(np.nan_to_num(matrix[:, index], nan=-1) + 1).astype(np.int32)[:, None] for index in self.category_indexes]
        return [numbers, *codes]

    @property
    def vocabulary_sizes(self) -> list[int]:
        """How many codes each category of `network_inputs` has, the one for missing among them."""
        return [len(self.columns[index].categories) + 1 for index in self.category_indexes]


@dataclasses.dataclass(frozen=True)
class Target:
    """How the target becomes numbers, and predictions become the caller's terms again.

    Attributes:
        name: the column's name.
        task: what is asked.
        classes: the classes of a classification in their own type, sorted.
    """

    name: str
    task: Task
    classes: tuple[Any, ...] = ()

    @classmethod
    def fit(cls, values: pd.Series, task: Task) -> Target:
        """Learn the target from all rows that have one.

        Raises:
            InputError: it does not fit the task.
        """
        name = str(values.name)
        if task == "regression":
            _check_numbers(values)
            return cls(name, task)
        classes = tuple(sorted(_labels(values).unique().tolist()))
        if len(classes) < 2:  # noqa: PLR2004  # one class is no choice
            raise InputError(f"The target `{name}` has one class only, {classes[0]!r}: there is nothing to tell apart. Check the data.")
        if task == "binary_classification" and len(classes) > 2:  # noqa: PLR2004
            shown = ", ".join(repr(each) for each in classes[:8]) + (", …" if len(classes) > 8 else "")  # noqa: PLR2004
            raise InputError(
                f"The target `{name}` has {len(classes)} classes ({shown}), and a binary classification has two. "
                "Take multiclass_classification in model_type, or another target_column."
            )
        return cls(name, task, classes)

    def encode(self, values: pd.Series) -> NDArray[Any]:
        """Give the target's numbers: float32 values, or int32 codes of the classes; shape (rows,)."""
        if self.task == "regression":
            _check_numbers(values)
            return np.asarray(values, dtype=np.float32)
        codes = pd.Categorical(_labels(values), categories=list(self.classes)).codes
        if (codes < 0).any():
            unknown = sorted({str(label) for label in _labels(values)[codes < 0]})
            raise InputError(f"The target `{self.name}` of the validation rows has classes that no training row has: {', '.join(unknown)}.")
        return np.asarray(codes, dtype=np.int32)

    def check_output(self, output: NDArray[Any]) -> None:
        """Refuse what an objective of the user's choice gives instead of predictions.

        Raises:
            InputError: it is not a value, or not each class's probability, a row; or the fit has diverged.
        """
        if not np.isfinite(output).all():
            raise InputError(
                "The fit has diverged: the model predicts what is no number. Lower the learning_rate among its hyperparameters."
            )
        wanted = {"regression": "one number", "binary_classification": "the second class's probability"}
        said = wanted.get(self.task, "a probability for each class")
        # float32 may take a sum of class probabilities a little past 1.
        within = self.task == "regression" or not len(output) or (output.min() >= 0 and output.max() <= 1 + 1e-5)
        fits = output.ndim == 1 if self.task in wanted else output.shape[1:] == (len(self.classes),)
        if not (fits and within):
            raise InputError(
                f"A {self.task.replace('_', ' ')} wants {said} a row, and the hyperparameters' objective (or loss function) gives "
                "something else. Take another, or leave it out."
            )

    def decode(self, output: NDArray[Any]) -> NDArray[Any]:
        """Give predictions in the caller's terms: numbers, or labels; shape (rows,)."""
        if self.task == "regression":
            return np.asarray(output, dtype=np.float64)
        labels: NDArray[Any] = np.array(self.classes)
        return np.asarray(labels[self.probabilities(output).argmax(axis=1)])

    def probabilities(self, output: NDArray[Any]) -> NDArray[np.float64]:
        """Give each class's probability, float64 of shape (rows, classes), from a library's raw output."""
        if self.task == "binary_classification":
            second = np.asarray(output, dtype=np.float64).reshape(-1)
            return np.column_stack([1 - second, second])
        wide = np.asarray(output, dtype=np.float64)
        # float32 rows do not sum to 1 to the digits that log loss is computed with.
        return np.asarray(wide / wide.sum(axis=1, keepdims=True), dtype=np.float64)


def _check_numbers(target: pd.Series) -> None:
    kind = _kind_of(target)
    if kind not in ("number", "boolean"):
        raise InputError(
            f"The target `{target.name}` holds {'dates' if kind == 'date' else 'text'} ({target.iloc[0]!r} say), and a regression wants "
            "numbers. Name another target_column, or take a classification as model_type."
        )
    if not np.isfinite(target.to_numpy(dtype=np.float64)).all():
        raise InputError(f"The target `{target.name}` holds infinite values: take those rows out.")


def _kind_of(values: pd.Series) -> Kind:
    types = pd.api.types
    by_dtype: tuple[tuple[Kind, bool], ...] = (
        ("category", isinstance(values.dtype, pd.CategoricalDtype)),
        ("boolean", types.is_bool_dtype(values.dtype)),
        ("number", types.is_numeric_dtype(values.dtype)),
        ("date", types.is_datetime64_any_dtype(values.dtype) or types.is_timedelta64_dtype(values.dtype)),
    )
    for kind, fits in by_dtype:
        if fits:
            return kind
    # Objects and text: by what is in them.
    kind_of_values: dict[str, Kind] = {
        "boolean": "boolean",
        **dict.fromkeys(("decimal", "integer", "floating", "mixed-integer-float", "empty"), "number"),
        **dict.fromkeys(("date", "datetime", "datetime64"), "date"),
    }
    said = kind_of_values.get(types.infer_dtype(values, skipna=True))
    return said or ("date" if _are_date_texts(values) else "category")


def _are_date_texts(values: pd.Series) -> bool:
    known = values.dropna()
    if not known.empty and known.head(100).astype(str).str.fullmatch(_DATE_TEXT).all():
        return bool(_dates(known).notna().all())
    return False


def _dates(values: pd.Series) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.dt.tz_convert("UTC") if values.dt.tz is not None else values.dt.tz_localize("UTC")
    return pd.to_datetime(values.astype(str).where(values.notna()), format="ISO8601", utc=True, errors="coerce")


def _days(values: pd.Series) -> NDArray[np.float64]:
    """Give dates as days since 1970-01-01, spans as days; NaN where missing."""
    if pd.api.types.is_timedelta64_dtype(values.dtype):
        return np.asarray(values / pd.Timedelta(days=1), dtype=np.float64)
    dates = _dates(values)
    days = dates.dt.as_unit("us").astype("int64").to_numpy() / _DAY_US
    return np.where(dates.isna(), np.nan, days)


def _numbers(values: pd.Series, kind: Kind, origin: float = 0.0) -> NDArray[np.float32]:
    """Give numbers as float32; what is none, or infinite, is missing."""
    if kind == "date":
        return (_days(values) - origin).astype(np.float32)
    if values.dtype == np.float32:
        numbers = values.to_numpy(copy=not np.isfinite(values.to_numpy()).all())
    else:
        if values.dtype == object or not pd.api.types.is_numeric_dtype(values.dtype):
            values = values.map({True: 1, False: 0}) if kind == "boolean" else pd.to_numeric(values, errors="coerce")
        with np.errstate(over="ignore"):
            numbers = values.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
    if np.isinf(numbers).any():
        numbers[np.isinf(numbers)] = np.nan
    return np.asarray(numbers, dtype=np.float32)


def _texts(values: pd.Series) -> pd.Series:
    return values.astype(object).map(str, na_action="ignore")


def _labels(values: pd.Series) -> pd.Series:
    """Give classes in one type of their own: whole numbers as int, even where missing ones have made them floats."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(values.dtype):
        return values.astype(bool)
    if pd.api.types.is_numeric_dtype(values.dtype):
        whole = (values.to_numpy(dtype=np.float64) % 1 == 0).all()
        return values.astype("int64") if whole else values.astype("float64")
    if pd.api.types.infer_dtype(values) == "boolean":
        return values.astype(bool)
    return values.astype(object).map(str)
