"""Tables as numbers: the matrix that a library gets of a frame, learned from the training rows and kept with the model."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .digits import counted_from, origin_of
from .errors import HyperparameterError, InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

Kind = Literal["number", "boolean", "date", "category"]
Task = Literal["regression", "binary_classification", "multiclass_classification"]
_DATE_TEXT = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?\s*(Z|[+-]\d{2}:?\d{2})?"
_DAY_US = 86_400 * 10**6
# Below this share of a column's mean, its standard deviation is the rounding error of a constant.
_ROUNDING = 1e-7


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
        kind = "category" if codes else kind_of(values)
        if kind == "category":
            texts = _texts_of_codes(values) if codes else _texts(values)
            return cls(str(values.name), kind, tuple(sorted(texts.dropna().unique())), codes=codes)
        origin = _origin(values, kind)
        numbers = _numbers(values, kind, origin)
        present = numbers[~np.isnan(numbers)].astype(np.float64)
        mean, scale = (float(present.mean()), float(present.std())) if present.size else (0.0, 1.0)
        gaps = 0 < present.size < numbers.size
        return cls(str(values.name), kind, (), mean, scale if scale > _ROUNDING * abs(mean) else 1.0, origin, gaps)

    def encode(self, values: pd.Series) -> NDArray[np.float32]:
        """Return a column's numbers, float32 of shape (rows,); NaN is missing."""
        if self.kind != "category":
            return _numbers(values, self.kind, self.origin)
        texts = _texts_of_codes(values) if self.codes else _texts(values)
        codes = pd.Categorical(texts, categories=list(self.categories)).codes
        return np.where(codes < 0, np.nan, codes).astype(np.float32)


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
        return cls(tuple(Column.fit(frame[name], codes=name in categorical) for name in names))

    def matrix(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Return the matrix of a frame: float32 of shape (rows, features), categories by their codes, NaN where missing.

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
        matrix = np.empty((len(frame), len(self.columns)), dtype=np.float32)
        for index, column in enumerate(self.columns):
            matrix[:, index] = column.encode(frame[names[column.name]])
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
                str(index): np.nan_to_num(matrix[:, index], nan=-1).astype(np.int32) if column.kind == "category" else matrix[:, index]
                for index, column in enumerate(self.columns)
            }
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
        standard = (matrix[:, quantities] - means) / scales
        missing = np.isnan(standard)
        flags = missing[:, [self.columns[index].gaps for index in quantities]]
        numbers = np.hstack([np.where(missing, 0, standard), flags]).astype(np.float32)
        codes = [(np.nan_to_num(matrix[:, index], nan=-1) + 1).astype(np.int32)[:, None] for index in self.category_indexes]
        return [numbers, *codes]

    @property
    def vocabulary_sizes(self) -> list[int]:
        """The number of codes of each category of `network_inputs`, with the one for missing."""
        return [len(self.columns[index].categories) + 1 for index in self.category_indexes]


