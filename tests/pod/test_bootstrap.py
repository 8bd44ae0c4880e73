"""What a pod runs first, piece by piece in this process; as a whole, on pods, it is tested elsewhere."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
import zipfile
from pathlib import Path

import pytest
from runpod_stand_in import ACCESS_KEY, SECRET_KEY
from support.cloud import Cloud
from support.waiting import wait_until

from kedro_cloudtrain.pod import bootstrap, courier
from kedro_cloudtrain.storage.bucket import Bucket

SMI = """#!/bin/sh
case "$*" in
*--query-gpu=*) printf '%s' "$SMI_SAYS";;
*) echo "CUDA Version: 12.4";;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job folder on a volume, where the bootstrap finds itself."""
    place = tmp_path / "volume/.cloudtrain/jobs/train-1"
    place.mkdir(parents=True)
    monkeypatch.setattr(bootstrap, "FOLDER", place)
    monkeypatch.setattr(bootstrap, "VOLUME", tmp_path / "volume")
    monkeypatch.setattr(bootstrap, "_CHILD", tmp_path / "child.pid")
    monkeypatch.setattr(bootstrap, "_LOOK_AGAIN_S", 0.01)
    monkeypatch.setenv("CLOUDTRAIN_ATTEMPT", "abc")
    monkeypatch.setenv("RUNPOD_POD_ID", "pod1")
    return place


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A driver that says what it is told to."""
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(SMI)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return lambda said: monkeypatch.setenv("SMI_SAYS", said)


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def say(folder: Path, **machine: object) -> dict:
    said = {"attempt": "abc", "timeout_s": 20.0, "lifetime_s": 60.0, "heartbeat_every_s": 0.05, "requirements": [], **machine}
    (folder / "machine.json").write_text(json.dumps(said))
    return said


def test_a_job_is_begun_by_its_own_attempt_and_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap._own_machine() == {}
    machine = say(folder)
    assert bootstrap._own_machine() == machine
    assert bootstrap._first_time(machine)
    assert not bootstrap._first_time(machine)
    assert not bootstrap._first_time({**machine, "attempt": "other"})
    assert not bootstrap._first_time({**machine, "pod": "pod2"})
    said = capsys.readouterr().out
    for part in ("begun before", "'other' is the one that is wanted", "pod pod2 has this job"):
        assert part in said


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        ("from pathlib import Path; Path('result.json').write_text('{\"state\": \"succeeded\"}')", "succeeded", ""),
        ("raise SystemExit(3)", "failed", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "lost", "SIGKILL (out of memory, often)"),
        ("import time; time.sleep(60)", "timed out", "deadline of 0.5 s"),
    ],
)
def test_every_end_of_a_script_leaves_a_result(folder: Path, script: str, state: str, said: str) -> None:
    (folder / "train.py").write_text(script)
    (folder / "result.json").write_text('{"state": "of an earlier attempt"}')
    (folder / "outputs").mkdir()
    bootstrap._run(say(folder, timeout_s=0.5 if state == "timed out" else 20.0))
    found = result(folder)
    assert found["state"] == state
    if said:
        assert said in found["error"]["message"]
        assert found["attempt"] == "abc"
    assert not (folder / "outputs").exists()
    assert "Python" in (folder / "log.txt").read_text()
    assert json.loads((folder / "heartbeat.json").read_text())["attempt"] == "abc"


def test_a_host_is_looked_at_before_the_fit(folder: Path, driver) -> None:
    machine = say(folder, gpu="NVIDIA L4", gpu_count=1, min_cuda_version="12.1")
    driver("NVIDIA L4, 570, 23034\n")
    assert "NVIDIA L4 · 570 · 23034" in bootstrap.check_machine(machine)
    for changed, text, said in (
        ({"min_cuda_version": "12.8"}, "NVIDIA L4, 570, 23034\n", "CUDA 12.4, where 12.8 was asked for"),
        ({"gpu_count": 2}, "NVIDIA L4, 570, 23034\n", "1 GPUs on this host, where 2 are paid for"),
        ({}, "", "shows no GPU"),
    ):
        driver(text)
        with pytest.raises(bootstrap.MachineError, match=said):
            bootstrap.check_machine({**machine, **changed})
    (folder / "train.py").write_text("")
    bootstrap._run(machine)
    assert result(folder)["error"]["type"] == "MachineError"


def test_a_full_disk_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_LEAST_DISK_BYTES", 10**18)
    with pytest.raises(bootstrap.MachineError, match="GB left: too little to work with"):
        bootstrap.check_machine(say(folder))


def test_a_heartbeat_counts_and_tells_how_busy_the_gpu_is(folder: Path, driver) -> None:
    driver("87, 1024\n")
    with bootstrap.Heartbeat(say(folder, gpu="NVIDIA L4")):
        wait_until(lambda: (folder / "heartbeat.json").exists() and json.loads((folder / "heartbeat.json").read_text())["number"] > 2)
    said = json.loads((folder / "heartbeat.json").read_text())
    assert (said["gpu_percent"], said["gpu_memory_mb"], said["stage"]) == (87.0, 1024.0, "machine")


