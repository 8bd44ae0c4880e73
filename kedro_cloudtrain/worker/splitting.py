"""The parts of a table: rows to fit on, rows to stop and judge by, and rows that the fit never sees."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import InputError, nearest
from .shown_value import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Row numbers, int64.

    Attributes:
        train: the rows to fit on.
        validation: the rows that stop the fit early and judge the model.
        test: the rows that only judge the model.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Some rows of the table, encoded.

    Attributes:
        features: float32 of shape (rows, features), categories by their codes, NaN where missing.
        target: float32 values, or int32 codes of the classes; shape (rows,).
        rows: each row's number in its table.
        weight: each row's weight, float64 of shape (rows,); None where all rows count alike.
    """

    features: NDArray[np.float32]
    target: NDArray[Any]
    rows: NDArray[np.int64]
    weight: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: NDArray[np.int64]) -> Part:
        """Return some of the rows, by their places."""
        weight = None if self.weight is None else self.weight[places]
        return Part(self.features[places], self.target[places], self.rows[places], weight)

    def output(self, predict: Callable[[NDArray[np.float32]], NDArray[Any]]) -> NDArray[Any]:
        """Return what a model predicts of the rows, given what it predicts of a matrix."""
        return predict(self.features)

    def without_features(self) -> Part:
        """Return the rows without their matrix, which need not be held once a library has made its own of it."""
        return dataclasses.replace(self, features=self.features[:0].copy())


def split_rows(
    frame: pd.DataFrame,
    classes: NDArray[Any] | None = None,
    *,
    fraction: float = 0.2,
    test_fraction: float = 0.0,
    seed: int = 42,
    column: str | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
) -> Split:
    """Split a table's rows.

    Args:
        frame: the table.
        classes: each row's class, in a classification: each part gets its share of each class, and a class of one row goes to training.
        fraction: the share of the validation rows.
        test_fraction: the share of the test rows.
        seed: the shuffle's seed.
        column: has `train`, `validation` (or `val`, `valid`) or `test` for each row, instead of a shuffle.
        time_column: orders the rows: the latest are the test rows, the latest before them the validation rows.
        group_column: rows of the same value stay in the same part; the shares are then of the groups.

    Raises:
        InputError: a part that is needed has no rows, or the column has another value.
    """
    if column is not None:
        split = _by_column(frame[column])
    else:
        if group_column is not None:
            _check_groups(frame[group_column], fraction, test_fraction)
        way = _way(frame, classes, seed, time_column, group_column)
        rest, test = way.hold_out(way.rows, way.count(test_fraction))
        train, validation = way.hold_out(rest, max(1, way.count(fraction)))
        in_order = (train, validation, test) if time_column is not None else (np.sort(train), np.sort(validation), np.sort(test))
        split = Split(*in_order)
    for name in ("train", "validation"):
        if not len(getattr(split, name)):
            if column is None and time_column is None and classes is not None and _are_mostly_alone(classes):
                count = len(np.unique(classes))
                raise InputError(
                    f"The target has {count:,} classes in {len(frame):,} rows: a class of one row goes to training, so that none is left "
                    f"for {name}. For a target of numbers, choose a regression in model_type; else use more rows of each class."
                )
            raise InputError(f"The split of {len(frame)} rows leaves no {name} rows. Change `validation`, or use more rows.")
    if test_fraction and not len(split.test):
        raise InputError(f"The split of {len(frame)} rows leaves no test rows. Raise validation.test_fraction, or use more rows.")
    return split


def _are_mostly_alone(classes: NDArray[Any]) -> bool:
    """Return whether most rows are the only ones of their class."""
    sizes = np.unique(classes, return_counts=True)[1]
    return int((sizes == 1).sum()) * 2 > len(classes)


