"""A job's folder on the volume: what it takes with it when it is deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cloud import Cloud

from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.worker import protocol


@pytest.fixture
def remote(cloud: Cloud) -> RemoteFolder:
    """A job with every file that a job may have on a volume, after an attempt that was revoked, one that failed and one that succeeded."""
    folder = JobFolder(cloud.volume.folder(f"{protocol.JOBS}/train-0123456789ab"))
    folder.path.mkdir(parents=True)
    written = dict.fromkeys(protocol.ON_VOLUME, "x") | {
        "outputs/metrics.json": "{}",
        "outputs/model/a.bin": "a",
        "outputs/model/b.bin": "b",
        f"{protocol.CHECKPOINT}/round-7/model.ubj": "a model",
        f"{protocol.CHECKPOINT}/{protocol.LATEST}": json.dumps({"folder": "round-7", "files": {"model.ubj": 7}}),
        protocol.RESULT: json.dumps(
            {
                "state": "succeeded",
                "attempt": "cccccccc",
                "outputs": {
                    "metrics": {"path": "outputs/metrics.json", "size": 2},
                    "model": {"path": "outputs/model", "size": 2, "files": ["outputs/model/a.bin", "outputs/model/b.bin"]},
                },
            }
        ),
        protocol.HEARTBEAT: json.dumps({"attempt": "bbbbbbbb", "number": 3}),
        protocol.MACHINE: json.dumps({"attempt": "", "name": "cloudtrain-shop--train-0123456789ab-aaaaaaaa"}),
    }
    written |= {f"{protocol.STARTED}{attempt * 8}": "" for attempt in "abc"}
    on_volume = cloud.bucket / protocol.JOBS / folder.name
    for name, text in written.items():
        (on_volume / name).parent.mkdir(parents=True, exist_ok=True)
        (on_volume / name).write_text(text)
    cloud.s3.requests.clear()
    return RemoteFolder(folder, cloud.volume)


def files(cloud: Cloud) -> list[str]:
    jobs = cloud.bucket / protocol.JOBS
    return sorted(str(file.relative_to(jobs)) for file in jobs.rglob("*") if file.is_file())


def deleted(cloud: Cloud) -> list[str]:
    return [Path(path).name.partition("?")[0] for method, path in cloud.s3.requests if method == "DELETE"]


def test_a_job_is_deleted_with_every_file_that_it_has_on_the_volume_the_result_first(cloud: Cloud, remote: RemoteFolder) -> None:
    other = cloud.bucket / protocol.JOBS / "train-ba9876543210" / protocol.RESULT
    other.parent.mkdir()
    other.write_text("{}")
    remote.delete_job()
    assert files(cloud) == [f"train-ba9876543210/{protocol.RESULT}"]
    assert deleted(cloud)[0] == protocol.RESULT
    assert len(deleted(cloud)) == len(set(deleted(cloud)))
    assert not [path for _, path in cloud.s3.requests if "list-type" in path or path.endswith("?delete")]


def test_a_deletion_that_broke_after_the_result_still_finds_the_outputs(cloud: Cloud, remote: RemoteFolder) -> None:
    remote.result()  # The mirror has it, as after every look at a job.
    remote.delete([protocol.RESULT])
    remote.delete_job()
    assert files(cloud) == []


@pytest.mark.parametrize("broken", [protocol.RESULT, protocol.HEARTBEAT, protocol.MACHINE, f"{protocol.CHECKPOINT}/{protocol.LATEST}"])
def test_a_file_that_cannot_be_read_does_not_stop_the_deletion(cloud: Cloud, remote: RemoteFolder, broken: str) -> None:
    (cloud.bucket / protocol.JOBS / remote.folder.name / broken).write_text("not JSON")
    remote.delete_job()
    assert not [name for name in files(cloud) if Path(name).name in protocol.ON_VOLUME]


def test_a_job_without_a_file_on_the_volume_is_deleted_without_an_error(cloud: Cloud) -> None:
    folder = JobFolder(cloud.volume.folder(f"{protocol.JOBS}/train-none"))
    folder.path.mkdir(parents=True)
    RemoteFolder(folder, cloud.volume).delete_job()
    assert files(cloud) == []
