"""What an entry of the catalog holds, as a plan keeps it: another content is another digest, and what cannot be compared is named."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset
from support.http_server import Server

from kedro_cloudtrain.datasets import CloudDataset, MetricsDataset
from kedro_cloudtrain.planning.content import Content, Contents
from kedro_cloudtrain.planning.digests import Digests

TABLE = pd.DataFrame({"a": [1, 2]})


class SQLQueryDataset(AbstractDataset[Any, Any]):
    """As much of pandas.SQLQueryDataset as is looked at, which needs a database."""

    __module__ = "kedro_datasets.pandas.sql_dataset"

    def __init__(self, *, filepath: str) -> None:
        self._filepath = Path(filepath)
        self._protocol = "file"

    def load(self) -> None:
        raise AssertionError

    def save(self, data: Any) -> None:
        raise AssertionError

    def _describe(self) -> dict[str, Any]:
        return {}


def content(project: Path, dataset: Any) -> Content:
    return Contents(DataCatalog({"entry": dataset}), Digests(project)).of("entry")


def entry(**config: Any) -> Any:
    return AbstractDataset.from_config("entry", config)


# Entries of the project, and the file whose content they have.
ENTRIES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a table on the volume": (lambda at: CloudDataset(dataset_key="a.csv", volume={"path": str(at / "volume")}), "volume/a.csv"),
    "a table of parts": (
        lambda at: CloudDataset(dataset_key="t.parquet", volume={"path": str(at / "volume")}),
        "volume/t.parquet/part-0.parquet",
    ),
    "a file": (lambda at: entry(type="pandas.CSVDataset", filepath=str(at / "a.csv")), "a.csv"),
    "a file in a cache": (
        lambda at: entry(type="CachedDataset", dataset={"type": "pandas.CSVDataset", "filepath": str(at / "a.csv")}),
        "a.csv",
    ),
    "one that only its own reader reads": (lambda at: entry(type="pickle.PickleDataset", filepath=str(at / "a.pkl")), "a.pkl"),
    "a folder of files": (
        lambda at: entry(type="partitions.PartitionedDataset", path=str(at / "parts"), dataset="pandas.CSVDataset"),
        "parts/one/a.csv",
    ),
    "metrics": (lambda at: MetricsDataset(filepath=str(at / "a.json")), "a.json"),
    "a query": (lambda at: SQLQueryDataset(filepath=str(at / "a.sql")), "a.sql"),
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_what_is_on_this_computer_is_compared_by_its_content_alone(kind: str, tmp_path: Path) -> None:
    make, place = ENTRIES[kind]
    file = tmp_path / "here" / place
    for project in (tmp_path / "here", tmp_path / "there"):
        (project / place).parent.mkdir(parents=True)
        (project / place).write_text("one")
    first = content(tmp_path / "here", make(tmp_path / "here"))
    assert first.digest is not None
    assert bool(first.opaque) == (kind == "a query")
    assert content(tmp_path / "there", make(tmp_path / "there")) == first
    os.utime(file, (0, 0))
    assert content(tmp_path / "here", make(tmp_path / "here")) == first
    file.write_text("two")
    os.utime(file, (0, 0))
    assert content(tmp_path / "here", make(tmp_path / "here")).digest not in (None, first.digest)
    file.unlink()
    assert content(tmp_path / "here", make(tmp_path / "here")).digest is None


def test_a_later_version_is_another_content(tmp_path: Path) -> None:
    config = {"type": "pandas.CSVDataset", "filepath": str(tmp_path / "a.csv"), "versioned": True}
    nothing = content(tmp_path, entry(**config))
    assert nothing.digest is None
    for version, text in (("2026-01-01T00.00.00.000Z", "one"), ("2026-01-02T00.00.00.000Z", "two")):
        (tmp_path / "a.csv" / version).mkdir(parents=True)
        (tmp_path / "a.csv" / version / "a.csv").write_text(text)
    latest = content(tmp_path, entry(**config))
    first = AbstractDataset.from_config("entry", config, load_version="2026-01-01T00.00.00.000Z")
    assert None not in (latest.digest, content(tmp_path, first).digest)
    assert content(tmp_path, first).digest != latest.digest


def test_a_server_without_etag_and_date_is_named_and_any_other_is_compared(tmp_path: Path) -> None:
    with Server({"a.csv": b"a\n1\n"}) as server:
        dataset = CloudDataset(dataset_url=server.url("a.csv"))
        first = content(tmp_path, dataset)
        assert first.digest is not None
        assert not first.opaque
        server.files["a.csv"] = b"a\n2\n"
        assert content(tmp_path, dataset).digest != first.digest
        server.etag = False
        assert content(tmp_path, dataset).opaque == "its server gives neither an ETag nor a date"
    gone = content(tmp_path, dataset)
    assert gone.digest is None
    assert "127.0.0.1" in gone.error


def test_what_is_in_memory_is_compared_by_its_value(tmp_path: Path) -> None:
    assert content(tmp_path, MemoryDataset()) == Content()
    first = content(tmp_path, MemoryDataset(TABLE))
    assert content(tmp_path, MemoryDataset(TABLE.copy())) == first
    assert content(tmp_path, MemoryDataset(TABLE + 1)).digest not in (None, first.digest)
    lock = MemoryDataset(threading.Lock(), copy_mode="assign")
    assert content(tmp_path, lock) == Content(opaque="it is in memory, and its value cannot be compared")


def test_what_no_file_has_is_named(tmp_path: Path) -> None:
    answer = entry(type="api.APIDataset", url="https://example.org/rows")
    assert content(tmp_path, answer) == Content(opaque="APIDataset reads what has no file that could be compared")
