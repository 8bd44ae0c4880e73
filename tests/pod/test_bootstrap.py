"""The first program on a pod, piece by piece in this process; as a whole, on pods, it is tested elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.cloud import Cloud
from support.package_index import wheel
from support.waiting import wait_until
from uv import find_uv_bin

from kedro_cloudtrain.pod import ending, environment, heartbeat, host, job_folder, start
from kedro_cloudtrain.pod.log import Log, run_logged

SMI = """#!/bin/sh
case "$*" in
*--query-gpu=*) printf '%s' "$SMI_SAYS";;
*) echo "CUDA Version: 12.4";;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job folder on a volume, in which the bootstrap lies."""
    place = tmp_path / "volume/.cloudtrain/jobs/train-1"
    place.mkdir(parents=True)
    monkeypatch.setattr(job_folder, "FOLDER", place)
    monkeypatch.setattr(job_folder, "VOLUME", tmp_path / "volume")
    monkeypatch.setattr(job_folder, "CHILD", tmp_path / "child.pid")
    monkeypatch.setattr(environment, "DISK", tmp_path / "disk")
    monkeypatch.setattr(job_folder, "READ_AGAIN_S", 0.01)
    monkeypatch.setenv("CLOUDTRAIN_ATTEMPT", "abc")
    monkeypatch.setenv("RUNPOD_POD_ID", "pod1")
    return place


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A driver whose answer the test sets."""
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(SMI)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return lambda answer: monkeypatch.setenv("SMI_SAYS", answer)


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The image's own uv."""
    program = tmp_path / "image/uv"
    program.parent.mkdir()
    program.symlink_to(find_uv_bin())
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.fixture
def log(folder: Path):
    with (folder / "log.txt").open("a", buffering=1) as file:
        yield Log(file)


def write_machine(folder: Path, **more: object) -> dict:
    machine = {
        "attempt": "abc",
        "timeout_s": 20.0,
        "lifetime_s": 60.0,
        "heartbeat_every_s": 0.05,
        "requirements": [],
        "environment": "0123456789abcdef",
        **more,
    }
    (folder / "machine.new").write_text(json.dumps(machine))
    (folder / "machine.new").replace(folder / "machine.json")
    return machine


def test_a_job_is_begun_by_its_own_attempt_and_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job_folder.read_own_machine() == {}
    machine = write_machine(folder)
    assert job_folder.read_own_machine() == machine
    assert start.claim_job(machine)
    assert not start.claim_job(machine)
    assert not start.claim_job({**machine, "attempt": "other"})
    assert not start.claim_job({**machine, "pod": "pod2"})
    printed = capsys.readouterr().out
    for part in ("begun before", "the job waits for attempt 'other'", "the job belongs to pod pod2"):
        assert part in printed


@pytest.mark.parametrize(
    ("script", "state", "message"),
    [
        ("from pathlib import Path; Path('result.json').write_text('{\"state\": \"succeeded\"}')", "succeeded", ""),
        ("raise SystemExit(3)", "failed", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "lost", "SIGKILL (out of memory, often)"),
        ("import time; time.sleep(600)", "timed out", "deadline of 0.5 s"),
    ],
)
def test_every_end_of_a_script_leaves_a_result(folder: Path, script: str, state: str, message: str) -> None:
    (folder / "train.py").write_text(script)
    (folder / "result.json").write_text('{"state": "of an earlier attempt"}')
    (folder / "outputs").mkdir()
    began = time.time()
    start.run_once(write_machine(folder, timeout_s=0.5 if state == "timed out" else 20.0))
    outcome = result(folder)
    assert outcome["state"] == state
    if message:
        assert message in outcome["error"]["message"]
        assert outcome["attempt"] == "abc"
        assert began <= outcome["started_at"] <= outcome["finished_at"] - (0.5 if state == "timed out" else 0.0)
    assert not (folder / "outputs").exists()
    assert "Python" in (folder / "log.txt").read_text()
    wait_until((folder / "heartbeat.json").exists)
    assert json.loads((folder / "heartbeat.json").read_text())["attempt"] == "abc"


def test_a_host_is_checked_before_the_fit(folder: Path, driver) -> None:
    machine = write_machine(folder, gpu="NVIDIA L4", gpu_count=1, min_cuda_version="12.1")
    driver("NVIDIA L4, 570, 23034\n")
    assert "NVIDIA L4 · 570 · 23034" in host.check_machine(machine)
    for changed, answer, message in (
        ({"min_cuda_version": "12.8"}, "NVIDIA L4, 570, 23034\n", "CUDA 12.4, and the job needs 12.8"),
        ({"gpu_count": 2}, "NVIDIA L4, 570, 23034\n", "1 GPUs on this host, which is billed for 2"),
        ({}, "", "0 GPUs on this host, which is billed for 1"),
    ):
        driver(answer)
        with pytest.raises(host.MachineError, match=message):
            host.check_machine({**machine, **changed})
    (folder / "train.py").write_text("")
    start.run_once(machine)
    assert result(folder)["error"]["type"] == "MachineError"


