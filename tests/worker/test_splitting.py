from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.splitting import Part, check_split_sample, split_rows


def frame(rows):
    return pd.DataFrame({"x": range(rows)})


def parts(split):
    return [set(part.tolist()) for part in (split.train, split.validation, split.test)]


@pytest.mark.parametrize(("rows", "fraction", "test"), [(100, 0.2, 0.0), (100, 0.2, 0.1), (7, 0.3, 0.3), (2, 0.2, 0.0), (1000, 0.5, 0.4)])
def test_each_row_is_in_one_part(rows, fraction, test) -> None:
    split = split_rows(frame(rows), fraction=fraction, test_fraction=test)
    train, validation, tested = parts(split)
    assert train | validation | tested == set(range(rows))
    assert len(train) + len(validation) + len(tested) == rows
    assert len(validation) == max(1, round(rows * fraction))
    assert len(tested) == round(rows * test)
    assert (np.diff(split.train) > 0).all()


def test_the_seed_alone_decides() -> None:
    again = [parts(split_rows(frame(50), seed=seed, test_fraction=0.2)) for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


def test_each_part_has_its_share_of_each_class() -> None:
    classes = np.array([0] * 80 + [1] * 15 + [2] * 5)
    split = split_rows(frame(100), classes, fraction=0.2, test_fraction=0.2)
    for part, counts in ((split.train, [48, 9, 3]), (split.validation, [16, 3, 1]), (split.test, [16, 3, 1])):
        np.testing.assert_array_equal(np.bincount(classes[part], minlength=3), counts)


def test_a_class_of_one_row_is_fitted() -> None:
    classes = np.array([0] * 10 + [1] * 10 + [2] + [3])
    for seed in range(5):
        split = split_rows(frame(22), classes, fraction=0.2, test_fraction=0.1, seed=seed)
        assert {20, 21} <= set(split.train.tolist())
        assert len(split.test) == 2


def test_more_classes_than_held_rows_are_still_split() -> None:
    classes = np.repeat(np.arange(10), 2)
    split = split_rows(frame(20), classes, fraction=0.1)
    assert len(split.validation) == 2


def test_too_few_rows_say_so() -> None:
    with pytest.raises(InputError, match="of 1 rows leaves no validation rows"):
        split_rows(frame(1))
    with pytest.raises(InputError, match=r"of 4 rows leaves no test rows. Raise validation.test_fraction"):
        split_rows(frame(4), test_fraction=0.1)
    with pytest.raises(InputError, match="The target has 3 classes in 3 rows"):
        split_rows(frame(3), np.arange(3), fraction=0.3)
    with pytest.raises(InputError, match="no train rows"):
        split_rows(frame(2).assign(t=[1, 2]), time_column="t", fraction=0.9)


def test_a_column_says_the_part() -> None:
    table = frame(7).assign(part=["train", "TRAINING ", " val", "valid", "Validation", "test", "train"])
    assert parts(split_rows(table, column="part")) == [{0, 1, 6}, {2, 3, 4}, {5}]
    assert parts(split_rows(table.astype({"part": "category"}), column="part"))[2] == {5}
    with pytest.raises(InputError, match="no validation rows"):
        split_rows(frame(2).assign(part="train"), column="part")
    for value, words in (("trian", r"'trian'. Did you mean `train`"), ("xyzzy", r"'xyzzy'. Use train"), (None, "None|nan"), (1, "1")):
        with pytest.raises(InputError, match=words):
            split_rows(frame(2).assign(part=pd.Series(["train", value], dtype=object)), column="part")


@pytest.mark.parametrize(
    "times",
    [
        [30, 10, 20, 50, 40],
        [3.5, 1.5, 2.5, 5.5, 4.5],
        ["2024-03-01", "2024-01-01", "2024-02-01", "2024-05-01", "2024-04-01"],
        [dt.date(2024, month, 1) for month in (3, 1, 2, 5, 4)],
        pd.to_datetime([f"2024-0{month}-01" for month in (3, 1, 2, 5, 4)]),
        pd.to_datetime([f"2024-0{month}-01" for month in (3, 1, 2, 5, 4)]).tz_localize("Asia/Tokyo"),
        pd.array([30, 10, 20, 50, 40], dtype="Int64"),
        ["2024-01-01T00:03:00Z", "2024-01-01T00:01:00Z", "2024-01-01T00:02:00Z", "2024-01-01T09:00:00+02:00", "2024-01-01T00:04:00Z"],
    ],
)
def test_the_latest_rows_are_held_out(times) -> None:
    split = split_rows(frame(5).assign(t=times), time_column="t", fraction=0.2, test_fraction=0.2)
    assert parts(split) == [{0, 1, 2}, {4}, {3}]


def test_a_time_that_is_none_is_named() -> None:
    with pytest.raises(InputError, match="`t` has rows without a value"):
        split_rows(frame(2).assign(t=["2024-01-01", None]), time_column="t")
    with pytest.raises(InputError, match="'soon', which is not a time"):
        split_rows(frame(2).assign(t=["2024-01-01", "soon"]), time_column="t")


@pytest.mark.parametrize("rows", [3, 300])
def test_rows_that_are_each_a_class_of_their_own_are_named_as_the_reason(rows: int) -> None:
    frame = pd.DataFrame({"x": range(rows)})
    with pytest.raises(InputError, match=rf"The target has {rows} classes in {rows} rows: .* choose a regression in model_type"):
        split_rows(frame, np.arange(rows))
    # By a column of their own they have enough rows.
    parts = frame.assign(part=["train"] * (rows - 1) + ["val"])
    assert len(split_rows(parts, np.arange(rows), column="part").validation) == 1


@pytest.mark.parametrize("test_fraction", [0.0, 0.2])
@pytest.mark.parametrize(
    "values", [[f"c{n % 17}" for n in range(200)], [n % 11 for n in range(200)], [2.5 * (n // 20) for n in range(200)]]
)
def test_no_group_is_on_both_sides_of_a_split(values, test_fraction) -> None:
    frame = pd.DataFrame({"customer": values})
    for seed in range(5):
        split = split_rows(frame, group_column="customer", fraction=0.3, test_fraction=test_fraction, seed=seed)
        parts = [set(frame["customer"].iloc[rows]) for rows in (split.train, split.validation, split.test)]
        assert sum(map(len, parts)) == frame["customer"].nunique()
        assert len(parts[1]) == round(0.3 * frame["customer"].nunique())
        assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(200))
    seeds = [split_rows(frame, group_column="customer", fraction=0.3, seed=seed).validation.tolist() for seed in range(4)]
    assert len({tuple(rows) for rows in seeds}) > 1


@pytest.mark.parametrize(
    ("values", "shares", "words"),
    [
        (["a"] * 9, {}, "puts every row into one group, and a group stays in one part: none is left to fit on"),
        (["a", "b", "b"], {"test_fraction": 0.1}, "has 2 groups, 1 for validation and 1 for test: none is left to fit on"),
        (["a", "b", "c"], {"fraction": 0.9}, "has 3 groups, 3 for validation: none is left to fit on"),
        (["a", "b", None], {}, r"has no value in row 2 \(counted from 0\): it belongs to no group"),
    ],
)
def test_groups_that_make_no_parts_are_refused(values, shares, words) -> None:
    frame = pd.DataFrame({"customer": values})
    with pytest.raises(InputError, match=words):
        split_rows(frame, group_column="customer", **shares)
    with pytest.raises(InputError, match=words):
        check_split_sample(frame["customer"], "group_column", whole=True, **shares)
    if None not in values:
        check_split_sample(frame["customer"], "group_column")


def test_a_part_without_its_matrix_keeps_its_rows() -> None:
    part = Part(np.ones((3, 2), dtype=np.float32), np.arange(3.0), np.arange(3), np.ones(3))
    left = part.without_features()
    assert len(left) == len(left.target) == len(left.weight) == 3
    assert left.features.shape == (0, 2)
    assert left.features.base is None  # a view would keep the matrix
