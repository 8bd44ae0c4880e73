"""The five datasets: what they save and load, what they refuse, and what Kedro-Viz is shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.io import DataCatalog, DatasetError
from support.http_server import Server

from kedro_cloudtrain import CloudDataset, MetricsDataset, ModelDataset, ModelsDataset, TrainingHistoryDataset
from kedro_cloudtrain.errors import ConfigError, SourceError
from kedro_cloudtrain.planning.entries import dataset_source, dataset_volume
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource
from kedro_cloudtrain.storage.volumes import make_volume
from kedro_cloudtrain.worker.encoding import Features
from kedro_cloudtrain.worker.models import load_model, save_model
from kedro_cloudtrain.worker.target import Target

FRAME = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": ["a", "b", None]})


def volume_dataset(tmp_path: Path, key: str = "d/t.csv") -> CloudDataset:
    return CloudDataset(dataset_key=key, volume={"path": str(tmp_path / "volume")})


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl", "xlsx"])
def test_a_table_is_saved_to_the_volume_and_loaded_again(kind: str, tmp_path: Path) -> None:
    dataset = volume_dataset(tmp_path, f"d/t.{kind}")
    assert not dataset.exists()
    dataset.save(FRAME)
    assert dataset.exists()
    assert dataset.load()["x"].tolist() == [1.0, 2.0, 3.0]
    assert dataset.load()["y"].isna().tolist() == [False, False, True]
    assert dataset.preview(2)["data"][0][0] == 1.0
    assert len(dataset.preview(2)["data"]) == 2
    assert [path.name for path in (tmp_path / "volume/d").iterdir()] == [f"t.{kind}"]


def test_a_failed_save_leaves_the_old_table(tmp_path: Path) -> None:
    dataset = volume_dataset(tmp_path, "t.parquet")
    dataset.save(FRAME)
    with pytest.raises(DatasetError):
        dataset.save(pd.DataFrame({"x": [1, "mixed", object()]}))
    with pytest.raises(DatasetError, match="DataFrame"):
        dataset.save({"x": 1})
    assert dataset.load()["x"].tolist() == [1.0, 2.0, 3.0]
    assert [path.name for path in (tmp_path / "volume").iterdir()] == ["t.parquet"]


def test_xls_is_read_only(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="xlsx"):
        volume_dataset(tmp_path, "t.xls").save(FRAME)


def test_a_url_is_loaded_previewed_and_never_written() -> None:
    with Server({"t.csv": b"x,y\n1,a\n2,b\n"}, required_header=("Authorization", "Bearer planted")) as server:
        dataset = CloudDataset(dataset_url=server.url("t.csv"), credentials={"headers": {"Authorization": "Bearer planted"}})
        assert dataset.load()["x"].tolist() == [1, 2]
        assert dataset.exists()
        assert dataset.preview(1)["columns"] == ["x", "y"]
        assert not CloudDataset(dataset_url=server.url("other.csv")).exists()
        with pytest.raises(DatasetError, match="read only"):
            dataset.save(FRAME)
        assert "planted" not in repr(dataset)
        assert "planted" not in str(dataset._describe())


def test_a_wrong_entry_is_refused_with_the_reason() -> None:
    def entry(**config: object) -> DataCatalog:
        return DataCatalog.from_config({"t": {"type": "kedro_cloudtrain.CloudDataset", **config}})

    for config, message in (
        ({}, "Must provide either dataset_key or dataset_url"),
        ({"dataset_key": "a.csv", "dataset_url": "https://a.org/a.csv"}, "Cannot provide both dataset_key and dataset_url"),
        ({"dataset_key": "a.csv"}, "needs a volume"),
        ({"dataset_key": "a.csv", "volume": {"pth": "x"}}, "Did you mean `path`"),
        ({"dataset_key": "a.csv", "volume": "data"}, "mapping"),
        ({"dataset_key": "a.csv", "volume": {"path": " "}}, "volume.path"),
        ({"dataset_url": "https://a.org/a.csv", "credentials": {"headers": "x"}}, "credentials.headers"),
    ):
        with pytest.raises(DatasetError, match=message):
            entry(**config)["t"]


def test_a_url_has_no_volume() -> None:
    dataset = CloudDataset(dataset_url="https://a.org/a.csv")
    assert dataset.filepath is None
    with pytest.raises(SourceError, match="has no volume"):
        _ = dataset.volume
    with pytest.raises(SourceError, match="not on a volume"):
        dataset_volume("something")
    assert make_volume({"path": "a"}) == make_volume({"path": "a"})
    assert len({make_volume({"path": "a"}), make_volume({"path": "a"})}) == 1


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    import lightgbm as lgb

    frame = pd.DataFrame({"x": np.arange(60.0), "c": ["a", "b"] * 30, "y": np.arange(60.0) * 2})
    features, target = Features.fit(frame, ["x", "c"]), Target.fit(frame["y"], "regression")
    data = lgb.Dataset(features.matrix(frame), target.encode(frame["y"]), categorical_feature=[1])
    booster = lgb.train({"verbosity": -1, "min_data_in_leaf": 2}, data, 20)
    save_model(tmp_path / "job/model", "lightgbm", booster, features, target)
    return tmp_path / "job/model"


def test_a_model_is_copied_whole_and_predicts_from_the_copy(model_folder: Path, tmp_path: Path) -> None:
    dataset = ModelDataset(filepath=str(tmp_path / "models/m"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="no model"):
        dataset.load()
    for _ in range(2):
        dataset.save(load_model(model_folder))
    dataset.save(dataset.load())
    assert dataset.exists()
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["m"]
    frame = pd.DataFrame({"c": ["a", "never seen"], "x": [3.0, 50.0]})
    np.testing.assert_allclose(dataset.load().predict(frame), load_model(model_folder).predict(frame))
    assert json.loads(dataset.preview())["library"] == "lightgbm"
    assert not list((tmp_path / "models/m").glob("*.pkl"))


def test_anything_but_a_model_is_refused_and_the_old_model_stays(model_folder: Path, tmp_path: Path) -> None:
    dataset = ModelDataset(filepath=str(tmp_path / "m"))
    dataset.save(load_model(model_folder))
    with pytest.raises(DatasetError, match="This object is not the model of a training node"):
        dataset.save(object())
    assert dataset.load().library == "lightgbm"


def test_models_are_saved_by_any_names_and_replaced_together(model_folder: Path, tmp_path: Path) -> None:
    dataset = ModelsDataset(filepath=str(tmp_path / "stations"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="There are no models in"):
        dataset.load()
    names = ["Bern", "bern", "Zürich HB", "../up", ".", "a/b", "x" * 300]
    dataset.save({name: load_model(model_folder) for name in names})
    assert list(dataset.load()) == names
    assert (tmp_path / "stations/Bern/model.json").is_file()
    assert json.loads(dataset.preview())["bern"] == "1-bern"
    frame = pd.DataFrame({"c": ["a"], "x": [3.0]})
    np.testing.assert_allclose(dataset.load()["../up"].predict(frame), load_model(model_folder).predict(frame))
    assert [path.name for path in tmp_path.iterdir() if path.name != "job"] == ["stations"]
    for wrong, part in (
        ({"a": object()}, "not the model of a training node"),
        (load_model(model_folder), "saves a dict of models"),
        ({}, "dict"),
    ):
        with pytest.raises(DatasetError, match=part):
            dataset.save(wrong)
    dataset.save({"Bern": dataset.load()["bern"], "Chur": model_folder})  # from the very folder that is replaced
    assert list(dataset.load()) == ["Bern", "Chur"]
    assert sorted(path.name for path in (tmp_path / "stations").iterdir()) == ["Bern", "Chur", "models.json"]
    (tmp_path / "stations/models.json").write_text('{"a": "../../job"}')
    with pytest.raises(DatasetError, match="does not list models"):
        dataset.load()


NAMES = st.lists(
    st.sampled_from(["", " ", ".", "..", "models.json", "Models.JSON", "0-models.json", "a", "A", "1-a", "1-.a", ".a", "1-", "%", "é", "/"])
    | st.text("aA.-1/\\ %é\n", max_size=4),
    min_size=1,
    max_size=8,
    unique=True,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES)
def test_no_name_of_a_group_is_in_the_way_of_another(model_folder: Path, tmp_path: Path, names: list[str]) -> None:
    dataset = ModelsDataset(filepath=str(tmp_path / "many"))
    dataset.save(dict.fromkeys(names, model_folder))
    assert list(dataset.load()) == names
    folders = [path.name.lower() for path in (tmp_path / "many").iterdir() if path.is_dir()]
    assert len(set(folders)) == len(names)


def test_metrics_are_saved_whole_and_previewed(tmp_path: Path) -> None:
    dataset = MetricsDataset(filepath=str(tmp_path / "a/m.json"))
    assert not dataset.exists()
    dataset.save({"rmse": 1.5, "confusion_matrix": [[1, 0], [0, 1]]})
    assert dataset.load()["rmse"] == 1.5
    assert json.loads(dataset.preview())["rmse"] == 1.5
    with pytest.raises(DatasetError, match="mapping"):
        dataset.save([1])
    with pytest.raises(DatasetError):
        dataset.save({"rmse": object()})
    assert dataset.load()["rmse"] == 1.5
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["m.json"]


def test_a_history_is_a_chart_of_each_metric(tmp_path: Path) -> None:
    dataset = TrainingHistoryDataset(filepath=str(tmp_path / "h.json"))
    dataset.save(pd.DataFrame({"round": [1, 2], "train_rmse": [2.0, 1.0], "validation_rmse": [3.0, 2.0]}))
    assert dataset.exists()
    assert dataset.load()["validation_rmse"].tolist() == [3.0, 2.0]
    figure = dataset.preview()
    assert [trace["name"] for trace in figure["data"]] == ["train rmse", "validation rmse"]
    with pytest.raises(DatasetError, match="round"):
        dataset.save(pd.DataFrame({"x": [1]}))
    assert dataset.preview.__annotations__["return"] == "PlotlyPreview"
    assert CloudDataset.preview.__annotations__["return"] == "TablePreview"


@pytest.mark.parametrize(
    ("entry", "file_format"),
    [
        ({"type": "pandas.CSVDataset", "filepath": "https://a.org/t.csv?x=1", "load_args": {"sep": ";"}}, "csv"),
        ({"type": "pandas.ParquetDataset", "filepath": "http://a.org/t.parquet"}, "parquet"),
        ({"type": "pandas.ExcelDataset", "filepath": "https://a.org/t.xls"}, "xls"),
        ({"type": "pandas.ExcelDataset", "filepath": "https://a.org/t.xlsx"}, "xlsx"),
        ({"type": "pandas.JSONDataset", "filepath": "https://a.org/t.json", "load_args": {"lines": True}}, "jsonl"),
        ({"type": "pandas.JSONDataset", "filepath": "https://a.org/t.json"}, None),
        ({"type": "pandas.CSVDataset", "filepath": "data/t.csv"}, None),
        ({"type": "pandas.CSVDataset", "filepath": "https://a.org/t.csv", "fs_args": {"headers": {"a": "b"}}}, None),
        ({"type": "MemoryDataset"}, None),
    ],
)
def test_a_plain_entry_with_a_url_is_a_source(entry: dict[str, object], file_format: str | None) -> None:
    source = dataset_source(DataCatalog.from_config({"t": entry})["t"])
    if file_format is None:
        assert source is None
    else:
        assert isinstance(source, UrlSource)
        assert (source.url, source.file_format) == (entry["filepath"], file_format)
        assert source.load_args == {name: value for name, value in entry.get("load_args", {}).items() if name != "lines"}  # type: ignore[attr-defined]


def test_an_entry_whose_load_args_no_script_can_hold_is_not_a_source() -> None:
    entry = {"type": "pandas.CSVDataset", "filepath": "https://a.org/t.csv", "load_args": {"date_parser": str}}
    assert dataset_source(DataCatalog.from_config({"t": entry})["t"]) is None


def test_a_chart_without_plotly_is_an_error_that_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    dataset = TrainingHistoryDataset(filepath=str(tmp_path / "h.json"))
    dataset.save(pd.DataFrame({"round": [1]}))
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ConfigError, match=r"kedro-cloudtrain\[viz\]"):
        dataset.preview()


def s3_entry(**more: object) -> object:
    config = {"type": "pandas.CSVDataset", "filepath": "s3://abc123xyz/datasets/a.csv", "credentials": "volume", **more}
    keys = {"key": "user_1", "secret": "rps_2", "client_kwargs": {"endpoint_url": "https://s3api-eu-ro-1.runpod.io/"}}
    catalog = DataCatalog.from_config({"a": config}, {"volume": keys, "other": {"key": "a", "secret": "b"}})
    return catalog["a"]


def test_an_entry_on_runpods_s3_is_a_key_on_the_network_volume() -> None:
    entry = s3_entry(load_args={"sep": ";"})
    source = dataset_source(entry)
    assert isinstance(source, VolumeSource)
    assert (source.key, dict(source.load_args)) == ("datasets/a.csv", {"sep": ";"})
    volume = dataset_volume(entry)
    assert volume == make_volume({"id": "abc123xyz", "data_center": "EU-RO-1"})
    assert "rps_2" not in repr(volume)


def test_an_entry_on_another_s3_server_is_not_a_source() -> None:
    entry = s3_entry(credentials="other")
    assert dataset_source(entry) is None
    with pytest.raises(SourceError, match="not on a volume"):
        dataset_volume(entry)


def test_one_model_and_many_are_told_apart_by_either_dataset(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/model.json").write_text("{}")
    (tmp_path / "many").mkdir()
    (tmp_path / "many/models.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"holds the models of many groups: write `type: kedro_cloudtrain\.ModelsDataset`"):
        ModelDataset(filepath=str(tmp_path / "many")).load()
    with pytest.raises(DatasetError, match=r"holds one model: write `type: kedro_cloudtrain\.ModelDataset`"):
        ModelsDataset(filepath=str(tmp_path / "one")).load()
    with pytest.raises(DatasetError, match="There is no model in"):
        ModelDataset(filepath=str(tmp_path / "none")).load()