@dataclasses.dataclass(frozen=True)
class Target:
    """How the target becomes numbers, and predictions become the caller's terms again.

    Attributes:
        name: the column's name.
        task: the model's task.
        classes: the classes of a classification in their own type, sorted.
    """

    name: str
    task: Task
    classes: tuple[Any, ...] = ()

    @classmethod
    def fit(cls, values: pd.Series, task: Task) -> Target:
        """Learn the target from all rows that have one.

        Raises:
            InputError: the target does not fit the task.
        """
        name = str(values.name)
        if task == "regression":
            _check_numbers(values)
            return cls(name, task)
        classes = tuple(sorted(_labels(values).unique().tolist()))
        if len(classes) < 2:  # noqa: PLR2004  # a classifier needs two
            raise InputError(f"The target `{name}` has one class only, {classes[0]!r}: a model has nothing to tell apart. Check the data.")
        _check_number_of_classes(name, classes, task)
        return cls(name, task, classes)

    def encode(self, values: pd.Series) -> NDArray[Any]:
        """Return the target's numbers: float32 values, or int32 codes of the classes; shape (rows,).

        Raises:
            InputError: a value is not a number, or not one of the classes.
        """
        if self.task == "regression":
            _check_numbers(values)
            return np.asarray(values, dtype=np.float32)
        codes = pd.Categorical(_labels(values), categories=list(self.classes)).codes
        if (codes < 0).any():
            unknown = sorted({str(label) for label in _labels(values)[codes < 0]})
            raise InputError(f"The target `{self.name}` of the validation rows has classes that no training row has: {', '.join(unknown)}.")
        return np.asarray(codes, dtype=np.int32)

    def check_output(self, output: NDArray[Any]) -> None:
        """Check that a library's raw output, under an objective of the user's choice, holds predictions.

        Raises:
            HyperparameterError: a row has something other than a value, or other than each class's probability; or the fit has diverged.
        """
        if not np.isfinite(output).all():
            raise HyperparameterError("The fit has diverged: the model predicts NaN or infinity. Lower `hyperparameters.learning_rate`.")
        single = {"regression": "one number", "binary_classification": "the second class's probability"}
        expected = single.get(self.task, "a probability for each class")
        # float32 may make a probability slightly larger than 1.
        within = self.task == "regression" or not len(output) or (output.min() >= 0 and output.max() <= 1 + 1e-5)
        fits = output.ndim == 1 if self.task in single else output.shape[1:] == (len(self.classes),)
        if not (fits and within):
            raise HyperparameterError(
                f"A {self.task.replace('_', ' ')} needs {expected} per row, and the hyperparameters' objective (or loss function) "
                "predicts something else. Choose another, or leave it out."
            )

    def decode(self, output: NDArray[Any]) -> NDArray[Any]:
        """Return predictions in the caller's terms: numbers, or labels; shape (rows,)."""
        if self.task == "regression":
            return np.asarray(output, dtype=np.float64)
        labels: NDArray[Any] = np.array(self.classes)
        return np.asarray(labels[self.probabilities(output).argmax(axis=1)])

    def probabilities(self, output: NDArray[Any]) -> NDArray[np.float64]:
        """Return each class's probability, float64 of shape (rows, classes), from a library's raw output."""
        if self.task == "binary_classification":
            second = np.asarray(output, dtype=np.float64).reshape(-1)
            return np.column_stack([1 - second, second])
        wide = np.asarray(output, dtype=np.float64)
        # Rows of float32 do not sum to 1 as precisely as log loss needs it.
        return np.asarray(wide / wide.sum(axis=1, keepdims=True), dtype=np.float64)


def check_sample(values: pd.Series, task: Task) -> None:
    """Check some rows of a target for what no other row can change.

    Raises:
        InputError: the target does not fit the task.
    """
    values = values.dropna()
    if values.empty:
        return
    if task == "regression":
        _check_numbers(values)
    else:
        _check_number_of_classes(str(values.name), tuple(sorted(_labels(values).unique().tolist())), task)


def _check_number_of_classes(name: str, classes: tuple[Any, ...], task: Task) -> None:
    if task == "binary_classification" and len(classes) > 2:  # noqa: PLR2004
        shown = ", ".join(repr(label) for label in classes[:8]) + (", …" if len(classes) > 8 else "")  # noqa: PLR2004
        raise InputError(
            f"The target `{name}` has {len(classes)} classes ({shown}), and a binary classification has two. "
            "Choose multiclass_classification in model_type, or another target_column."
        )


def _check_numbers(target: pd.Series) -> None:
    kind = kind_of(target)
    if kind not in ("number", "boolean"):
        # One text makes a text of each number beside it: the text is to be shown.
        texts = target[pd.to_numeric(target.astype(object), errors="coerce").isna() & target.notna()] if kind == "category" else target
        value = (target if texts.empty else texts).iloc[0]
        raise InputError(
            f"The target `{target.name}` holds {'dates' if kind == 'date' else 'text'} (such as {value!r}), and a regression "
            "needs numbers. Choose another target_column, or a classification in model_type."
        )
    if not np.isfinite(target.to_numpy(dtype=np.float64)).all():
        raise InputError(f"The target `{target.name}` holds infinite values: remove those rows.")


