"""What a value refers to instead of holding it: such an input is not data."""

from __future__ import annotations

import functools
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from kedro_datasets.pandas import CSVDataset
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.jobs.references import reference_in, surroundings_of
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
# Ways to hold a text that is a path.
HOLDERS: dict[str, Callable[[str], Any]] = {
    "a text": str,
    "a list": lambda path: [path],
    "JSON": lambda path: {"deep": [{"place": path}]},
    "a key": lambda path: {path: 1},
    "a tuple": lambda path: (path,),
    "a set": lambda path: {path},
    "a dict of frames": lambda path: {"a": pd.DataFrame({"place": [path]})},
    "a column": lambda path: pd.DataFrame({"place": ["x", None, path]}),
    "a column of objects": lambda path: pd.DataFrame({"place": pd.Series(["x", None, path], dtype=object)}),
    "a column of several kinds": lambda path: pd.DataFrame({"place": pd.Series([1, path], dtype=object)}),
    "a column of pyarrow": lambda path: pd.DataFrame({"place": pd.Series([path], dtype="string[pyarrow]")}),
    "a column of lists": lambda path: pd.DataFrame({"places": [[path]]}),
    "categories": lambda path: pd.DataFrame({"place": pd.Categorical(["x", path])}),
    "an index": lambda path: pd.DataFrame({"a": [1]}, index=[path]),
    "an index of two levels": lambda path: pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([(1, path)])),
    "the name of a column": lambda path: pd.DataFrame({path: [1]}),
    "a frame's attributes": lambda path: _with_attributes(path),  # noqa: PLW0108  # it is defined below
    "a series": lambda path: pd.Series([path]),
    "an array": lambda path: np.array(["x", path]),
    "an array of objects": lambda path: np.array([1, path], dtype=object),
    "a table of polars": lambda path: pl.DataFrame({"place": [path]}),
    "a table of polars with lists": lambda path: pl.DataFrame({"places": [[path]]}),
    "a table of pyarrow": lambda path: pa.table({"place": [path]}),
    "a table of pyarrow with lists": lambda path: pa.table({"places": [[path]]}),
    "an object": lambda path: Settings(place=path),
}


def _with_attributes(path: str) -> pd.DataFrame:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"place": path}
    return frame


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


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_text_that_is_a_path_is_never_taken_for_unchanged_whatever_holds_it(holder: str, file: Path) -> None:
    sent = SentInput.of(HOLDERS[holder](str(file)), "it")
    assert sent.identity is None
    assert str(sent.reference).startswith(f"the path {file}, which is on this computer")
    # A pod has none of this computer's files: to it, that is a text as any other.
    assert SentInput.of(HOLDERS[holder](str(file)), "it", to_pod=True).identity is not None
    assert SentInput.of(HOLDERS[holder](f"{file}.gone"), "it").identity is not None


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        ("data/a.csv", True),
        ("./a.csv", True),
        ("a.csv", True),
        ("data/", False),
        ("data", False),
        (".", False),
        ("..", False),
        ("", False),
        ("/", False),
        ("data/deep", True),
        ("data/deep/", True),
        ("data/*.csv", True),
        ("data/{year}.csv", True),
        ("none/*.csv", False),
        ("*", False),
        ("data.deep", False),
        ("b.csv", False),
        ("and/or", False),
        ("image/png", False),
        ("01/02/2026", False),
        ("https://example.org/data/a.csv", False),
        ("a text about data/a.csv", False),
        ("x" * 5000, False),
        ("/".join("x" * 5000), False),
    ],
)
def test_which_texts_are_paths(text: str, is_path: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data/deep").mkdir(parents=True)
    for place in ("a.csv", "data/a.csv"):
        (tmp_path / place).write_text("a")
    monkeypatch.chdir(tmp_path)
    assert (reference_in([text]) is not None) is is_path
    assert (reference_in(pd.DataFrame({"a": [text]})) is not None) is is_path
    assert (reference_in((text,)) is not None) is is_path


@pytest.mark.parametrize("prefix", ["file://", "~/"])
def test_a_path_may_be_written_in_other_ways(prefix: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parents[1]))
    text = f"file://{file}" if prefix == "file://" else f"~/{file.parent.name}/{file.name}"
    assert reference_in(text) is not None


def test_a_large_table_of_texts_is_searched_quickly() -> None:
    keys = [f"shop/{number}" for number in range(300_000)]
    frame = pd.DataFrame({"key": keys, "kind": pd.Categorical(["a/b"] * len(keys)), "word": ["word"] * len(keys)})
    began = time.process_time()
    assert reference_in(frame) is None
    assert time.process_time() - began < 5


class Singleton:
    def __reduce__(self) -> str:
        return "SINGLETON"


SINGLETON = Singleton()
HERE = Singleton.__module__
# Values whose files have classes and functions of a project by name alone.
BY_NAME: dict[str, Callable[[], Any]] = {
    "an object": lambda: Settings(ratio=1),
    "an object deep in others": lambda: {"a": ({1: [Settings(ratio=1)]},)},
    "a class": lambda: Settings,
    "a function": lambda: {"f": a_function},
    "a method": lambda: Settings(ratio=1).__init__,
    "a partial": lambda: functools.partial(a_function, 1),
    "what goes by a name": lambda: [SINGLETON],
    "a function behind a lambda": lambda: lambda x: a_function(x) + 1,
    "objects in a column": lambda: pd.DataFrame({"a": [Settings(ratio=1)]}),
    "an object in an array": lambda: np.array([Settings(ratio=1)], dtype=object),
    "an object in a frame's attributes": lambda: _with_attributes(Settings(ratio=1)),  # type: ignore[arg-type]
    "an object beside a path": lambda: (Path("a"), Settings(ratio=1)),
    "an object beside a loader": lambda: (pd.read_csv, Settings(ratio=1)),
}


def a_function(value: int) -> int:
    return value


@pytest.mark.parametrize("case", BY_NAME)
def test_the_modules_of_what_a_file_has_by_name_are_found(case: str) -> None:
    assert HERE in surroundings_of(BY_NAME[case]()).modules


def test_plain_values_have_no_module_of_a_projects() -> None:
    for value in ([1, "a"], {"a": 1.5}, pd.DataFrame({"a": [1]}), ({1}, b"a"), np.arange(3)):
        assert HERE not in surroundings_of(value).modules
