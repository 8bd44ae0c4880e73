"""The folds of a table: each row is held out once, groups stay together, times follow one another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain.worker import InputError
from kedro_cloudtrain.worker.folding import fold_rows

ROWS = 60
FRAME = pd.DataFrame({"group": np.arange(ROWS) // 5, "time": np.arange(ROWS)[::-1], "few": np.arange(ROWS) // 30})
CLASSES = (np.arange(ROWS) % 4 == 0).astype(int)


@pytest.mark.parametrize(
    ("classes", "asked"),
    [
        (None, {}),
        (CLASSES, {}),
        (CLASSES, {"stratified": False}),
        (None, {"group_column": "group"}),
        (CLASSES, {"group_column": "group", "stratified": True}),
        (CLASSES, {"test_fraction": 0.2}),
        (None, {"group_column": "group", "test_fraction": 0.25}),
    ],
)
def test_each_row_is_held_out_once_or_is_a_test_row(classes: Any, asked: dict[str, Any]) -> None:
    splits = fold_rows(FRAME, classes, folds=4, seed=3, **asked)
    assert len(splits) == 4
    held = np.concatenate([split.validation for split in splits])
    test = splits[0].test
    assert sorted([*held, *test]) == list(range(ROWS))
    assert bool(len(test)) is ("test_fraction" in asked)
    for split in splits:
        assert sorted([*split.train, *split.validation, *split.test]) == list(range(ROWS))
        assert np.array_equal(split.test, test)
        if "group_column" in asked:
            parts = [set(FRAME["group"][rows]) for rows in (split.train, split.validation, split.test)]
            assert sum(len(part) for part in parts) == 12
        if classes is not None and asked.get("stratified", True) and "group_column" not in asked:
            assert classes[split.validation].mean() == pytest.approx(classes.mean(), abs=0.06)


def test_the_folds_of_times_follow_their_fits_and_the_tests_are_the_latest() -> None:
    splits = fold_rows(FRAME, CLASSES, folds=3, time_column="time", test_fraction=0.2)
    for split in splits:
        times = [FRAME["time"].to_numpy()[rows] for rows in (split.train, split.validation, split.test)]
        assert times[0].max() < times[1].min()
        assert times[1].max() < times[2].min()
    assert len(splits[0].train) < len(splits[2].train)


def test_the_same_seed_gives_the_same_folds_and_another_one_others() -> None:
    first, again, other = ([split.validation.tolist() for split in fold_rows(FRAME, folds=3, seed=seed)] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("frame", "classes", "asked", "message"),
    [
        (FRAME[:3], None, {"folds": 4}, "`validation.folds` is 4, and there are 3 rows to hold out"),
        (FRAME[:4], None, {"folds": 4, "time_column": "time"}, "there are 4 rows to hold out"),
        (FRAME, None, {"folds": 4, "group_column": "few"}, "the group column `few` has 2 groups"),
        (FRAME[:8], np.arange(8), {"folds": 2}, "the most frequent class of the target has 1 rows"),
        (FRAME, None, {"folds": 2, "group_column": "few", "test_fraction": 0.9}, "has 2 groups, 2 for test: none is left"),
        (FRAME[:4], None, {"folds": 2, "test_fraction": 0.05}, "leaves no test rows"),
    ],
)
def test_too_few_of_anything_are_named(frame: pd.DataFrame, classes: Any, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fold_rows(frame, classes, **asked)
