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
    "sorted": pd.DataFrame({"a": [3, 1, 2]}).sort_values("a"),
    "empty": pd.DataFrame({"a": []}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back_as_it_was(tmp_path, name: str) -> None:
    file = write_value(FRAMES[name], tmp_path, "x")
    assert file.name == "x.parquet"
    pd.testing.assert_frame_equal(read_value(file), FRAMES[name])


@pytest.mark.parametrize("frame", [pd.DataFrame({0: [1], 1: [2]}), pd.DataFrame({"a": [1, "x", dt.date(2026, 1, 1)]})])
def test_a_frame_that_parquet_cannot_hold_goes_by_cloudpickle(tmp_path, frame: pd.DataFrame) -> None:
    file = write_value(frame, tmp_path, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pickle"]
    pd.testing.assert_frame_equal(read_value(file), frame)


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "é", [1, [None]], {"a": {"b": [1.5]}}])
def test_what_json_gives_back_as_it_was_is_json(tmp_path, value: object) -> None:
    file = write_value(value, tmp_path, "x")
    assert file.suffix == ".json"
    assert read_value(file) == value


@pytest.mark.parametrize("value", [(1, 2), {1: "a"}, {"a": math.inf}, {1, 2}, np.float64(3), pd.Series([1], name="y"), {"a": (1,)}])
def test_anything_else_goes_by_cloudpickle(tmp_path, value: object) -> None:
    assert not is_json(value)
    file = write_value(value, tmp_path, "x")
    assert file.suffix == ".pickle"
    found = read_value(file)
    assert type(found) is type(value)
    assert str(found) == str(value)


def test_a_function_without_a_name_travels_by_value(tmp_path) -> None:
    three = 3
    assert read_value(write_value(lambda x: x + three, tmp_path, "x"))(4) == 7


def test_what_nothing_can_write_and_what_cannot_be_made_here_say_so(tmp_path) -> None:
    with pytest.raises(InputError, match="A lock cannot travel: cannot pickle"):
        write_value(threading.Lock(), tmp_path, "x")
    (tmp_path / "y.pickle").write_bytes(b"\x80\x04\x8c\x07no_such\x8c\x05Thing\x93.")
    with pytest.raises(InputError, match=r"No module named 'no_such'\. The package must be installed on both sides"):
        read_value(tmp_path / "y.pickle")
