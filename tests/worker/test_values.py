"""A value as a file, there and back."""

from __future__ import annotations

import datetime as dt
import math
import threading

import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.values import is_json, read_value, write_value

FRAMES = {
    "index": pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pd.Index([5, 9], name="id")),
    "types": pd.DataFrame({"c": pd.Categorical(["u", "v"]), "t": pd.to_datetime(["2026-01-01", "2026-01-02"]), "f": np.float32([1, 2])}),
    "units": pd.DataFrame({"ns": pd.to_datetime(["2026-01-01", None]).astype("datetime64[ns]"), "us": pd.to_timedelta([1, 2], unit="us")}),
    "zones": pd.DataFrame(
        {"t": pd.to_datetime(["2026-01-01", None]).tz_localize("Europe/Berlin"), "n": pd.array([1, None], dtype="Int64")}
    ),
    "ordered": pd.DataFrame({"c": pd.Categorical(["u", None], categories=["v", "u"], ordered=True)}),
    "sorted": pd.DataFrame({"a": [3, 1, 2]}).sort_values("a"),
    "empty": pd.DataFrame({"a": []}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back_as_it_was(tmp_path, name: str) -> None:
    file = write_value(FRAMES[name], tmp_path, "x")
    assert file.name == "x.parquet"
    pd.testing.assert_frame_equal(read_value(file), FRAMES[name])


OTHER_FRAMES = {
    "columns that are not text": pd.DataFrame({0: [1], 1: [2]}),
    "columns of categories": pd.DataFrame([[1, 2]], columns=pd.CategoricalIndex(["u", "v"])),
    "columns with a name": pd.DataFrame([[1, 2]], columns=pd.Index(["u", "v"], name="k", dtype=object)),
    "no columns": pd.DataFrame(index=range(3)),
    "objects": pd.DataFrame({"a": [1, "x", dt.date(2026, 1, 1)]}),
    "numbers among missing": pd.DataFrame({"a": pd.Series([2**53 + 1, None], dtype=object)}),
    "two kinds of missing": pd.DataFrame({"a": pd.Series(["x", None, math.nan], dtype=object)}),
    "lists": pd.DataFrame({"a": [[1], [2, 3]]}),
    "dicts": pd.DataFrame({"a": [{"x": 1}, {"y": 2}]}),
    "numbers as categories": pd.DataFrame({"a": pd.Categorical([1, 2, 1])}),
    "seconds": pd.DataFrame({"a": pd.to_datetime(["2026-01-01"]).astype("datetime64[s]")}),
    "a frequency": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2026-01-01", periods=2, freq="D")),
    "levels": pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)])),
    "two gaps in one column": pd.DataFrame({"a": pd.arrays.FloatingArray(np.array([1.0, np.nan, 0.0]), np.array([False, False, True]))}),
    "half a character": pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object)}),
}


@pytest.mark.parametrize("name", OTHER_FRAMES)
def test_a_frame_that_parquet_cannot_hold_goes_by_cloudpickle(tmp_path, name: str) -> None:
    frame = OTHER_FRAMES[name]
    file = write_value(frame, tmp_path, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pickle"]
    back = read_value(file)
    pd.testing.assert_frame_equal(back, frame, check_column_type="exact", check_index_type="exact")
    assert [type(value) for column in back for value in back[column]] == [type(value) for column in frame for value in frame[column]]


def test_that_its_labels_are_unique_travels_with_a_frame(tmp_path) -> None:
    frame = pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)
    assert not read_value(write_value(frame, tmp_path, "x")).flags.allows_duplicate_labels


def test_what_is_noted_of_a_frame_travels_with_it(tmp_path) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {1: ("x",)}
    assert read_value(write_value(frame, tmp_path, "x")).attrs == {1: ("x",)}


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "é", [1, [None]], {"a": {"b": [1.5]}}])
def test_what_json_gives_back_as_it_was_is_json(tmp_path, value: object) -> None:
    file = write_value(value, tmp_path, "x")
    assert file.suffix == ".json"
    assert read_value(file) == value


@pytest.mark.parametrize(
    "value", [(1, 2), {1: "a"}, {"a": math.inf}, {1, 2}, np.float64(3), pd.Series([1], name="y"), {"a": (1,)}, "\ud800"]
)
def test_anything_else_goes_by_cloudpickle(tmp_path, value: object) -> None:
    assert not is_json(value)
    file = write_value(value, tmp_path, "x")
    assert file.suffix == ".pickle"
    back = read_value(file)
    assert type(back) is type(value)
    assert str(back) == str(value)


def test_what_holds_itself_goes_by_cloudpickle(tmp_path) -> None:
    value: list[object] = [1]
    value.append(value)
    back = read_value(write_value(value, tmp_path, "x"))
    assert back[1] is back


def test_a_file_that_cannot_be_read_is_reported(tmp_path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"x\.parquet cannot be loaded \(ArrowInvalid"):
        read_value(tmp_path / "x.parquet")


def test_a_function_without_a_name_travels_by_value(tmp_path) -> None:
    three = 3
    assert read_value(write_value(lambda x: x + three, tmp_path, "x"))(4) == 7


def test_a_value_that_cannot_be_written_or_loaded_is_reported(tmp_path) -> None:
    with pytest.raises(InputError, match="A lock cannot be pickled: cannot pickle"):
        write_value(threading.Lock(), tmp_path, "x")
    (tmp_path / "y.pickle").write_bytes(b"\x80\x04\x8c\x07no_such\x8c\x05Thing\x93.")
    with pytest.raises(InputError, match=r"No module named 'no_such'\)\. Check that this computer and the machine have the same packages"):
        read_value(tmp_path / "y.pickle")
