"""Run a job under each known fault of RunPod: its outcome, and what is left behind.

    python benchmarks/fault_matrix.py [FILTER]

Each row is a job on the stand-in that meets a single fault. It must end with the right result, or with the error that fits the fault. No
pod may outlive its deadline, no result may be wrong, and no result on the volume may be lost.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench_cloud import ROOT, Cloud, environment_of, start_cloud, start_s3

from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.rehearsal.pods import RunningPod
from kedro_cloudtrain.rehearsal.storage import StorageFault

CREATE, LIST, END, GPUS = "POST /v2/pods", "GET /v2/pods", "DELETE /v2/pods/*", "GET /v2/catalog/gpus"
RESULT = "result"
AT_WORK = """
at_work = Path(os.environ["CLOUDTRAIN_VOLUME"]) / "at-work"
first = not at_work.exists()
at_work.write_text("yes")
time.sleep(4 if first else 0.2)
"""


@dataclass
class Fault:
    """A row: how the fault is made, and the right outcome, `result` or an error's name."""

    name: str
    make: Callable[[Cloud], object]
    expected: str = RESULT
    body: str = "time.sleep(0.3)"
    meanwhile: Callable[[Cloud], object] | None = None
    clock_behind_s: float = 0.0


def faults() -> list[Fault]:
    """Return all rows."""
    rows: list[Fault] = []
    creates = {401: "AuthError", 402: "BalanceError", 404: "ApiError", 409: "ApiError", 413: "ApiError", 422: "ApiError"}
    for status in (400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504):
        expected = creates.get(status, "ApiError" if status == 400 else RESULT)
        rows.append(Fault(f"create answers {status}", lambda cloud, status=status: cloud.runpod.faults.answer(CREATE, status), expected))
    rows += [
        Fault("create: no instances of the first GPU", lambda cloud: cloud.runpod.faults.no_capacity("NVIDIA L4")),
        Fault("create: no instances of any GPU", lambda cloud: cloud.runpod.faults.no_capacity(times=99), "CapacityError"),
        Fault("create: the response is lost", lambda cloud: cloud.runpod.faults.lose_answer(CREATE)),
        Fault("create: the request is lost", lambda cloud: cloud.runpod.faults.lose_answer(CREATE, worked=False)),
        Fault("create: 502, although the pod was made", lambda cloud: cloud.runpod.faults.answer(CREATE, 502, worked=True)),
        Fault("create: slow", lambda cloud: cloud.runpod.faults.slow(CREATE, 3.0)),
    ]
    for status in (401, 403, 404, 429, 500, 502, 503, 504):
        rows.append(Fault(f"list answers {status}", lambda cloud, status=status: cloud.runpod.faults.answer(LIST, status, times=3)))
    for status in (404, 409, 429, 500, 502, 503):

        def cannot_end(cloud: Cloud, status: int = status) -> None:
            cloud.runpod.faults.befall("cannot end")
            cloud.runpod.faults.answer(END, status, times=1)

        rows.append(Fault(f"end answers {status}, and the pod cannot end itself", cannot_end))
    for status in (429, 500, 502, 503):
        rows.append(Fault(f"GPU list answers {status}", lambda cloud, status=status: cloud.runpod.faults.answer(GPUS, status, times=2)))
    rows += [
        Fault("GPU list answers 401", lambda cloud: cloud.runpod.faults.answer(GPUS, 401), "AuthError"),
        Fault("pod vanishes at once", lambda cloud: cloud.runpod.faults.befall("vanishes")),
        Fault("pod vanishes after its marker", lambda cloud: vanish(cloud, "log.txt")),
        Fault("pod vanishes at work", lambda cloud: cloud.runpod.faults.befall("vanishes", when_file="at-work"), body=AT_WORK),
        Fault("pod vanishes with its result written", lambda cloud: vanish(cloud, "result.json")),
        Fault("pod vanishes, and so does the next", lambda cloud: cloud.runpod.faults.befall("vanishes", times=2)),
        Fault("every pod vanishes", lambda cloud: cloud.runpod.faults.befall("vanishes", times=9), "JobLostError"),
        Fault("crash loop", lambda cloud: cloud.runpod.faults.befall("loops")),
        Fault("never starts", lambda cloud: cloud.runpod.faults.befall("never starts")),
        Fault("state ERROR", lambda cloud: cloud.runpod.faults.befall("errors")),
        Fault("host hangs", lambda cloud: None, body=AT_WORK, meanwhile=freeze),
        Fault("script raises", lambda cloud: None, "JobFailedError", body="raise ValueError"),
        Fault("script is killed", lambda cloud: None, "JobLostError", body="os.kill(os.getpid(), 9)"),
        Fault("script runs past its time", lambda cloud: None, "JobTimeoutError", body="time.sleep(60)"),
        Fault("the API's clock is an hour behind", lambda cloud: None, clock_behind_s=3600),
    ]
    for method, part in (
        ("PUT", "train.py"),
        ("PUT", "machine.json"),
        ("GET", "result.json"),
        ("GET", "metrics.json"),
        ("HEAD", "metrics"),
    ):
        for status in (502, 524):
            rows.append(
                Fault(
                    f"S3 {method} {part} answers {status}",
                    lambda cloud, fault=(method, part, status): cloud.s3.faults.append(StorageFault(*of_cloud(cloud, fault), times=2)),
                )
            )
    rows += [
        Fault(
            "S3 breaks off in the middle",
            lambda cloud: cloud.s3.faults.append(StorageFault("GET", path_of(cloud, "metrics"), None, times=2)),
        ),
        Fault("S3 is slow", lambda cloud: cloud.s3.faults.append(StorageFault("GET", cloud.volume_id, 0, delay_s=1.0, times=5))),
        Fault("S3 says the volume is full", lambda cloud: cloud.s3.faults.append(StorageFault("PUT", cloud.volume_id, 507)), "ApiError"),
    ]
    return rows


