"""A volume is the same to its users, whether it is a directory, a network volume or a bucket; only the network fails in its own ways."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import botocore.endpoint
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, Version
from support.cloud import DATA_CENTER, SECRETS, Cloud
from support.kedro_project import PENGUINS

from kedro_cloudtrain import CloudDataset
from kedro_cloudtrain.errors import ApiError, AuthError, CloudTrainError, ConfigError, SourceError
from kedro_cloudtrain.rehearsal import ACCESS_KEY, SECRET_KEY
from kedro_cloudtrain.rehearsal.storage import StorageFault
from kedro_cloudtrain.storage import s3_calls
from kedro_cloudtrain.storage.bucket import Bucket
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.multipart import PART_BYTES
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from kedro_cloudtrain.storage.volumes import Volume, make_volume

KEYS = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}


def bucket_of(cloud: Cloud, name: str | None = None, **keys: str) -> Bucket:
    return Bucket(name or cloud.volume_id, "eu-central-1", cloud.s3.endpoint_url, KEYS | keys)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, here and within botocore; a clock that other threads see is not touched."""
    monkeypatch.setattr(s3_calls, "sleep", lambda *_: None)
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture(params=["directory", "network volume", "bucket"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    if request.param == "directory":
        return DirectoryVolume(tmp_path / "volume")
    cloud: Cloud = request.getfixturevalue("cloud")
    return cloud.volume if request.param == "network volume" else bucket_of(cloud)


class TestEachKind:
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

    def test_a_missing_file_is_missing_to_each_method(self, volume: Volume, tmp_path: Path) -> None:
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

    def test_a_folder_is_not_a_file(self, volume: Volume) -> None:
        volume.write_bytes("folder/file", b"x")
        assert not volume.exists("folder")

    def test_a_file_is_written_whole_or_not_at_all(self, volume: Volume) -> None:
        volume.write_bytes("t.csv", b"before")
        with pytest.raises(ZeroDivisionError), volume.write("t.csv") as path:
            path.write_bytes(b"half" * (1 // 0))
        assert volume.read_bytes("t.csv") == b"before"
        with volume.write("t.csv") as path:
            path.write_bytes(b"after")
        assert volume.read_bytes("t.csv") == b"after"

    def test_a_file_that_the_volume_has_is_not_uploaded_again(self, volume: Volume, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_bytes(b"x" * 1000)
        steps: list[int] = []
        assert volume.upload(file, "d/file", steps.append) is True
        assert volume.upload(file, "d/file", steps.append) is False
        assert steps == [1000, 1000]
        file.write_bytes(b"y" * 1000)
        assert volume.upload(file, "d/file") is True
        assert volume.read_bytes("d/file") == b"y" * 1000
        volume.download("d/file", tmp_path / "deep/copy", steps.append)
        assert (tmp_path / "deep/copy").read_bytes() == b"y" * 1000
        assert sum(steps) == 3000
        with pytest.raises(SourceError, match="There is no file"):
            volume.upload(tmp_path / "none", "d/none")

    def test_a_file_with_another_content_has_another_identity(self, volume: Volume) -> None:
        volume.write_bytes("i.csv", b"one")
        if isinstance(volume, DirectoryVolume):  # Written so long ago that a write now cannot fall into the same tick of the clock.
            os.utime(volume.path("i.csv"), (1, 1))
        first = volume.identity("i.csv")
        assert first.size == 3
        assert volume.identity("i.csv") == first
        volume.write_bytes("i.csv", b"one")
        assert volume.identity("i.csv") == first, "the same content again is the same file"
        volume.write_bytes("i.csv", b"twos")
        assert volume.identity("i.csv") != first

    @pytest.mark.parametrize("key", ["../a", "a/../b", "/a", "a//b", "a/./b", ""])
    def test_a_key_that_leads_out_is_refused(self, volume: Volume, key: str) -> None:
        for ask in (volume.exists, volume.read_bytes, lambda key: volume.write_bytes(key, b"")):
            with pytest.raises(SourceError, match=f"is not a valid key {re.escape(volume.where)}"):
                ask(key)

    def test_a_deleted_file_is_gone(self, volume: Volume) -> None:
        volume.write_bytes("a/x", b"x")
        volume.delete("a/x")
        assert not volume.exists("a/x")

    def test_many_threads_write_at_once(self, volume: Volume) -> None:
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


KEY = "out/t.parquet"
FIRST, SECOND, THIRD = (f"2026-0{month}-01T00.00.00.000Z" for month in (1, 2, 3))


@pytest.mark.parametrize("kind", ["directory", "network volume", "bucket"])
def test_a_versioned_table_is_kept_as_kedro_keeps_its_own(kind: str, cloud: Cloud, tmp_path: Path) -> None:
    url = cloud.s3.endpoint_url
    places = {
        "directory": {"path": str(tmp_path)},
        "network volume": {"id": cloud.volume_id, "data_center": DATA_CENTER, "endpoint_url": url},
        "bucket": {"bucket": cloud.volume_id, "region": "eu-central-1", "endpoint_url": url},
    }
    config = {"type": "kedro_cloudtrain.CloudDataset", "dataset_key": KEY, "volume": places[kind], "versioned": True}
    keys = {} if kind == "directory" else {"credentials": "keys"}

    def entry(save: str, load: str | None = None, **more: object) -> CloudDataset:
        made = DataCatalog.from_config(
            {"t": {**config, **keys, **more}}, {"keys": KEYS}, save_version=save, load_versions={"t": load} if load else None
        )
        dataset = made["t"]
        assert isinstance(dataset, CloudDataset)
        return dataset

    first = entry(FIRST)
    assert not first.exists()
    with pytest.raises(DatasetError, match=rf"There is no version of {KEY} .*: kedro cloudtrain upload FILE {KEY}/VERSION/t.parquet"):
        first.load()
    first.save(pd.DataFrame({"x": [1]}))
    entry(SECOND).save(pd.DataFrame({"x": [2]}))
    root = tmp_path if kind == "directory" else cloud.bucket
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("t.parquet") if path.is_file()) == [
        f"{KEY}/{FIRST}/t.parquet",
        f"{KEY}/{SECOND}/t.parquet",
    ]
    # Within a run, what it has saved is what it loads; any other run loads the latest.
    latest = entry(THIRD)
    assert [int(dataset.load()["x"].iloc[0]) for dataset in (first, latest, entry(THIRD, FIRST))] == [1, 2, 1]
    assert latest.exists()
    assert latest.resolve_load_version() == SECOND
    assert latest.list_versions(full_path=False) == [SECOND, FIRST]
    # A folder in which a save has not ended is not a version.
    (root / KEY / "2027-01-01T00.00.00.000Z").mkdir(parents=True)
    latest.release()
    assert latest.resolve_load_version() == SECOND
    assert not entry(THIRD, THIRD).exists()
    with pytest.raises(DatasetError, match=f"There is no version {THIRD} of {KEY} .*The latest: {SECOND}, {FIRST}"):
        entry(THIRD, THIRD).load()
    with pytest.raises(DatasetError, match="exists already, and each save makes a version"):
        entry(FIRST).save(pd.DataFrame({"x": [3]}))
    # `catalog.load(name, version=…)` loads it by a copy, and leaves the entry as it is.
    catalog = DataCatalog({"t": latest})
    assert [int(catalog.load("t", version=version)["x"].iloc[0]) for version in (FIRST, None)] == [1, 2]
    # Without `versioned` it is one table, and there is none.
    assert not entry(THIRD, versioned=False).exists()
    with pytest.raises(DatasetError, match="is not a version of"):
        entry(THIRD, "a/b").load()


def test_a_table_that_was_there_before_its_versions_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x\n1\n")
    dataset = CloudDataset(dataset_key="t.csv", volume={"path": str(tmp_path)}, version=Version(None, None))
    with pytest.raises(DatasetError, match=r"is one table without versions\. .* move it to t.csv/VERSION/t.csv"):
        dataset.load()
    with pytest.raises(DatasetError, match="is a file, and has to be a folder"):
        dataset.save(pd.DataFrame({"x": [1]}))


def test_a_training_on_a_network_volume_is_of_the_versions_key_and_size(cloud: Cloud) -> None:
    place = {"id": cloud.volume_id, "data_center": DATA_CENTER, "endpoint_url": cloud.s3.endpoint_url}
    table = pd.read_csv(PENGUINS)
    for version, rows in ((FIRST, 100), (SECOND, 200)):
        cloud.volume.write_bytes(f"d/t.parquet/{version}/t.parquet", table.head(rows).to_parquet())
    jobs = [
        cloud.job(data=CloudDataset(dataset_key="d/t.parquet", volume=place, credentials=KEYS, version=Version(load, None)).source)
        for load in (None, SECOND, FIRST)
    ]
    keys = [job.spec["sources"]["data"]["dataset_key"] for job in jobs]
    assert keys == [f"d/t.parquet/{version}/t.parquet" for version in (SECOND, SECOND, FIRST)]
    # A pod's machine is chosen by the rows.
    workloads = [dataclasses.replace(job.order, to_pod=True).workload({}) for job in jobs]  # type: ignore[type-var]
    assert [workload.rows for workload in workloads] == [200, 200, 100]


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "xlsx"])
def test_a_look_at_a_large_table_downloads_little_of_it(cloud: Cloud, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id": "abc", "data_center": "EU-XX-1"}, r"'EU-XX-1', which has no S3 API.*EU-CZ-1.*volume\.endpoint_url"),
        ({"id": "abc", "data_center": "EU-RO1"}, "Did you mean `EU-RO-1`"),
        ({"id": "abc"}, r"volume\.data_center is None"),
        ({"id": "abc", "path": "x", "data_center": "EU-RO-1"}, r"a directory \(path\) and a network volume \(id\) at once"),
        ({"bucket": "b", "id": "a"}, "a network volume .* and a bucket at once"),
        ({"bucket": " "}, "for example my-jobs"),
        ({"id": "abc", "datacenter": "EU-RO-1"}, "Did you mean `data_center`"),
    ],
)
def test_an_impossible_volume_is_refused_with_the_reason(config: dict, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_S3_ENDPOINT_URL", raising=False)
    with pytest.raises(ConfigError, match=message):
        make_volume(config)


def test_two_stores_of_one_name_are_one_volume_and_two_kinds_are_not(cloud: Cloud) -> None:
    again = NetworkVolume(cloud.volume_id, DATA_CENTER, cloud.s3.endpoint_url)
    assert again == cloud.volume
    assert len({again, cloud.volume, bucket_of(cloud), bucket_of(cloud)}) == 2
    assert (again.mounted, again.data_center) == (True, DATA_CENTER)
    assert (bucket_of(cloud).mounted, bucket_of(cloud).data_center) == (False, None)


@pytest.fixture
def no_keys(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """No S3 keys anywhere that boto3 looks for them."""
    for name in ("RUNPOD_S3_ACCESS_KEY", "RUNPOD_S3_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)


@pytest.mark.usefixtures("no_keys")
def test_wrong_keys_no_keys_and_no_such_volume_are_told_apart(cloud: Cloud) -> None:
    url = cloud.s3.endpoint_url
    with pytest.raises(AuthError, match=r"The volume .* does not accept the S3 keys .*RUNPOD_S3_ACCESS_KEY"):
        NetworkVolume(cloud.volume_id, DATA_CENTER, url, {**KEYS, "secret_key": "rps_wrong"}).exists("a")
    with pytest.raises(AuthError, match=r"There are no S3 keys for the volume .*RUNPOD_S3_ACCESS_KEY"):
        NetworkVolume(cloud.volume_id, DATA_CENTER, url).exists("a")
    with pytest.raises(ConfigError, match=r"There is no volume nosuch in EU-RO-1: check volume\.id"):
        NetworkVolume("nosuch", DATA_CENTER, url, KEYS).read_bytes("a")


@pytest.mark.usefixtures("no_keys")
def test_the_errors_of_a_bucket_speak_of_a_bucket_and_of_its_own_keys(cloud: Cloud) -> None:
    errors = []
    for kind, attempt in (
        (AuthError, lambda: bucket_of(cloud, secret_key="wrong").exists("a")),
        (AuthError, lambda: Bucket(cloud.volume_id, "eu-central-1", cloud.s3.endpoint_url).exists("a")),
        (ConfigError, lambda: bucket_of(cloud, "nosuch").read_bytes("a")),
        (SourceError, lambda: bucket_of(cloud).identity("a/none.csv")),
        (SourceError, lambda: bucket_of(cloud).exists("../a")),
    ):
        with pytest.raises(kind) as caught:
            attempt()
        errors.append(str(caught.value))
    wrong_keys, no_keys, no_bucket, no_file, no_key = errors
    assert f"The bucket {cloud.volume_id} does not accept the S3 keys" in wrong_keys
    assert f"There are no S3 keys for the bucket {cloud.volume_id}. Set AWS_ACCESS_KEY_ID" in no_keys
    assert no_bucket == "There is no bucket nosuch: check volume.bucket, volume.region and volume.endpoint_url."
    assert f"There is no a/none.csv in the bucket {cloud.volume_id}." in no_file
    assert f"is not a valid key in the bucket {cloud.volume_id}." in no_key
    assert not [error for error in errors if "RUNPOD" in error or "the volume" in error]


@pytest.mark.no_cover
@pytest.mark.parametrize("status", [500, 502, 503, 524, None])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_call_that_fails_for_a_moment_is_tried_again(cloud: Cloud, method: str, status: int | None, tmp_path: Path) -> None:
    volume = cloud.volume
    volume.write_bytes("there", b"x" * 5000)
    cloud.s3.faults.append(StorageFault(method, "there", status, times=3))
    volume.write_bytes("there", b"y" * 5000)
    volume.download("there", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"y" * 5000
    volume.delete("there")
    assert not volume.exists("there")


def test_a_volume_that_never_answers_is_an_error_with_its_address(cloud: Cloud, no_pauses: None) -> None:
    cloud.s3.faults.append(StorageFault("GET", "", 502, times=999))
    with pytest.raises(ApiError, match=rf"did not answer for a in 10 tries \(502\)\. Its S3 API: {re.escape(cloud.s3.endpoint_url)}"):
        cloud.volume.read_bytes("a")


@pytest.mark.parametrize(("status", "message"), [(507, "is full: a does not fit"), (413, "too large in one piece"), (401, "S3 keys")])
def test_a_refusal_that_another_try_does_not_change_is_not_tried_again(cloud: Cloud, status: int, message: str) -> None:
    cloud.s3.faults.append(StorageFault("PUT", "", status, times=99))
    with pytest.raises(CloudTrainError, match=message):
        cloud.volume.write_bytes("a", b"x")
    assert [method for method, _ in cloud.s3.requests].count("PUT") == 1


def test_a_directory_whose_head_is_a_400_is_not_a_file(cloud: Cloud) -> None:
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


def test_a_large_file_is_uploaded_in_parts_and_a_lost_last_answer_is_a_success(cloud: Cloud, large: Path) -> None:
    cloud.s3.faults += [StorageFault("PUT", "partNumber=2", 502), StorageFault("POST", "uploadId", 524, passed_on=True)]
    steps: list[int] = []
    assert cloud.volume.upload(large, "big/large.bin", steps.append) is True
    assert sum(steps) == large.stat().st_size
    assert (cloud.bucket / "big/large.bin").read_bytes() == large.read_bytes()
    assert len(parts_sent(cloud)) == 4
    assert cloud.volume.upload(large, "big/large.bin") is False
    assert not [path for method, path in cloud.s3.requests if method == "GET" and ("list-type" in path or path.endswith("?delete"))]


@pytest.mark.parametrize(("method", "part", "whole"), [("PUT", "lost.bin", False), ("POST", "uploadId", True)], ids=["small", "large"])
def test_an_upload_that_was_said_to_succeed_is_looked_at(
    cloud: Cloud, large: Path, tmp_path: Path, method: str, part: str, whole: bool
) -> None:
    small = tmp_path / "small.bin"
    small.write_bytes(b"x" * 1000)
    # The store says yes, and keeps nothing.
    cloud.s3.faults.append(StorageFault(method, part, 200))
    with pytest.raises(SourceError, match=r"nothing arrived as big/lost\.bin on the volume .*Upload it again"):
        cloud.volume.upload(large if whole else small, "big/lost.bin")
    assert cloud.volume.upload(large if whole else small, "big/lost.bin") is True
    assert (cloud.bucket / "big/lost.bin").read_bytes() == (large if whole else small).read_bytes()


def test_an_upload_that_broke_off_is_resumed(cloud: Cloud, large: Path, no_pauses: None) -> None:
    cloud.s3.faults.append(StorageFault("PUT", "partNumber=3", 502, times=99))
    with pytest.raises(ApiError, match="did not answer"):
        cloud.volume.upload(large, "big/large.bin")
    cloud.s3.faults.clear()
    cloud.s3.requests.clear()
    assert cloud.volume.upload(large, "big/large.bin") is True
    assert len(parts_sent(cloud)) == 1
    assert (cloud.bucket / "big/large.bin").read_bytes() == large.read_bytes()


def test_a_download_that_broke_off_is_resumed(cloud: Cloud, large: Path, tmp_path: Path) -> None:
    cloud.volume.upload(large, "large.bin")
    cloud.s3.faults.append(StorageFault("GET", "large.bin", None, times=2))
    steps: list[int] = []
    cloud.volume.download("large.bin", tmp_path / "copy", steps.append)
    assert (tmp_path / "copy").read_bytes() == large.read_bytes()
    assert sum(steps) == large.stat().st_size
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".copy")] == []