def test_a_full_disk_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_LEAST_DISK_BYTES", 10**18)
    with pytest.raises(host.MachineError, match="GB left, and a job needs 1e\\+09 GB"):
        host.check_machine(write_machine(folder))


def test_a_host_has_the_memory_that_was_asked_for(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       62500000 kB\nMemFree: 1 kB\n")
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(host, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(host, "_MEMORY_LIMITS", (tmp_path / "nowhere", tmp_path / "memory.max"))
    assert "64 GB of memory" in host.check_machine(write_machine(folder, min_ram_gb=64))
    (tmp_path / "memory.max").write_text("32000000000\n")
    assert "32 GB of memory" in host.check_machine(write_machine(folder))
    with pytest.raises(host.MachineError, match=r"has 32 GB of memory for the job, which needs 64 GB: lower min_ram_gb"):
        host.check_machine(write_machine(folder, min_ram_gb=64))
    (tmp_path / "meminfo").unlink()
    (tmp_path / "memory.max").unlink()
    assert "of memory" not in host.check_machine(write_machine(folder, min_ram_gb=64))


def test_a_heartbeat_counts_and_shows_how_busy_the_gpu_is(folder: Path, driver) -> None:
    driver("87, 1024\n")
    with contextlib.closing(heartbeat.Heartbeat(write_machine(folder, gpu="NVIDIA L4"))):
        wait_until(lambda: (folder / "heartbeat.json").exists() and json.loads((folder / "heartbeat.json").read_text())["number"] > 2)
    beat = json.loads((folder / "heartbeat.json").read_text())
    assert (beat["gpu_percent"], beat["gpu_memory_mb"], beat["stage"]) == (87.0, 1024.0, "machine")


def test_a_job_that_belongs_to_another_pod_is_ended(folder: Path, log, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(heartbeat, "end_pod", ended.set)
    machine = write_machine(folder)

    def give_to_another_pod() -> None:
        wait_until(lambda: "started" in (folder / "log.txt").read_text())
        write_machine(folder, attempt="")

    with contextlib.closing(heartbeat.Heartbeat(machine)):
        threading.Thread(target=give_to_another_pod, daemon=True).start()
        program = "import time; print('started', flush=True); time.sleep(600)"
        returncode = run_logged([sys.executable, "-c", program], log, dict(os.environ))
        assert returncode == -signal.SIGKILL
        assert ended.wait(60)


def test_what_fails_before_the_script_leaves_a_result_and_its_reason_in_the_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "train.py").write_text("")
    monkeypatch.setattr(start, "make_environment", lambda *_: str(folder / "no-python"))
    start.run_once(write_machine(folder))
    outcome = result(folder)
    assert (outcome["state"], outcome["error"]["type"]) == ("failed", "FileNotFoundError")
    for part in ("the pod failed before the script began: FileNotFoundError: ", "no-python"):
        assert part in outcome["error"]["message"]
        assert part in (folder / "log.txt").read_text()


def test_the_images_own_python_runs_a_job_without_requirements(folder: Path, log) -> None:
    assert environment.make_environment(write_machine(folder), log) == sys.executable


def test_an_environment_is_packed_for_the_next_pod_and_a_broken_one_is_made_anew(folder: Path, log, uv: Path, tmp_path: Path) -> None:
    file, content = wheel("tinyfit", "1.0", code="ANSWER = 42")
    (folder / file).write_bytes(content)
    machine = write_machine(folder, requirements=[f"tinyfit @ {(folder / file).as_uri()}"])
    kept = tmp_path / "volume/.cloudtrain/environments/0123456789abcdef.tar"

    def answer_of_new_pod() -> str:
        shutil.rmtree(tmp_path / "disk", ignore_errors=True)
        python = environment.make_environment(machine, log)
        assert Path(python).is_relative_to(tmp_path / "disk")
        return subprocess.run([python, "-c", "import tinyfit; print(tinyfit.ANSWER)"], capture_output=True, check=True, text=True).stdout

    assert answer_of_new_pod() == "42\n"
    assert sorted(path.name for path in kept.parent.iterdir()) == ["0123456789abcdef.json", "0123456789abcdef.tar"]
    used = json.loads(kept.with_suffix(".json").read_text())
    assert used["bytes"] == kept.stat().st_size
    (folder / file).unlink()
    assert answer_of_new_pod() == "42\n"
    assert "exists: nothing to install" in (folder / "log.txt").read_text()
    assert json.loads(kept.with_suffix(".json").read_text())["used_at"] > used["used_at"]
    (folder / file).write_bytes(content)
    whole = kept.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"what is this"):
        kept.write_bytes(broken)
        assert answer_of_new_pod() == "42\n"
        assert len(kept.read_bytes()) > len(whole) // 2
    assert (folder / "log.txt").read_text().count("is broken, and is made anew") == 3


def test_an_environment_that_cannot_be_kept_still_runs_its_job_with_a_uv_that_pip_installs(
    folder: Path, log, uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, content = wheel("tinyfit", "1.0", code="ANSWER = 42")
    (folder / file).write_bytes(content)
    machine = write_machine(folder, requirements=[f"tinyfit @ {(folder / file).as_uri()}"])
    (tmp_path / "volume/.cloudtrain/environments").write_text("in the way of the folder")
    monkeypatch.setenv("PATH", os.defpath)  # an image without uv
    assert shutil.which("uv") is None
    assert Path(environment.make_environment(machine, log)).exists()
    assert "cannot be kept on the volume" in (folder / "log.txt").read_text()
    monkeypatch.setenv("PATH", str(uv.parent))
    monkeypatch.setenv("CLOUDTRAIN_COURIER", "1")  # without a volume there is nothing to keep it on
    shutil.rmtree(tmp_path / "disk")
    assert Path(environment.make_environment(machine, log)).exists()


def test_an_environment_that_cannot_be_made_leaves_nothing(folder: Path, log, uv: Path) -> None:
    machine = write_machine(folder, requirements=[f"nosuch @ file://{folder}/nosuch-1.0-py3-none-any.whl"])
    with pytest.raises(environment.InstallError, match="cannot be installed"):
        environment.make_environment(machine, log)
    assert list((folder.parents[1] / "environments").glob("*")) == []
    start.run_once({**machine, "requirements": ["six @ file://nowhere"]})
    assert result(folder)["error"]["type"] == "InstallError"


def test_a_pod_is_ended_by_each_way_in_turn(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pod = cloud.runpod.put("mine")
    monkeypatch.setenv("RUNPOD_POD_ID", pod.id)
    monkeypatch.setenv("RUNPOD_API_KEY", pod.key)
    monkeypatch.delenv("CLOUDTRAIN_COURIER", raising=False)
    cloud.runpod.faults.answer("POST /v2/pods/*/action", 403)

    class OverError(Exception):
        """The ways go on for ever; the test does not."""

    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            raise OverError

    monkeypatch.setattr(ending, "sleep", pause)
    with pytest.raises(OverError):
        ending.end_pod()
    wait_until(lambda: pod.gone)  # the stand-in ends a pod in a thread of its own
    assert pauses == [2.0, 2.0, 2.0, 2.0, 5.0]
    printed = capsys.readouterr().out
    for part in ("action: 403", f"DELETE {cloud.runpod.base_url}/v2/pods/{pod.id}: 204", "graphql: ", "runpodctl remove pod"):
        assert part in printed


def test_the_watchdog_ends_the_job_with_a_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(ending, "end_pod", lambda: ended.append(1))
    waited: list[float] = []
    monkeypatch.setattr(ending, "sleep", waited.append)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    job_folder.CHILD.write_text(str(child.pid))
    write_machine(folder, lifetime_s=7200.0)
    ending.watch(3600.0)
    assert child.wait(60) == -signal.SIGKILL
    assert result(folder)["state"] == "timed out"
    assert result(folder)["error"]["message"] == "its pod's deadline of 3600 s has passed"
    assert (sum(waited), ended) == (3600.0, [1])


def test_the_watchdog_learns_of_a_nearer_deadline_of_its_own_attempt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "end_pod", lambda: None)
    for attempt, lives_s in (("abc", 100.0), ("another", 300.0)):
        waited: list[float] = []
        monkeypatch.setattr(ending, "sleep", waited.append)
        write_machine(folder, lifetime_s=100.0, attempt=attempt)
        ending.watch(300.0)
        assert sum(waited) == pytest.approx(lives_s, abs=15.0)


def test_a_result_is_waited_for_until_it_is_delivered_but_not_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds
        if delivered_at is not None and now[0] >= delivered_at:
            (folder / "delivered").touch()

    monkeypatch.setattr(ending, "sleep", pause)
    monkeypatch.setattr(ending, "monotonic", lambda: now[0])
    delivered_at = None
    (folder / "result.json").write_text("{}")
    ending._await_delivery()
    assert now[0] == 0, "this pod has no courier"
    monkeypatch.setenv("CLOUDTRAIN_COURIER", "1")
    ending._await_delivery()
    assert now[0] == pytest.approx(ending._DELIVERY_S, abs=0.3)
    now[0], delivered_at = 0.0, 5.0
    ending._await_delivery()
    assert now[0] == pytest.approx(5.0)
    (folder / "result.json").unlink()
    (folder / "delivered").unlink()
    now[0] = 0.0
    ending._await_delivery()
    assert now[0] == 0, "without a result there is nothing to deliver"