def of_cloud(cloud: Cloud, fault: tuple[str, str, int]) -> tuple[str, str, int]:
    """Limit a fault of the shared S3 server to this cloud, whose volume's id is in each path."""
    return fault[0], path_of(cloud, fault[1]), fault[2]


def path_of(cloud: Cloud, part: str) -> str:
    """Return the pattern of a file on this cloud's volume."""
    return f"{cloud.volume_id}*{part}"


def vanish(cloud: Cloud, file: str) -> None:
    """Make the first pod vanish as soon as a file is in its job folder."""

    def watch(pod: RunningPod) -> None:
        while not list((cloud.bucket / ".cloudtrain/jobs").glob(f"*/{file}")):
            time.sleep(0.01)
        pod.end()

    def when_made() -> None:
        while not cloud.runpod.pods:
            time.sleep(0.01)
        watch(next(iter(cloud.runpod.pods.values())))

    threading.Thread(target=when_made, daemon=True).start()


def freeze(cloud: Cloud) -> None:
    """Freeze the pod's host once its job is at work."""
    while not (cloud.bucket / "at-work").exists():
        time.sleep(0.05)
    next(iter(cloud.runpod.pods.values())).freeze()


def outcome(cloud: Cloud, fault: Fault) -> str:
    """Run a job under a fault; return `result`, or the error's name."""
    fault.make(cloud)
    backend = cloud.backend()
    backend._api._pause = lambda seconds: time.sleep(min(seconds, 0.1))
    if fault.meanwhile is not None:
        threading.Thread(target=fault.meanwhile, args=(cloud,), daemon=True).start()
    try:
        settings = {"gpu": ("NVIDIA L4", "NVIDIA A40"), "retries": 2, "startup_timeout_s": 4, "timeout_s": 20}
        if "past its time" in fault.name:
            settings["timeout_s"] = 2
        metrics = cloud.run(backend, "train", fault.body, **settings)
        return "result" if metrics["rmse"] == 1.5 and metrics["by"] in cloud.runpod.pods else "WRONG"
    except CloudTrainError as error:
        return type(error).__name__
    finally:
        backend.close()


