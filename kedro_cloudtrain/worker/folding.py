"""The folds of a cross-validation, by scikit-learn's own splitters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError
from .splitting import Split, groups_of, held_out_for_test, times_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def fold_rows(
    frame: pd.DataFrame,
    classes: NDArray[Any] | None = None,
    *,
    folds: int,
    stratified: bool | None = None,
    test_fraction: float = 0.0,
    seed: int = 42,
    time_column: str | None = None,
    group_column: str | None = None,
) -> list[Split]:
    """Split a table's rows into folds, each of which is held out once.

    Args:
        frame: the table.
        classes: each row's class, in a classification.
        folds: how many.
        stratified: whether each fold gets its share of each class; None stratifies a classification whose rows are in no order and no
            groups, as scikit-learn's `cross_val_score` does.
        test_fraction: the share of the rows, or of the groups, that are in no fold: the latest ones by `time_column`.
        seed: the shuffle's seed.
        time_column: orders the rows: each fold is held out from a fit on the rows before it (`TimeSeriesSplit`).
        group_column: rows of the same value stay in the same fold (`GroupKFold`, stratified `StratifiedGroupKFold`).

    Returns:
        The rows of each fold: to fit on, held out, and the test rows, which are the same of all folds.

    Raises:
        InputError: there are too few rows, groups, or rows of a class.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

    rest, test = held_out_for_test(
        frame, classes, test_fraction=test_fraction, seed=seed, time_column=time_column, group_column=group_column
    )
    groups = None if group_column is None else groups_of(frame[group_column])[rest]
    _check_counts(folds, rest, groups, group_column, ordered=time_column is not None)
    stratifies = stratified if stratified is not None else classes is not None and time_column is None and groups is None
    of_rest = None if classes is None or not stratifies else classes[rest]
    if of_rest is not None:
        _check_classes(folds, of_rest)
    splitter: Any
    if time_column is not None:
        rest = rest[np.argsort(times_of(frame[time_column]).to_numpy()[rest], kind="stable")]
        splitter = TimeSeriesSplit(folds)
    elif groups is not None:
        splitter = GroupKFold(folds) if of_rest is None else StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    else:
        splitter = (KFold if of_rest is None else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    return [Split(np.sort(rest[kept]), np.sort(rest[held]), test) for kept, held in splitter.split(rest, of_rest, groups)]


def _check_counts(
    folds: int, rows: NDArray[np.int64], groups: NDArray[np.int64] | None, group_column: str | None, *, ordered: bool
) -> None:
    least = folds + 1 if ordered else folds
    if groups is not None and len(np.unique(groups)) < folds:
        raise InputError(
            f"`validation.folds` is {folds}, and the group column `{group_column}` has {len(np.unique(groups))} groups, each of which "
            "stays in one fold. Lower it, or choose another validation.group_column."
        )
    if len(rows) < least:
        raise InputError(f"`validation.folds` is {folds}, and there are {len(rows)} rows to hold out. Lower it, or use more rows.")


def _check_classes(folds: int, classes: NDArray[Any]) -> None:
    most = int(np.unique(classes, return_counts=True)[1].max())
    if most < folds:
        raise InputError(
            f"`validation.folds` is {folds}, and the most frequent class of the target has {most} rows: no fold could have its share of a "
            "class. Lower it, set validation.stratified to false, or choose a regression in model_type for a target of numbers."
        )
