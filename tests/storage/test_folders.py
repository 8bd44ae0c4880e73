"""A table that is a folder of parquet parts, as Spark writes it, on this computer and on an S3 server; and a folder that is not a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from kedro_cloudtrain import CloudDataset
from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.rehearsal import ACCESS_KEY, SECRET_KEY
from kedro_cloudtrain.storage.bucket import Bucket
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import make_source
from kedro_cloudtrain.storage.volumes import table_location
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.tables import column_names, read_head, read_table

if TYPE_CHECKING:
    from kedro_cloudtrain.storage.volumes import Volume

KEYS = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
KEY = "datasets/flats.parquet"
FRAME = pd.DataFrame({"name": ["a", "b", "c", "d", "e"], "area": [1.5, 2.5, 3.5, 4.5, 5.5]})


@pytest.fixture(params=["directory", "network volume", "bucket"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    if request.param == "directory":
        return DirectoryVolume(tmp_path / "volume")
    cloud = request.getfixturevalue("cloud")
    return cloud.volume if request.param == "network volume" else Bucket(cloud.volume_id, "eu-central-1", cloud.s3.endpoint_url, KEYS)


def put(volume: Volume, name: str, frame: pd.DataFrame | None = None) -> None:
    with volume.write(f"{KEY}/{name}") as path:
        if frame is None:
            path.write_bytes(b"")
        else:
            frame.to_parquet(path, index=False)


@pytest.fixture
def table(volume: Volume) -> Volume:
    put(volume, "part-00000-c000.snappy.parquet", FRAME.iloc[:0].astype(FRAME.dtypes))
    put(volume, "part-00001-c000.snappy.parquet", FRAME.iloc[:2])
    put(volume, "part-00002-c000.snappy.parquet", FRAME.iloc[2:])
    for name in ("_SUCCESS", "._SUCCESS.crc", ".part-00001-c000.snappy.parquet.crc"):
        put(volume, name)
    return volume


def test_the_parts_are_one_table(table: Volume) -> None:
    assert table.exists(KEY)
    with table.read(KEY) as path:
        location = Location(str(path))
        pd.testing.assert_frame_equal(read_table(location).frame, FRAME)
        pd.testing.assert_frame_equal(read_table(location, columns=["area"]).frame, FRAME[["area"]])
        assert read_head(location, rows=1)["name"].tolist() == ["a"]
    look = table_location(make_source(None, KEY), table)
    assert column_names(look) == ["name", "area"]
    assert len(read_head(look, rows=1)) == 1


def test_a_part_that_is_changed_added_or_taken_away_makes_another_table(table: Volume) -> None:
    identities = [table.identity(KEY)]
    assert table.identity(KEY) == identities[0]
    assert identities[0].is_certain
    put(table, "_SUCCESS")
    assert table.identity(KEY) == identities[0]
    put(table, "part-00002-c000.snappy.parquet", FRAME.iloc[2:].assign(area=0.5))
    identities.append(table.identity(KEY))
    put(table, "part-00003-c000.snappy.parquet", FRAME.iloc[:1])
    identities.append(table.identity(KEY))
    table.delete(f"{KEY}/part-00001-c000.snappy.parquet")
    identities.append(table.identity(KEY))
    assert len(set(identities)) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prices.csv", r"is a folder that holds prices\.csv\. A table is one file"),
        ("_temporary/0/part-00000.parquet", "still being written"),
        ("_delta_log/00000.json", "is a Delta table"),
        ("year=2024/part-00000.parquet", r"partitions \(year=2024"),
    ],
)
def test_a_folder_that_is_no_table_says_what_it_is(volume: Volume, name: str, message: str) -> None:
    put(volume, name)
    if not name.endswith("csv"):
        put(volume, "part-00000.parquet", FRAME)
    assert not volume.exists(KEY)
    with pytest.raises(SourceError, match=message):
        volume.identity(KEY)
    with pytest.raises(SourceError, match=message), volume.read(KEY):
        pass


def test_a_key_of_nothing_is_still_missing(volume: Volume) -> None:
    assert not volume.exists(KEY)
    with pytest.raises(SourceError, match=rf"There is no {KEY}"):
        volume.identity(KEY)


def test_a_machine_reads_the_parts_of_its_volume_and_refuses_other_folders(tmp_path: Path) -> None:
    volume = DirectoryVolume(tmp_path)
    put(volume, "part-00000.parquet", FRAME)
    put(volume, "part-00001.parquet", FRAME.assign(floor=[1, 2, 3, 4, 5]))
    table = read_table(Location(str(tmp_path / KEY)), columns=["floor", "area"], float32=["area"])
    assert table.frame["floor"].isna().tolist() == [True] * 5 + [False] * 5
    assert table.bytes_read == sum(path.stat().st_size for path in (tmp_path / KEY).iterdir())
    assert column_names(Location(str(tmp_path / KEY))) == ["name", "area", "floor"]
    with pytest.raises(InputError, match="set file_format to parquet"):
        read_table(Location(str(tmp_path / KEY), "csv"))
    with pytest.raises(InputError, match="is a folder that holds flats"):
        read_table(Location(str(tmp_path / "datasets"), "csv"))


def test_a_folder_is_loaded_by_its_entry_and_not_replaced_or_downloaded_as_a_file(tmp_path: Path) -> None:
    volume = DirectoryVolume(tmp_path)
    put(volume, "part-00000.parquet", FRAME)
    dataset = CloudDataset(dataset_key=KEY, volume={"path": str(tmp_path)})
    assert dataset.exists()
    pd.testing.assert_frame_equal(dataset.load(), FRAME)
    assert dataset.column_names() == ["name", "area"]
    with pytest.raises(SourceError, match="is a folder, which no file replaces"), volume.write(KEY):
        pass
    with pytest.raises(SourceError, match="download its files one by one"):
        volume.download(KEY, tmp_path / "here.parquet")
