"""What keeps an output from being saved is known before the work, and what can be saved is not refused."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import AbstractDataset, DataCatalog
from kedro.pipeline import node

from kedro_cloudtrain.planning.outputs import output_problems

# The user whom no file belongs to, on Linux and macOS alike.
NOBODY = 65534
FRAME = pd.DataFrame({"x": [1, 2]})
# What each saves.
ENTRIES: dict[str, tuple[dict[str, Any], Any]] = {
    "pickle": ({"type": "pickle.PickleDataset"}, [1]),
    "json": ({"type": "json.JSONDataset"}, {"a": 1}),
    "text": ({"type": "text.TextDataset"}, "a"),
    "yaml": ({"type": "yaml.YAMLDataset"}, {"a": 1}),
    "csv": ({"type": "pandas.CSVDataset"}, FRAME),
    "parquet": ({"type": "pandas.ParquetDataset"}, FRAME),
    "excel": ({"type": "pandas.ExcelDataset"}, FRAME),
    "metrics": ({"type": "kedro_cloudtrain.MetricsDataset"}, {"rmse": 1.0}),
}


def made(kind: str, path: Path, **more: Any) -> AbstractDataset[Any, Any]:
    return AbstractDataset.from_config("out", {**ENTRIES[kind][0], "filepath": str(path), **more})


def problems(dataset: AbstractDataset[Any, Any]) -> list[str]:
    return list(output_problems(node(len, "table", "out", name="count"), DataCatalog({"out": dataset})))


def saves(dataset: AbstractDataset[Any, Any], kind: str) -> bool:
    try:
        dataset.save(ENTRIES[kind][1])
    except Exception:  # noqa: BLE001  # Kedro's DatasetError, or the dataset's own
        return False
    return True


def _folder(path: Path) -> None:
    path.mkdir()


def _below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("a file")


def _read_only_folder(path: Path) -> None:
    path.parent.chmod(0o500)


def _read_only_file(path: Path) -> None:
    path.write_text("old")
    path.chmod(0o400)


def _file_in_a_read_only_folder(path: Path) -> None:
    path.write_text("old")
    path.parent.chmod(0o500)


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """Be a user whom permissions hold: root may write anywhere."""
    was = os.geteuid()
    if was == 0:
        os.setresuid(NOBODY, NOBODY, 0)  # with the way back
    try:
        yield
    finally:
        if was == 0:
            os.setresuid(0, 0, 0)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of that user's own: pytest's are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


SPOILT = [None, _file_in_a_read_only_folder, _folder, _below_a_file, _read_only_folder, _read_only_file]


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: "as it is" if spoil is None else spoil.__name__.strip("_"))
def test_what_cannot_be_saved_is_a_problem_and_nothing_else_is(kind: str, spoil: Any, place: Path, tmp_path: Path) -> None:
    assert saves(made(kind, tmp_path / "out"), kind)  # as one who may import what that takes
    with somebody():
        path = place / "reports/out"
        path.parent.mkdir()
        if spoil is not None:
            spoil(path)
        dataset = made(kind, path)
        faults = problems(dataset)
        saved = saves(dataset, kind)
        # Our own datasets write beside the file, and put the new one in its place; others write into it.
        assert saved == (faults == []), faults
    if faults:
        assert "out" in faults[0]
        assert "Name a file in the entry" in faults[0] or "Change the entry's path" in faults[0]


def test_a_version_is_saved_below_a_folder_of_the_files_name(tmp_path: Path) -> None:
    dataset = made("pickle", tmp_path / "out.pkl", versioned=True)
    dataset.save([1])
    assert (tmp_path / "out.pkl").is_dir()
    again = AbstractDataset.from_config("out", {"type": "pickle.PickleDataset", "filepath": str(tmp_path / "out.pkl"), "versioned": True})
    assert problems(again) == []
