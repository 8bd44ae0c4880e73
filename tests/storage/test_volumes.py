"""A volume is the same to its users, be it a directory or RunPod's S3 API; what only the network can do wrong is told apart."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError
from runpod_stand_in import ACCESS_KEY, SECRET_KEY
from runpod_stand_in.storage import StorageFault
from support.cloud import DATA_CENTER, SECRETS, Cloud
from support.kedro_project import PENGUINS

from kedro_cloudtrain import CloudDataset
from kedro_cloudtrain.errors import ApiError, AuthError, CloudTrainError, ConfigError, SourceError
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.multipart import PART_BYTES
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from kedro_cloudtrain.storage.volumes import Volume, make_volume

KEYS = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}


@pytest.fixture(params=["directory", "network"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    """Each kind of volume."""
    if request.param == "directory":
        return DirectoryVolume(tmp_path / "volume")
    return request.getfixturevalue("cloud").volume


class TestBothKinds:
    def test_what_is_written_is_read(self, volume: Volume) -> None:
        volume.write_bytes("a/b/c.bin", b"0123456789")
        assert volume.exists("a/b/c.bin")
        assert volume.read_bytes("a/b/c.bin") == b"0123456789"
        assert volume.read_bytes("a/b/c.bin", 4) == b"456789"
        assert volume.read_bytes("a/b/c.bin", 4, 3) == b"456"
        assert volume.read_bytes("a/b/c.bin", 10) == b""
        assert volume.read_bytes("a/b/c.bin", 99) == b""
        with volume.read("a/b/c.bin") as path:
            assert path.read_bytes() == b"0123456789"

    def test_what_is_not_there_is_not_there(self, volume: Volume, tmp_path: Path) -> None:
        assert not volume.exists("a/none.csv")
        assert volume.read_bytes("a/none.csv") is None
        volume.delete("a/none.csv")
        with pytest.raises(SourceError, match=r"There is no a/none\.csv"), volume.read("a/none.csv"):
            pass
        with pytest.raises(SourceError, match="a/none"):
            volume.identity("a/none.csv")
        with pytest.raises(SourceError, match="a/none"):
            volume.download("a/none.csv", tmp_path / "here.csv")
        assert not (tmp_path / "here.csv").exists()

    def test_a_folder_is_no_file(self, volume: Volume) -> None:
        volume.write_bytes("folder/file", b"x")
        assert not volume.exists("folder")

    def test_a_file_is_put_there_whole_or_not_at_all(self, volume: Volume) -> None:
        volume.write_bytes("t.csv", b"before")
        with pytest.raises(ZeroDivisionError), volume.write("t.csv") as path:
            path.write_bytes(b"half" * (1 // 0))
        assert volume.read_bytes("t.csv") == b"before"
        with volume.write("t.csv") as path:
            path.write_bytes(b"after")
        assert volume.read_bytes("t.csv") == b"after"

    def test_what_is_there_already_is_not_sent_again(self, volume: Volume, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_bytes(b"x" * 1000)
        told: list[int] = []
        assert volume.upload(file, "d/file", told.append) is True
        assert volume.upload(file, "d/file", told.append) is False
        assert told == [1000, 1000]
        file.write_bytes(b"y" * 1000)
        assert volume.upload(file, "d/file") is True
        assert volume.read_bytes("d/file") == b"y" * 1000
        volume.download("d/file", tmp_path / "deep/copy", told.append)
        assert (tmp_path / "deep/copy").read_bytes() == b"y" * 1000
        assert sum(told) == 3000
        with pytest.raises(SourceError, match="There is no file"):
            volume.upload(tmp_path / "none", "d/none")

    def test_a_file_has_another_identity_when_it_is_another(self, volume: Volume) -> None:
        volume.write_bytes("i.csv", b"one")
        first = volume.identity("i.csv")
        assert first.size == 3
        assert volume.identity("i.csv") == first
        time.sleep(0.01)
        volume.write_bytes("i.csv", b"one")
        assert volume.identity("i.csv") == first, "what is written again is no other"
        volume.write_bytes("i.csv", b"twos")
        assert volume.identity("i.csv") != first

    @pytest.mark.parametrize("key", ["../a", "a/../b", "/a", "a//b", "a/./b", ""])
    def test_a_key_that_leads_out_is_refused(self, volume: Volume, key: str) -> None:
        for ask in (volume.exists, volume.read_bytes, lambda key: volume.write_bytes(key, b"")):
            with pytest.raises(SourceError, match="is no place on the volume"):
                ask(key)

    def test_deleted_is_gone(self, volume: Volume) -> None:
        volume.write_bytes("a/x", b"x")
        volume.delete("a/x")
        assert not volume.exists("a/x")

    def test_many_write_at_once(self, volume: Volume) -> None:
        threads = [
            threading.Thread(target=lambda number=number: [volume.write_bytes(f"many/{number}/{file}", b"x" * 999) for file in range(5)])
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(volume.read_bytes(f"many/{number}/{file}") == b"x" * 999 for number in range(8) for file in range(5))


def entry(cloud: Cloud, key: str = "datasets/penguins.csv") -> CloudDataset:
    place = {"id": cloud.volume_id, "data_center": DATA_CENTER, "endpoint_url": cloud.s3.endpoint_url}
    return CloudDataset(dataset_key=key, volume=place, credentials=KEYS)


def test_a_dataset_on_a_network_volume_is_loaded_saved_and_described(cloud: Cloud) -> None:
    dataset = entry(cloud)
    assert dataset.exists()
    frame = dataset.load()
    assert len(frame) == 344
    copy = entry(cloud, "out/copy.parquet")
    assert not copy.exists()
    copy.save(frame)
    assert (cloud.bucket / "out/copy.parquet").is_file()
    pd.testing.assert_frame_equal(copy.load(), frame)
    for secret in SECRETS:
        assert secret not in str(dataset)
        assert secret not in repr(vars(dataset.volume).get("name", ""))
    with pytest.raises(DatasetError, match=r"There is no out/none\.csv on the volume"):
        entry(cloud, "out/none.csv").load()


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "xlsx"])
def test_a_look_at_a_large_table_brings_little_of_it(cloud: Cloud, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.concat([pd.read_csv(PENGUINS)] * (5 if kind == "xlsx" else 300), ignore_index=True)
    frame["noise"] = frame.index * 1.37
    dataset = entry(cloud, f"big.{kind}")
    if kind == "parquet":
        with dataset.volume.write("big.parquet") as path:
            frame.to_parquet(path, row_group_size=5000)
    else:
        dataset.save(frame)
    size = (cloud.bucket / f"big.{kind}").stat().st_size
    ranges = count_bytes(monkeypatch)
    assert dataset.column_names() == list(frame.columns)
    assert dataset.preview(3)["columns"] == list(frame.columns)
    assert len(dataset.head(3)) == 3
    if kind != "xlsx":
        assert sum(ranges) < size / 2  # three looks


def count_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    read = NetworkVolume.read_bytes

    def counting(volume: NetworkVolume, key: str, start: int = 0, size: int | None = None) -> bytes | None:
        content = read(volume, key, start, size)
        counted.append(len(content or b""))
        return content

    monkeypatch.setattr(NetworkVolume, "read_bytes", counting)
    return counted


# ------------------------------------------------------------------ what a user may get wrong


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"id": "abc", "data_center": "EU-XX-1"}, r"'EU-XX-1', which has no S3 API.*EU-CZ-1.*volume\.endpoint_url"),
        ({"id": "abc", "data_center": "EU-RO1"}, "Did you mean `EU-RO-1`"),
        ({"id": "abc"}, r"volume\.data_center is None"),
        ({"id": "abc", "path": "x", "data_center": "EU-RO-1"}, r"a directory \(path\) and a network volume \(id\) at once"),
        ({"bucket": "b", "id": "a"}, "a network volume .* and a bucket at once"),
        ({"bucket": " "}, "my-jobs say"),
        ({"id": "abc", "datacenter": "EU-RO-1"}, "Did you mean `data_center`"),
    ],
)
def test_a_volume_that_cannot_be_is_said(config: dict, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_S3_ENDPOINT_URL", raising=False)
    with pytest.raises(ConfigError, match=said):
        make_volume(config)


def test_wrong_keys_no_keys_and_no_such_volume_are_told_apart(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    url = cloud.s3.endpoint_url
    with pytest.raises(AuthError, match="does not accept the S3 keys"):
        NetworkVolume(cloud.volume_id, DATA_CENTER, url, {**KEYS, "secret_key": "rps_wrong"}).exists("a")
    for name in ("RUNPOD_S3_ACCESS_KEY", "RUNPOD_S3_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(AuthError, match="There are no S3 keys"):
        NetworkVolume(cloud.volume_id, DATA_CENTER, url).exists("a")
    with pytest.raises(ConfigError, match="There is no volume nosuch in EU-RO-1"):
        NetworkVolume("nosuch", DATA_CENTER, url, KEYS).read_bytes("a")


# ------------------------------------------------------------------ what the network does


@pytest.mark.parametrize("status", [500, 502, 503, 524, None])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_volume_that_stumbles_is_asked_again(cloud: Cloud, method: str, status: int | None, tmp_path: Path) -> None:
    volume = cloud.volume
    volume.write_bytes("there", b"x" * 5000)
    cloud.s3.faults.append(StorageFault(method, "there", status, times=3))
    volume.write_bytes("there", b"y" * 5000)
    volume.download("there", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"y" * 5000
    volume.delete("there")
    assert not volume.exists("there")


def test_a_volume_that_never_answers_is_said(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedro_cloudtrain.storage.network_volume.time.sleep", lambda _: None)
    cloud.s3.faults.append(StorageFault("GET", "", 502, times=999))
    with pytest.raises(ApiError, match=r"did not answer for a in 10 tries \(502\)"):
        cloud.volume.read_bytes("a")


@pytest.mark.parametrize(("status", "said"), [(507, "is full: a does not fit"), (413, "too large in one piece"), (401, "S3 keys")])
def test_a_refusal_that_no_try_mends_is_said_at_once(cloud: Cloud, status: int, said: str) -> None:
    cloud.s3.faults.append(StorageFault("PUT", "", status, times=99))
    with pytest.raises(CloudTrainError, match=said):
        cloud.volume.write_bytes("a", b"x")
    assert len([one for one in cloud.s3.requests if one[0] == "PUT"]) == 1


def test_a_directory_whose_head_is_a_400_is_no_file(cloud: Cloud) -> None:
    cloud.s3.faults.append(StorageFault("HEAD", "folder", 400))
    assert not cloud.volume.exists("folder")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large.bin"
    piece = os.urandom(1024 * 1024)
    with file.open("wb") as stream:
        for number in range(PART_BYTES * 2 // len(piece) + 5):
            stream.write(number.to_bytes(8, "big") + piece[8:])
    return file


def parts_sent(cloud: Cloud) -> list[str]:
    return [path for method, path in cloud.s3.requests if method == "PUT" and "partNumber" in path]


def test_a_large_file_goes_in_parts_and_a_lost_end_is_a_success(cloud: Cloud, large: Path) -> None:
    cloud.s3.faults += [StorageFault("PUT", "partNumber=2", 502), StorageFault("POST", "uploadId", 524, passed_on=True)]
    told: list[int] = []
    assert cloud.volume.upload(large, "big/large.bin", told.append) is True
    assert sum(told) == large.stat().st_size
    assert (cloud.bucket / "big/large.bin").read_bytes() == large.read_bytes()
    assert len(parts_sent(cloud)) == 4
    assert cloud.volume.upload(large, "big/large.bin") is False
    assert not [path for method, path in cloud.s3.requests if method == "GET" and ("list-type" in path or path.endswith("?delete"))]


def test_an_upload_that_broke_goes_on_where_it_was(cloud: Cloud, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedro_cloudtrain.storage.network_volume.time.sleep", lambda _: None)
    cloud.s3.faults.append(StorageFault("PUT", "partNumber=3", 502, times=99))
    with pytest.raises(ApiError, match="did not answer"):
        cloud.volume.upload(large, "big/large.bin")
    cloud.s3.faults.clear()
    cloud.s3.requests.clear()
    assert cloud.volume.upload(large, "big/large.bin") is True
    assert len(parts_sent(cloud)) == 1
    assert (cloud.bucket / "big/large.bin").read_bytes() == large.read_bytes()


def test_a_download_that_broke_goes_on_where_it_was(cloud: Cloud, large: Path, tmp_path: Path) -> None:
    cloud.volume.upload(large, "large.bin")
    cloud.s3.faults.append(StorageFault("GET", "large.bin", None, times=2))
    told: list[int] = []
    cloud.volume.download("large.bin", tmp_path / "copy", told.append)
    assert (tmp_path / "copy").read_bytes() == large.read_bytes()
    assert sum(told) == large.stat().st_size
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".copy")] == []