def test_a_job_that_is_taken_away_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(bootstrap, "end_pod", lambda: ended.append(1))
    machine = say(folder)
    with bootstrap.Log(folder / "log.txt") as log, bootstrap.Heartbeat(machine):
        import threading

        timer = threading.Timer(0.3, lambda: say(folder, attempt=""))
        timer.start()
        began = time.monotonic()
        returncode = bootstrap._tee([sys.executable, "-c", "import time; time.sleep(60)"], log, dict(os.environ))
    assert returncode == -signal.SIGKILL
    assert time.monotonic() - began < 30
    assert ended


def test_the_images_own_python_does_where_nothing_is_to_be_installed(folder: Path) -> None:
    with bootstrap.Log(folder / "log.txt") as log:
        assert bootstrap.make_environment(say(folder), log) == sys.executable


def test_an_environment_that_cannot_be_made_leaves_nothing(folder: Path) -> None:
    machine = say(folder, requirements=[f"nosuch @ file://{folder}/nosuch-1.0-py3-none-any.whl"])
    with bootstrap.Log(folder / "log.txt") as log, pytest.raises(bootstrap.EnvironmentError_, match="cannot be installed"):
        bootstrap.make_environment(machine, log)
    assert list((folder.parents[1] / "environments").glob("*")) == []
    with bootstrap.Log(folder / "log.txt") as log:
        machine["requirements"] = ["six @ file://nowhere"]
    bootstrap._run(machine)
    assert result(folder)["error"]["type"] == "EnvironmentError"


def test_a_pod_is_ended_by_each_way_in_turn(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pod = cloud.runpod.put("mine")
    monkeypatch.setenv("RUNPOD_POD_ID", pod.id)
    monkeypatch.setenv("RUNPOD_API_KEY", pod.key)
    monkeypatch.delenv("CLOUDTRAIN_COURIER", raising=False)
    cloud.runpod.faults.answer("POST /v2/pods/*/action", 403)

    class OverError(Exception):
        """The ways go on for ever; the test does not."""

    pauses: list[float] = []

    sleep = time.sleep

    def pause(seconds: float) -> None:
        if seconds < 1:
            sleep(seconds)  # the stand-in's own
            return
        pauses.append(seconds)
        if len(pauses) == 4:
            raise OverError

    monkeypatch.setattr(bootstrap.time, "sleep", pause)
    with pytest.raises(OverError):
        bootstrap.end_pod()
    assert pod.gone
    said = capsys.readouterr().out
    for part in ("action: 403", f"DELETE {cloud.runpod.base_url}/v2/pods/{pod.id}: 204", "graphql: ", "runpodctl remove pod"):
        assert part in said


def test_the_watchdog_ends_the_job_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(bootstrap, "end_pod", lambda: ended.append(1))
    import subprocess

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    bootstrap._CHILD.write_text(str(child.pid))
    bootstrap.watch(0.05)
    assert child.wait(10) == -signal.SIGKILL
    assert result(folder)["state"] == "timed out"
    assert ended


def test_a_result_that_is_there_to_be_delivered_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDTRAIN_COURIER", "1")
    monkeypatch.setattr(bootstrap, "_COURIER_S", 0.3)
    began = time.monotonic()
    bootstrap._await_courier()
    assert time.monotonic() - began < 0.2
    (folder / "result.json").write_text("{}")
    bootstrap._await_courier()
    assert time.monotonic() - began >= 0.3


# ------------------------------------------------------------------ the courier of a pod without a volume


def test_the_courier_brings_what_is_signed_and_takes_back_what_is_written(
    cloud: Cloud, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket(cloud.volume_id, "eu-central-1", cloud.s3.endpoint_url, {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY})
    bucket.write_bytes("job/machine.json", b'{"attempt": "abc"}')
    names = ("log.txt", "progress.jsonl", "heartbeat.json", "outputs.zip", "result.json")
    said = {
        "read": {"machine.json": bucket.presigned("job/machine.json", 600)},
        "write": {name: bucket.presigned(f"job/{name}", 600, write=True) for name in names},
    }
    monkeypatch.setattr(courier, "_EVERY_S", 0.05)
    (folder / "log.txt").write_text("one\n")
    (folder / "outputs").mkdir()
    (folder / "outputs/metrics.json").write_text("{}")
    import threading

    mirror = threading.Thread(target=courier.mirror, args=(folder, said))
    mirror.start()
    wait_until(lambda: bucket.read_bytes("job/log.txt") == b"one\n")
    wait_until((folder / "machine.json").exists)
    (folder / "log.txt").write_text("one\ntwo\n")
    (folder / "result.json").write_text('{"state": "succeeded"}')
    mirror.join(30)
    assert (folder / "delivered").exists()
    assert bucket.read_bytes("job/log.txt") == b"one\ntwo\n"
    assert bucket.read_bytes("job/result.json") == b'{"state": "succeeded"}'
    bucket.download("job/outputs.zip", folder / "back.zip")
    assert zipfile.ZipFile(folder / "back.zip").namelist() == ["outputs/metrics.json"]


def test_a_url_that_is_refused_is_named_by_its_status_alone(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier.time, "sleep", lambda _: None)
    with pytest.raises(OSError, match=r"^GET: 40\d$"):
        courier.get(f"{cloud.s3.endpoint_url}/{cloud.volume_id}/none?X-Amz-Signature=secret")
    with pytest.raises(OSError, match=r"^PUT: URLError$"):
        courier.put("http://127.0.0.1:9/x?secret", b"")
