"""Send SIGTERM to a run while something hangs, and print how long its process goes on.

    python benchmarks/hung.py

`kedro run --env=runpod` on the stand-in meets a volume, or RunPod's API, that accepts every request and answers none: from its beginning,
while it sends a job, while a pod is being made, while the pod works. The process has to be over within five seconds with 143, and no pod
may be left that its last lines do not name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_cloud import Cloud, environment_of, make_slow_project, start_cloud, start_s3

from kedro_cloudtrain.rehearsal.storage import StorageFault

WITHIN_S = 5.0


def hang_volume(cloud: Cloud, part: str = "") -> None:
    """Answer no request about a file of the volume."""
    cloud.s3.faults += [StorageFault(method, f"{cloud.volume_id}*{part}", 0, delay_s=600, times=9999) for method in ("GET", "PUT", "HEAD")]


def hang_api(cloud: Cloud, *calls: str) -> None:
    """Answer no request of these kinds."""
    for call in calls:
        cloud.runpod.faults.slow(call, 600, times=9999)


def working(cloud: Cloud) -> bool:
    """Return whether a pod is at work."""
    return any((cloud.bucket / ".cloudtrain/jobs").glob("*/progress.jsonl"))


def asked_for_script(cloud: Cloud) -> bool:
    """Return whether a job is being sent."""
    return any("train.py" in path for _, path in cloud.s3.requests if cloud.volume_id in path)


def soon(_: Cloud) -> bool:
    """Wait for nothing but the beginning of a run."""
    time.sleep(5)
    return True


CASES: list[tuple[str, Callable[[Cloud], object], Callable[[Cloud], bool], Callable[[Cloud], object]]] = [
    ("the volume, from the beginning", hang_volume, soon, lambda _: None),
    (
        "the volume, while a job is sent",
        lambda cloud: hang_volume(cloud, "train.py"),
        asked_for_script,
        lambda _: None,
    ),
    ("the volume, while the pod works", lambda _: None, working, hang_volume),
    ("the API, while a pod is made", lambda cloud: hang_api(cloud, "POST /v2/pods"), soon, lambda _: None),
    ("the API, while the pod works", lambda _: None, working, lambda cloud: hang_api(cloud, "DELETE /v2/pods/*", "GET /v2/pods")),
    ("both, while the pod works", lambda _: None, working, lambda cloud: (hang_volume(cloud), hang_api(cloud, "DELETE /v2/pods/*"))),
]


def main() -> None:
    """Try each case."""
    with start_s3() as s3:
        for number, (name, before, reached, then) in enumerate(CASES):
            with start_cloud(s3, f"hung{number:04}abc") as cloud, tempfile.TemporaryDirectory() as scratch:
                project = make_slow_project(cloud, Path(scratch))
                before(cloud)
                command = [sys.executable, "-m", "kedro", "run", "--runner=cloudtrain", "--env=runpod"]
                pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
                environment = {**environment_of(cloud), "DO_NOT_TRACK": "1"}
                client = subprocess.Popen(command, cwd=project.path, env=environment, start_new_session=True, text=True, **pipes)
                give_up_at = time.monotonic() + 60
                while not reached(cloud) and client.poll() is None and time.monotonic() < give_up_at:
                    time.sleep(0.05)
                then(cloud)
                time.sleep(1)
                began = time.monotonic()
                os.kill(client.pid, signal.SIGTERM)
                output = client.communicate(timeout=1200)[0]
                seconds = time.monotonic() - began
                left = [pod.id for pod in cloud.runpod.living]
                named = all(pod in output for pod in left)
                # Before its handlers are there, a run is ended by the signal itself.
                good = seconds < WITHIN_S and client.returncode in (143, -15) and named
                outcome = "as it should be" if good else "NOT AS IT SHOULD BE"
                print(
                    f"{name}: {seconds:.1f} s, exit code {client.returncode}, pods left {len(left)}, all named {named}: {outcome}",
                    flush=True,
                )
                cloud.s3.faults.clear()


if __name__ == "__main__":
    main()