def kind_of(values: pd.Series) -> Kind:
    """Return what a column's values are to a model."""
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
    # Objects and text: by their values.
    kind_of_values: dict[str, Kind] = {
        "boolean": "boolean",
        **dict.fromkeys(("decimal", "integer", "floating", "mixed-integer-float", "empty"), "number"),
        **dict.fromkeys(("date", "datetime", "datetime64"), "date"),
    }
    kind_by_values = kind_of_values.get(types.infer_dtype(values, skipna=True))
    return kind_by_values or ("date" if _are_date_texts(values) else "category")


def _are_date_texts(values: pd.Series) -> bool:
    texts = values.dropna()
    if not texts.empty and texts.head(100).astype(str).str.fullmatch(_DATE_TEXT).all():
        return bool(_dates(texts).notna().all())
    return False


def _dates(values: pd.Series) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.dt.tz_convert("UTC") if values.dt.tz is not None else values.dt.tz_localize("UTC")
    return pd.to_datetime(values.astype(str).where(values.notna()), format="ISO8601", utc=True, errors="coerce")


def _days(values: pd.Series) -> NDArray[np.float64]:
    """Return dates as days since 1970-01-01, and time spans as days; NaN where missing."""
    if pd.api.types.is_timedelta64_dtype(values.dtype):
        return np.asarray(values / pd.Timedelta(days=1), dtype=np.float64)
    dates = _dates(values)
    days = dates.dt.as_unit("us").astype("int64").to_numpy() / _DAY_US
    return np.where(dates.isna(), np.nan, days)


def _origin(values: pd.Series, kind: Kind) -> float:
    """Return what a column's values are counted from."""
    if kind == "number":
        return origin_of(as_numbers(values, kind))
    # As days since 1970, two times less than three minutes apart would be the same float32.
    days = _days(values) if kind == "date" else np.empty(0)
    return float(np.nanmin(days)) if not np.isnan(days).all() else 0.0


def as_numbers(values: pd.Series, kind: Kind) -> pd.Series:
    """Return values of any type as numbers; one that is not a number is missing."""
    if values.dtype != object and pd.api.types.is_numeric_dtype(values.dtype):
        return values
    return values.map({True: 1, False: 0}) if kind == "boolean" else pd.to_numeric(values, errors="coerce")


def _numbers(values: pd.Series, kind: Kind, origin: float = 0.0) -> NDArray[np.float32]:
    """Return values as float32; one that is not a number, or is infinite, is missing."""
    if kind == "date":
        return (_days(values) - origin).astype(np.float32)
    if origin:
        numbers = counted_from(as_numbers(values, kind), origin)
    elif values.dtype == np.float32:
        numbers = values.to_numpy(copy=not np.isfinite(values.to_numpy()).all())
    else:
        with np.errstate(over="ignore"):
            numbers = as_numbers(values, kind).to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
    if np.isinf(numbers).any():
        numbers[np.isinf(numbers)] = np.nan
    return np.asarray(numbers, dtype=np.float32)


def _texts(values: pd.Series) -> pd.Series:
    return values.astype(object).map(str, na_action="ignore")


def _texts_of_codes(values: pd.Series) -> pd.Series:
    """Return codes as texts: 3 is the same in a column of ints and in one that a missing value has made floats."""
    places, distinct = pd.factorize(values)
    texts = np.array([*(str(int(code)) if _is_whole(code) else str(code) for code in distinct), None], dtype=object)
    return pd.Series(texts[places], index=values.index, dtype=object)


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


def _labels(values: pd.Series) -> pd.Series:
    """Return classes in their own type: whole numbers as int, even if missing values have made them floats."""
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
