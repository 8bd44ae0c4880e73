"""The datasets at their edges: permissions, compressed files, broken tables, odd values and full disks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError
from support.http_server import Server

from kedro_cloudtrain import CloudDataset, MetricsDataset, ModelDataset, TrainingHistoryDataset
from kedro_cloudtrain.errors import ConfigError, SourceError
from kedro_cloudtrain.planning.entries import dataset_source


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_saved_file_has_the_permissions_that_the_umask_allows(tmp_path: Path) -> None:
    CloudDataset(dataset_key="t.csv", volume={"path": str(tmp_path)}).save(pd.DataFrame({"x": [1]}))
    MetricsDataset(filepath=str(tmp_path / "m.json")).save({"rmse": 1.0})
    for name in ("t.csv", "m.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("key", ["t.csv.gz", "t.jsonl.xz"])
def test_a_compressed_table_is_saved_compressed(key: str, tmp_path: Path) -> None:
    dataset = CloudDataset(dataset_key=key, volume={"path": str(tmp_path)})
    dataset.save(pd.DataFrame({"x": [1, 2]}))
    assert not (tmp_path / key).read_bytes().startswith((b"x", b"{"))
    assert dataset.load()["x"].tolist() == [1, 2]
    assert dataset.preview()["data"] == [[1], [2]]


def test_a_table_that_cannot_be_read_is_a_source_error(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"not parquet")
    broken = CloudDataset(dataset_key="t.parquet", volume={"path": str(tmp_path)})
    for look in (broken.preview, broken.head):
        with pytest.raises(SourceError, match="cannot be read as parquet"):
            look()
    with pytest.raises(DatasetError, match="cannot be read as parquet") as caught:
        broken.load()
    assert isinstance(caught.value.__cause__, SourceError)
    with Server({}) as server, pytest.raises(SourceError, match="404"):
        CloudDataset(dataset_url=server.url("t.csv")).preview()


def test_a_preview_shows_values_that_json_lacks(tmp_path: Path) -> None:
    frame = pd.DataFrame({"when": pd.to_datetime(["2020-01-02"]), "code": ["007"], "none": [None], "ünï 'x'": [1.5]})
    dataset = CloudDataset(dataset_key="t.parquet", volume={"path": str(tmp_path)})
    dataset.save(frame)
    shown = dataset.preview()
    assert shown["columns"] == list(frame.columns)
    assert shown["data"][0][1:] == ["007", None, 1.5]
    assert shown["data"][0][0].startswith("2020-01-02")


def model_in(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps({"format": 1, "library": "lightgbm", "task": "regression", "name": name}))
    return folder


def test_a_model_is_saved_from_its_folder(tmp_path: Path) -> None:
    dataset = ModelDataset(filepath=str(tmp_path / "m"))
    dataset.save(model_in(tmp_path / "job/model", "first"))
    dataset.save(str(model_in(tmp_path / "job/other", "second")))
    assert json.loads(dataset.preview())["name"] == "second"
    with pytest.raises(DatasetError, match=r"job, which has no model\.json, is not the model"):
        dataset.save(tmp_path / "job")


def test_a_model_that_cannot_be_saved_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ModelDataset(filepath=str(tmp_path / "m"))
    dataset.save(model_in(tmp_path / "job/model", "first"))
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(DatasetError, match="No space left"):
        dataset.save(model_in(tmp_path / "job/other", "second"))
    assert json.loads(dataset.preview())["name"] == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job", "m"]


def test_metrics_are_numbers_of_any_kind(tmp_path: Path) -> None:
    dataset = MetricsDataset(filepath=str(tmp_path / "m.json"))
    metrics = {"mae": np.float32(1.5), "rows": np.int64(3), "auc": float("nan"), "none": None, "confusion_matrix": np.eye(2, dtype=int)}
    dataset.save({**metrics, "classes": ["a", "b"]})
    expected = {"mae": 1.5, "rows": 3, "auc": None, "none": None, "confusion_matrix": [[1, 0], [0, 1]], "classes": ["a", "b"]}
    assert dataset.load() == json.loads(dataset.preview()) == expected


@pytest.mark.parametrize("value", ["good", True, [1.0], {"a": 1}, 1j])
def test_a_metric_that_is_not_a_number_is_refused_by_name(value: object, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="The metric 'rmse' is"):
        MetricsDataset(filepath=str(tmp_path / "m.json")).save({"rmse": value})


def test_a_history_may_be_a_list_of_rounds(tmp_path: Path) -> None:
    dataset = TrainingHistoryDataset(filepath=str(tmp_path / "h.json"))
    dataset.save([{"round": 1, "train_loss": 1 / 3}, {"round": 2, "train_loss": 0.25, "validation_loss": 2.0}])
    assert dataset.load()["train_loss"].tolist() == pytest.approx([1 / 3, 0.25], rel=1e-14)
    assert dataset.load()["validation_loss"].isna().tolist() == [True, False]
    for other in ([{"loss": 1}], [1, 2], []):
        with pytest.raises(DatasetError, match="column `round`"):
            dataset.save(other)


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "pandas.CSVDataset", "filepath": "https://user:planted@a.org/t.csv"},
        {"type": "pandas.CSVDataset", "filepath": "https://a.org/t.csv", "load_args": {"chunksize": 3}},
        {"type": "pandas.CSVDataset", "filepath": "https://a.org/t.csv", "load_args": {"storage_options": {"a": "b"}}},
        {"type": "pandas.CSVDataset", "filepath": "https://a.org/t.csv", "credentials": {"headers": {"a": "b"}}},
        {"type": "pandas.ParquetDataset", "filepath": "https://a.org/t.parquet", "load_args": {"filters": [["a", ">", 1]]}},
        {"type": "pandas.ExcelDataset", "filepath": "https://a.org/t.xlsx", "load_args": {"sheet_name": None}},
    ],
)
def test_an_entry_that_only_its_own_reader_understands_is_not_a_source(entry: dict[str, object]) -> None:
    assert dataset_source(DataCatalog.from_config({"t": entry})["t"]) is None


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("CloudDataset", {"dataset_url": "https://a.org/t.csv"}),
        ("ModelDataset", {"filepath": "models/m"}),
        ("ModelsDataset", {"filepath": "models/m"}),
        ("MetricsDataset", {"filepath": "m.json"}),
        ("TrainingHistoryDataset", {"filepath": "h.json"}),
    ],
)
def test_an_entry_keeps_its_metadata_and_returns_its_configuration(kind: str, place: dict[str, str]) -> None:
    metadata = {"kedro-viz": {"layer": "raw"}}
    catalog = DataCatalog.from_config({"t": {"type": f"kedro_cloudtrain.{kind}", **place, "metadata": metadata}})
    assert catalog["t"].metadata == metadata
    config = catalog.to_config()[0]
    given = {name: value for name, value in config["t"].items() if value is not None}
    assert given == {"type": f"kedro_cloudtrain.datasets.{kind}", **place}, "Kedro leaves the metadata out"
    assert DataCatalog.from_config(config)["t"]._describe() == catalog["t"]._describe()


def test_credentials_that_are_not_a_mapping_are_refused() -> None:
    with pytest.raises(ConfigError, match="credentials is not a mapping"):
        CloudDataset(dataset_url="https://a.org/t.csv", credentials="token")  # type: ignore[arg-type]