def row(s3: object, number: int, fault: Fault) -> tuple[str, int, bool]:
    """Return a fault's outcome, the number of pods left, and whether a result on the volume was lost."""
    with start_cloud(s3, f"fault{number:03}abc", clock_behind_s=fault.clock_behind_s) as cloud:  # type: ignore[arg-type]
        ended_as = outcome(cloud, fault)
        give_up_at = time.monotonic() + 25
        while cloud.runpod.living and time.monotonic() < give_up_at:
            time.sleep(0.2)
        results = list((cloud.bucket / ".cloudtrain/jobs").glob("*/result.json"))
        succeeded = any('"state": "succeeded"' in file.read_text() for file in results)
        return ended_as, len(cloud.runpod.living), succeeded and ended_as != RESULT


CLIENT = """
import os, sys, dataclasses
sys.path[:0] = [{tests!r}, {benchmarks!r}]
from pathlib import Path
from bench_cloud import Cloud, S3StandIn
endpoint = type("Endpoint", (S3StandIn,), {{"endpoint_url": os.environ["RUNPOD_S3_ENDPOINT_URL"]}})(Path())
runpod = type("Api", (), {{"base_url": os.environ["RUNPOD_API_BASE_URL"]}})()
cloud = Cloud(runpod, endpoint, {volume!r}, {{}})
print(cloud.run(cloud.backend(), "train", "time.sleep(3)", timeout_s=10))
"""


def kill_client(s3: object, number: int, after_s: float) -> tuple[str, int, bool]:
    """Kill a client some seconds after its start; its pod has to finish and end by itself."""
    with start_cloud(s3, f"killed{number:03}abc") as cloud:  # type: ignore[arg-type]
        code = textwrap.dedent(CLIENT).format(tests=str(ROOT / "tests"), benchmarks=str(ROOT / "benchmarks"), volume=cloud.volume_id)
        client = subprocess.Popen(
            [sys.executable, "-c", code], env=environment_of(cloud), start_new_session=True, stdout=subprocess.DEVNULL
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(after_s)
        with contextlib.suppress(OSError):
            os.killpg(client.pid, signal.SIGKILL)
        client.wait()
        give_up_at = time.monotonic() + 10 + 60 + 5  # its timeout_s, what the pod's lifetime adds to it, and a margin
        while cloud.runpod.living and time.monotonic() < give_up_at:
            time.sleep(0.2)
        results = [file.read_text() for file in (cloud.bucket / ".cloudtrain/jobs").glob("*/result.json")]
        made, kept = len(cloud.runpod.pods), sum('"state": "succeeded"' in text for text in results)
        return f"pods made {made}, results on the volume {kept}", len(cloud.runpod.living), kept < made


def main(wanted: str = "") -> None:
    """Run the rows whose name contains `wanted`, four at a time, and count."""
    chosen = [fault for fault in faults() if wanted in fault.name]
    with start_s3() as s3:
        with ThreadPoolExecutor(4) as pool:
            rows = list(pool.map(lambda pair: row(s3, *pair), enumerate(chosen)))
        points = [0.8 + 0.35 * number for number in range(10)] if wanted in "client killed" else []
        with ThreadPoolExecutor(4) as pool:
            kills = list(pool.map(lambda pair: kill_client(s3, *pair), enumerate(points)))
    counted: Counter[str] = Counter()
    for fault, (ended_as, left, lost) in zip(chosen, rows, strict=True):
        wrong = ended_as != fault.expected
        counted.update({"rows": 1, "orphans": left, "wrong": wrong, "lost": lost})
        print(f"{fault.name:55} {ended_as:18} {f'WRONG, expected {fault.expected}' if wrong else ''}{' ORPHAN' * left}{' LOST' * lost}")
    for after_s, (ended_as, left, lost) in zip(points, kills, strict=True):
        counted.update({"rows": 1, "orphans": left, "lost": lost})
        print(f"{f'client killed after {after_s:.2f} s':55} {ended_as}{' ORPHAN' * left}{' LOST' * lost}")
    print(f"{counted['rows']} faults: {counted['orphans']} orphan pods, {counted['wrong']} wrong outcomes, {counted['lost']} lost results")


if __name__ == "__main__":
    main(*sys.argv[1:])
