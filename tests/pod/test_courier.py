"""The first program on a pod without a volume, piece by piece in this process; as a whole, on pods, it is tested elsewhere."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import pytest
from support.cloud import Cloud
from support.waiting import wait_until

from kedro_cloudtrain.pod import courier
from kedro_cloudtrain.rehearsal import ACCESS_KEY, SECRET_KEY
from kedro_cloudtrain.storage.bucket import Bucket


def test_signed_files_come_to_the_pod_and_written_files_go_to_the_bucket(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    bucket = Bucket(cloud.volume_id, "eu-central-1", cloud.s3.endpoint_url, {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY})
    bucket.write_bytes("job/machine.json", b'{"attempt": "abc"}')
    names = ("log.txt", "progress.jsonl", "heartbeat.json", "outputs.zip", "result.json")
    store = {
        "read": {"machine.json": bucket.presigned("job/machine.json", 600)},
        "write": {name: bucket.presigned(f"job/{name}", 600, write=True) for name in names},
    }
    monkeypatch.setattr(courier, "_EVERY_S", 0.05)
    (folder / "log.txt").write_text("one\n")
    (folder / "outputs").mkdir()
    (folder / "outputs/metrics.json").write_text("{}")
    mirror = threading.Thread(target=courier.mirror, args=(folder, store), daemon=True)
    mirror.start()
    wait_until(lambda: bucket.read_bytes("job/log.txt") == b"one\n")
    wait_until((folder / "machine.json").exists)
    (folder / "log.txt").write_text("one\ntwo\n")
    (folder / "result.json").write_text('{"state": "succeeded"}')
    mirror.join(60)
    assert not mirror.is_alive()
    assert (folder / "delivered").exists()
    assert bucket.read_bytes("job/log.txt") == b"one\ntwo\n"
    assert bucket.read_bytes("job/result.json") == b'{"state": "succeeded"}'
    bucket.download("job/outputs.zip", folder / "back.zip")
    assert zipfile.ZipFile(folder / "back.zip").namelist() == ["outputs/metrics.json"]


def test_a_url_that_is_refused_is_named_by_its_status_only(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(courier, "sleep", pauses.append)
    with pytest.raises(OSError, match=r"^GET: 40\d$"):
        courier.get(f"{cloud.s3.endpoint_url}/{cloud.volume_id}/none?X-Amz-Signature=secret")
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0]
    with pytest.raises(OSError, match=r"^PUT: URLError$"):
        courier.put("http://127.0.0.1:9/x?secret", b"")
