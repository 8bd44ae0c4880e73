"""What a value refers to instead of holding it: such an input is not data."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from kedro_datasets.pandas import CSVDataset
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.jobs.references import reference_in
from kedro_cloudtrain.jobs.sent import SentInput

if TYPE_CHECKING:
    from collections.abc import Callable


class Loader:
    """A loader of a project's own: it knows a path, and `load` reads it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def load(self) -> str:
        return Path(self.path).read_text()


class Settings:
    """An object of a project's own that holds plain values."""

    def __init__(self, **values: Any) -> None:
        self.values = values


@pytest.fixture
def file(tmp_path: Path) -> Path:
    target = tmp_path / "a.csv"
    target.write_text("a,b\n1,2\n")
    return target


# What is surely no data: a pod would get it without what is behind it.
REFERENCES: dict[str, Callable[[Path], Any]] = {
    "a dict of a dataset's loads": lambda file: {"a": CSVDataset(filepath=str(file)).load},
    "a dataset": lambda file: CSVDataset(filepath=str(file)),
    "a path": lambda file: file,
    "paths in a tuple": lambda file: (1, {"deep": [file]}),
    "a path in an object": lambda file: Settings(place=file),
    "a path in a column": lambda file: pd.DataFrame({"place": [file]}),
    "a path behind a partial": lambda file: functools.partial(pd.read_csv, file),
    "a LazyFrame over a file": pl.scan_csv,
    "a file system": lambda _: fsspec.filesystem("memory"),
}
# What may have something behind it that changes unseen.
DOUBTFUL: dict[str, Callable[[Path], Any]] = {
    "a loader of one's own": lambda file: {"a": Loader(str(file)).load},
    "an object with a path as a text": lambda file: Settings(place=str(file)),
    "a reader of an address": lambda _: functools.partial(pd.read_csv, "https://example.org/a.csv"),
    "a closure over a path": lambda file: lambda: str(file),
}
ITERATORS: dict[str, Callable[[Path], Any]] = {
    "an iterator": lambda _: iter([1, 2]),
    "a map": lambda _: map(str, [1]),
    "a zip": lambda _: zip([1], [2], strict=True),
    "a generator": lambda _: (number for number in (1, 2)),
    "a reader of pieces": lambda file: pd.read_csv(file, chunksize=1),
    "an open file": lambda file: file.open(),
}
DATA: dict[str, Callable[[Path], Any]] = {
    "a model": lambda _: Pipeline([("log", FunctionTransformer(np.log1p)), ("line", LinearRegression())]),
    "a tuple": lambda _: (1, "two", {3}),
    "an array": lambda _: np.arange(3),
    "a class": lambda _: Settings,
    "a function": lambda _: lambda number: number + 1,
    "plain values in an object": lambda _: Settings(ratio=0.5, names=["a/b", "/", "no/such/file"]),
    "a LazyFrame of values": lambda _: pl.DataFrame({"a": [1]}).lazy(),
    "a buffer": lambda _: io.BytesIO(b"content"),
    "a table of polars": lambda _: pl.DataFrame({"a": [1]}),
}


@pytest.mark.parametrize("case", REFERENCES)
def test_what_refers_to_data_is_refused_for_a_pod_and_on_this_computer_never_taken_for_unchanged(case: str, file: Path) -> None:
    value = REFERENCES[case](file)
    with pytest.raises(SourceError, match=r"^`parts` of join holds .*that is not data"):
        SentInput.of(value, "`parts` of join", to_pod=True)
    assert SentInput.of(value, "`parts` of join").identity is None


@pytest.mark.parametrize("case", DOUBTFUL)
def test_what_may_refer_to_data_is_never_taken_for_unchanged(case: str, file: Path) -> None:
    assert SentInput.of(DOUBTFUL[case](file), "`parts` of join").identity is None


@pytest.mark.parametrize("case", ITERATORS)
def test_what_can_be_read_once_is_never_sent(case: str, file: Path) -> None:
    for to_pod in (True, False):
        with pytest.raises(SourceError, match="`parts` of join"):
            SentInput.of(ITERATORS[case](file), "`parts` of join", to_pod=to_pod)


@pytest.mark.parametrize("case", DATA)
def test_data_is_sent_and_known_again(case: str, file: Path) -> None:
    assert reference_in(DATA[case](file)) is None
    assert SentInput.of(DATA[case](file), "`parts` of join", to_pod=True).identity is not None
