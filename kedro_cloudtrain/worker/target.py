"""The target as numbers, and predictions in the caller's terms again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .errors import HyperparameterError, InputError
from .kinds import kind_of
from .shown_value import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

Task = Literal["regression", "binary_classification", "multiclass_classification"]


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
            f"The target `{target.name}` holds {'dates' if kind == 'date' else 'text'} (such as {shown(value)}), and a regression "
            "needs numbers. Choose another target_column, or a classification in model_type."
        )
    if not np.isfinite(target.to_numpy(dtype=np.float64)).all():
        raise InputError(f"The target `{target.name}` holds infinite values: remove those rows.")


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
