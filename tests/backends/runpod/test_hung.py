"""A volume, or RunPod's API, that accepts and does not answer: a run that is ended is over within seconds, and says what it leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest
from support.cloud import Cloud
from support.kedro_project import Project, run_on_pods
from support.waiting import wait_until

from kedro_cloudtrain.errors import ApiError
from kedro_cloudtrain.rehearsal.storage import StorageFault
from kedro_cloudtrain.storage import silence
from kedro_cloudtrain.storage.silence import Silence

LISTEN = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL)"
AT_WORK = """
import os, time
from pathlib import Path

Path(os.environ["CLOUDTRAIN_VOLUME"], "at-work").write_text("yes")
time.sleep(600)
"""
# What a loaded machine may add to the four seconds that a run has.
WITHIN_S = 9.0


@pytest.fixture
def shop(project: Project, cloud: Cloud) -> Project:
    run_on_pods(project, cloud.volume_id)
    project.write("templates/mine.py.j2", AT_WORK)
    project.write("conf/base/parameters.yml", "mass: {model_type: mine, target_column: body_mass_g}\n")
    return project


# The main thread loses what the signal raises in it, as it does where that comes into a `__del__`.
LOSE = """
import kedro.runner.runner as runner
from concurrent.futures import wait

def lossy(*args, **more):
    while True:
        try:
            return wait(*args, **more)
        except SystemExit:
            pass

runner.wait = lossy
"""


def start(shop: Project, before: str = "") -> subprocess.Popen[str]:
    code = f"{before}\n{LISTEN}; runpy.run_module('kedro', run_name='__main__')"
    command = [sys.executable, "-c", code, "run", "--runner=cloudtrain", "--env=runpod"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=shop.path, env=shop.environment(), start_new_session=True, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def hang(cloud: Cloud, part: str = "") -> None:
    """Let the volume accept every request about a file, and answer none."""
    cloud.s3.faults += [StorageFault(method, part, 0, delay_s=60, times=999) for method in ("GET", "PUT", "HEAD", "DELETE", "POST")]


def ended(process: subprocess.Popen[str], number: signal.Signals) -> tuple[float, str]:
    began = time.monotonic()
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    return time.monotonic() - began, output


def test_a_run_whose_volume_hangs_ends_soon_and_without_its_pod(shop: Project, cloud: Cloud) -> None:
    # The pod is there, and the client hangs before it watches the pod: as it writes the pod's id beside its claim.
    hang(cloud, "machine.json")
    cloud.s3.faults.insert(0, StorageFault("PUT", "machine.json", 0, times=1))
    cloud.s3.faults.insert(0, StorageFault("GET", "machine.json", 0, times=999))
    process = start(shop)
    wait_until(lambda: len(cloud.runpod.living) == 1)
    seconds, output = ended(process, signal.SIGTERM)
    assert (seconds < WITHIN_S, process.returncode, cloud.runpod.living) == (True, 143, []), output
    assert "Traceback" not in output


def test_a_run_whose_main_thread_has_lost_the_signal_ends_soon_and_without_its_pod(shop: Project, cloud: Cloud) -> None:
    process = start(shop, LOSE)
    wait_until((cloud.bucket / "at-work").exists)
    seconds, output = ended(process, signal.SIGTERM)
    assert (seconds < WITHIN_S, process.returncode, cloud.runpod.living) == (True, 143, []), output
    assert "Traceback" not in output


def test_a_pod_that_a_hung_api_does_not_end_stands_in_the_last_lines(shop: Project, cloud: Cloud) -> None:
    process = start(shop)
    wait_until((cloud.bucket / "at-work").exists)
    cloud.runpod.faults.slow("DELETE /v2/pods/*", 60, times=99)
    cloud.runpod.faults.slow("GET /v2/pods", 60, times=99)
    seconds, output = ended(process, signal.SIGHUP)
    (pod,) = cloud.runpod.living
    assert seconds < WITHIN_S
    assert process.returncode == 129, output
    assert f"Pod {pod.id} is still there, at $0.43 an hour" in output
    assert "kedro cloudtrain reap" in output
    assert f"RunPod's API ({cloud.runpod.base_url}) does not answer" in output
    pod.end()


def test_a_second_ctrl_c_ends_at_once(shop: Project, cloud: Cloud) -> None:
    process = start(shop)
    wait_until((cloud.bucket / "at-work").exists)
    cloud.runpod.faults.slow("DELETE /v2/pods/*", 60, times=99)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    seconds, output = ended(process, signal.SIGINT)
    assert seconds < 2.5
    assert process.returncode == 130
    (pod,) = cloud.runpod.living
    assert pod.id in output
    pod.end()


def test_one_line_names_a_silent_volume_for_all_threads(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(silence, "_FIRST_LINE_S", 0.6)
    monkeypatch.setattr(silence, "_LOOK_EVERY_S", 0.1)
    cloud.s3.faults += [StorageFault("GET", "hung", 0, delay_s=2, times=99)]
    closed = threading.Event()
    volume = cloud.volume.until(closed, 300)
    with caplog.at_level("INFO", "kedro.cloudtrain"):
        threads = [threading.Thread(target=volume.read_bytes, args=(f"hung-{number}.json",)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    lines = [record.getMessage() for record in caplog.records]
    silent = [line for line in lines if "has not answered" in line]
    assert len(silent) == 1
    assert silent[0].startswith(f"The S3 API of the volume {cloud.volume_id} in EU-RO-1 ({cloud.s3.endpoint_url}) has not answered for 1 s")
    assert "waiting for hung-" in silent[0]
    assert "(and 19 more), until " in silent[0]
    assert any(line.endswith("answers again.") for line in lines)


def test_a_silence_is_borne_for_one_time_however_often_it_is_asked(cloud: Cloud) -> None:
    volume = cloud.volume
    cloud.s3.faults += [StorageFault("GET", "", 502, times=999)]
    began = time.monotonic()
    with pytest.raises(ApiError, match=r"run\.answer_timeout_s is 0\.7.*Check that it can be reached from here, and run again"):
        volume.until(threading.Event(), 0.7).read_bytes("a.json")
    assert time.monotonic() - began < 5
    again = time.monotonic()
    with pytest.raises(ApiError, match="answer_timeout_s"):
        volume.read_bytes("b.json")  # the silence is the server's, not the file's
    assert time.monotonic() - again < 5
    closed = threading.Event()
    closed.set()
    with pytest.raises(ApiError, match="the run is over"):
        volume.until(closed, 300).read_bytes("a.json")


def test_bytes_that_pass_are_no_silence() -> None:
    server = Silence("A server", 0.2)
    with server.wait("a file") as wait:
        for _ in range(4):
            time.sleep(0.1)
            server.moved()
            assert not server.is_over(wait)
        time.sleep(0.3)
        assert server.is_over(wait)