def held_out_for_test(
    frame: pd.DataFrame,
    classes: NDArray[Any] | None = None,
    *,
    test_fraction: float = 0.0,
    seed: int = 42,
    time_column: str | None = None,
    group_column: str | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that are left and the test rows; see `split_rows` for the arguments.

    Raises:
        InputError: no rows are left for one of them.
    """
    way = _way(frame, classes, seed, time_column, group_column)
    tests = way.count(test_fraction)
    if group_column is not None and tests and tests >= way.number:
        raise InputError(f"The group column `{group_column}` has {way.number} groups, {tests} for test: none is left to fit on.")
    rest, test = way.hold_out(way.rows, tests)
    if test_fraction and not len(test):
        raise InputError(f"The split of {len(frame)} rows leaves no test rows. Raise validation.test_fraction, or use more rows.")
    return np.sort(rest), np.sort(test)


@dataclasses.dataclass(frozen=True)
class _Way:
    """A way to hold out rows: by chance, the latest, or whole groups.

    Attributes:
        rows: all rows, in the order in which they are held out.
        number: how many there are to choose from: rows, or groups.
        hold_out: returns the rows that are left and those that are held out, of some rows and how many.
        least: how many are held out at least, where any are.
    """

    rows: NDArray[np.int64]
    number: int
    hold_out: Callable[[NDArray[np.int64], int], tuple[NDArray[np.int64], NDArray[np.int64]]]
    least: int = 0

    def count(self, fraction: float) -> int:
        """Return how many are a share of all."""
        return max(self.least, round(self.number * fraction)) if fraction else 0


def _way(frame: pd.DataFrame, classes: NDArray[Any] | None, seed: int, time_column: str | None, group_column: str | None) -> _Way:
    everything = np.arange(len(frame))
    if time_column is not None:
        order = np.argsort(times_of(frame[time_column]).to_numpy(), kind="stable")
        return _Way(order, len(order), lambda rows, count: (rows[: max(0, len(rows) - count)], rows[max(0, len(rows) - count) :]))
    if group_column is not None:
        groups = groups_of(frame[group_column])
        return _Way(everything, len(np.unique(groups)), lambda rows, count: _held_groups(rows, groups, count, seed), least=1)
    return _Way(everything, len(frame), lambda rows, count: _held_out(rows, classes, count, seed))


def _held_groups(rows: NDArray[np.int64], groups: NDArray[np.int64], count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.model_selection import GroupShuffleSplit

    if not count:
        return rows, rows[:0]
    ((kept, held),) = GroupShuffleSplit(1, test_size=count, random_state=seed).split(rows, groups=groups[rows])
    return rows[kept], rows[held]


def _held_out(rows: NDArray[np.int64], classes: NDArray[Any] | None, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.model_selection import train_test_split  # takes most of a second, which a split by column need not wait for

    if not count or len(rows) <= count:
        return rows, rows[:0]
    if classes is None:
        kept, held = train_test_split(rows, test_size=count, random_state=seed)
        return kept, held
    labels, place, sizes = np.unique(classes[rows], return_inverse=True, return_counts=True)
    single = sizes[place] < 2  # noqa: PLR2004  # a class of one row cannot be split
    common, alone = rows[~single], rows[single]
    groups = len(labels) - int((sizes < 2).sum())  # noqa: PLR2004
    shared = classes[common] if min(count, len(common) - count) >= groups > 0 else None
    if len(common) <= count:
        return rows, rows[:0]
    kept, held = train_test_split(common, test_size=count, random_state=seed, stratify=shared)
    return np.concatenate([kept, alone]), held


def _check_groups(values: pd.Series, fraction: float, test_fraction: float) -> None:
    """Check that groups are left to fit on.

    Raises:
        InputError: there are too few, or a row belongs to none.
    """
    number = len(np.unique(groups_of(values)))
    tests, validations = max(1, round(number * test_fraction)) if test_fraction else 0, max(1, round(number * fraction))
    if number <= tests + validations:
        held = f"{validations} for validation" + (f" and {tests} for test" if tests else "")
        few = "puts every row into one group, and a group stays in one part" if number == 1 else f"has {number} groups, {held}"
        raise InputError(
            f"The group column `{values.name}` {few}: none is left to fit on. Choose another validation.group_column, or smaller fractions."
        )


def groups_of(values: pd.Series) -> NDArray[np.int64]:
    """Return the number of each row's group."""
    groups = np.asarray(pd.factorize(values)[0], dtype=np.int64)
    if (groups < 0).any():
        raise InputError(
            f"The group column `{values.name}` has no value in row {values.index[groups < 0][0]} (counted from 0): it belongs to no "
            "group. Fill it in, or choose another validation.group_column."
        )
    return groups


def check_split_sample(values: pd.Series, key: str, *, whole: bool = False, fraction: float = 0.2, test_fraction: float = 0.0) -> None:
    """Check some rows of a split's column for what no other row can change.

    Args:
        values: the column, in rows that have a target.
        key: the key of `validation` that names it: `column`, `time_column` or `group_column`.
        whole: whether these are all rows.
        fraction: the share of the validation rows.
        test_fraction: the share of the test rows.

    Raises:
        InputError: a row marks no part, or has no time or no group; or there are too few groups.
    """
    if key == "time_column":
        times_of(values)
    elif key == "column":
        _parts(values)
    elif whole:
        _check_groups(values, fraction, test_fraction)
    else:
        groups_of(values)


def _by_column(values: pd.Series) -> Split:
    parts = _parts(values)
    return Split(*(np.flatnonzero(parts.to_numpy() == part) for part in ("train", "validation", "test")))


def _parts(values: pd.Series) -> pd.Series:
    names = values.astype(object).map(lambda value: str(value).strip().lower(), na_action="ignore")
    parts = names.map(_NAMES)
    if parts.isna().any():
        value = values[parts.isna()].iloc[0]
        close = nearest(str(value).lower(), _NAMES)
        hint = f" Did you mean `{close}`?" if close else ""
        raise InputError(f"The split column `{values.name}` has the value {shown(value)}.{hint} Use train, validation or test.")
    return parts


def times_of(values: pd.Series) -> pd.Series:
    """Return what orders the rows."""
    if values.isna().any():
        raise InputError(
            f"The time column `{values.name}` has rows without a value, so that they have no order. "
            "Fill them in, or choose another validation.time_column."
        )
    if not pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_datetime64_any_dtype(values.dtype):
        times = pd.to_datetime(values.astype(str), format="ISO8601", utc=True, errors="coerce")
        if times.isna().any():
            raise InputError(
                f"The time column `{values.name}` holds {shown(values[times.isna()].iloc[0])}, which is not a time. "
                "Write times as 2026-01-31 or 2026-01-31T12:00:00."
            )
        return times
    return values
