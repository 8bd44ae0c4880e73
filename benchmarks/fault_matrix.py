"""Each fault of RunPod's facts against a job: what came of it, and what was left.

    python benchmarks/fault_matrix.py [FILTER]

A job on the stand-in meets one fault. It must end with the right result, or with the error that the fault deserves; no pod may be left
past its deadline, no result may be wrong, and none that is on the volume may be lost.
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

from bench_cloud import ROOT, Cloud, in_environment, one_cloud, one_s3
from runpod_stand_in.pods import RunningPod
from runpod_stand_in.storage import StorageFault

from kedro_cloudtrain.errors import CloudTrainError

CREATE, LIST, END, GPUS = "POST /v2/pods", "GET /v2/pods", "DELETE /v2/pods/*", "GET /v2/catalog/gpus"
ANY = "result"
AT_WORK = """
at_work = Path(os.environ["CLOUDTRAIN_VOLUME"]) / "at-work"
first = not at_work.exists()
at_work.write_text("yes")
time.sleep(4 if first else 0.2)
"""


@dataclass
class Fault:
    """One row: how the fault is made, and which outcome is right: `result`, or the names of errors."""

    name: str
    make: Callable[[Cloud], object]
    right: str = ANY
    body: str = "time.sleep(0.3)"
    meanwhile: Callable[[Cloud], object] | None = None
    clock_behind_s: float = 0.0


def faults() -> list[Fault]:
    """Give all rows."""
    rows: list[Fault] = []
    creates = {401: "AuthError", 402: "BalanceError", 404: "ApiError", 409: "ApiError", 413: "ApiError", 422: "ApiError"}
    for status in (400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504):
        right = creates.get(status, "ApiError" if status == 400 else ANY)
        rows.append(Fault(f"create answers {status}", lambda cloud, status=status: cloud.runpod.faults.answer(CREATE, status), right))
    rows += [
        Fault("create: no instances of the first GPU", lambda cloud: cloud.runpod.faults.no_capacity("NVIDIA L4")),
        Fault("create: no instances of any", lambda cloud: cloud.runpod.faults.no_capacity(times=99), "CapacityError"),
        Fault("create: the answer is lost", lambda cloud: cloud.runpod.faults.lose_answer(CREATE)),
        Fault("create: the question is lost", lambda cloud: cloud.runpod.faults.lose_answer(CREATE, worked=False)),
        Fault("create: 502, and it was made", lambda cloud: cloud.runpod.faults.answer(CREATE, 502, worked=True)),
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
        rows.append(Fault(f"catalogue answers {status}", lambda cloud, status=status: cloud.runpod.faults.answer(GPUS, status, times=2)))
    rows += [
        Fault("catalogue answers 401", lambda cloud: cloud.runpod.faults.answer(GPUS, 401), "AuthError"),
        Fault("pod vanishes at once", lambda cloud: cloud.runpod.faults.befall("vanishes")),
        Fault("pod vanishes after its marker", lambda cloud: vanish(cloud, "log.txt")),
        Fault("pod vanishes at work", lambda cloud: cloud.runpod.faults.befall("vanishes", when_file="at-work"), body=AT_WORK),
        Fault("pod vanishes with its result written", lambda cloud: vanish(cloud, "result.json")),
        Fault("pod vanishes, and the next", lambda cloud: cloud.runpod.faults.befall("vanishes", times=2)),
        Fault("pod vanishes each time", lambda cloud: cloud.runpod.faults.befall("vanishes", times=9), "JobLostError"),
        Fault("crash loop", lambda cloud: cloud.runpod.faults.befall("loops")),
        Fault("never starts", lambda cloud: cloud.runpod.faults.befall("never starts")),
        Fault("state ERROR", lambda cloud: cloud.runpod.faults.befall("errors")),
        Fault("host hangs", lambda cloud: None, body=AT_WORK, meanwhile=freeze),
        Fault("script raises", lambda cloud: None, "JobFailedError", body="raise ValueError"),
        Fault("script is killed", lambda cloud: None, "JobLostError", body="os.kill(os.getpid(), 9)"),
        Fault("script runs on past its time", lambda cloud: None, "JobTimeoutError", body="time.sleep(60)"),
        Fault("the API's clock is an hour late", lambda cloud: None, clock_behind_s=3600),
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
                    lambda cloud, fault=(method, part, status): cloud.s3.faults.append(StorageFault(*mine(cloud, fault), times=2)),
                )
            )
    rows += [
        Fault(
            "S3 is cut in the middle", lambda cloud: cloud.s3.faults.append(StorageFault("GET", mine_part(cloud, "metrics"), None, times=2))
        ),
        Fault("S3 is slow", lambda cloud: cloud.s3.faults.append(StorageFault("GET", cloud.volume_id, 0, delay_s=1.0, times=5))),
        Fault("S3 says the volume is full", lambda cloud: cloud.s3.faults.append(StorageFault("PUT", cloud.volume_id, 507)), "ApiError"),
    ]
    return rows


def mine(cloud: Cloud, fault: tuple[str, str, int]) -> tuple[str, str, int]:
    """Let a fault of the one S3 server meet one cloud alone: its volume's id is in each path."""
    return fault[0], mine_part(cloud, fault[1]), fault[2]


def mine_part(cloud: Cloud, part: str) -> str:
    """Name a file by its volume, too."""
    return f"{cloud.volume_id}*{part}"


def vanish(cloud: Cloud, file: str) -> None:
    """Let the first pod vanish as soon as a file is in its job folder."""

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
    """Let the pod's host hang once its job is at work."""
    while not (cloud.bucket / "at-work").exists():
        time.sleep(0.05)
    next(iter(cloud.runpod.pods.values())).freeze()


def outcome(cloud: Cloud, fault: Fault) -> str:
    """Run a job under a fault; give what came of it."""
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
    """Give a fault's outcome, the pods that were left, and whether a result lies there that was not taken."""
    with one_cloud(s3, f"fault{number:03}abc", clock_behind_s=fault.clock_behind_s) as cloud:  # type: ignore[arg-type]
        said = outcome(cloud, fault)
        give_up_at = time.monotonic() + 25
        while cloud.runpod.living and time.monotonic() < give_up_at:
            time.sleep(0.2)
        results = list((cloud.bucket / ".cloudtrain/jobs").glob("*/result.json"))
        succeeded = any('"state": "succeeded"' in file.read_text() for file in results)
        return said, len(cloud.runpod.living), succeeded and said != "result"


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


def killed(s3: object, number: int, after_s: float) -> tuple[str, int, bool]:
    """Kill a client some seconds after its start; its pod has to finish and go by itself."""
    with one_cloud(s3, f"killed{number:03}abc") as cloud:  # type: ignore[arg-type]
        code = textwrap.dedent(CLIENT).format(tests=str(ROOT / "tests"), benchmarks=str(ROOT / "benchmarks"), volume=cloud.volume_id)
        client = subprocess.Popen(
            [sys.executable, "-c", code], env=in_environment(cloud), start_new_session=True, stdout=subprocess.DEVNULL
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(after_s)
        with contextlib.suppress(OSError):
            os.killpg(client.pid, signal.SIGKILL)
        client.wait()
        give_up_at = time.monotonic() + 10 + 60 + 5  # its timeout_s, what its lifetime adds to that, and a little
        while cloud.runpod.living and time.monotonic() < give_up_at:
            time.sleep(0.2)
        results = [file.read_text() for file in (cloud.bucket / ".cloudtrain/jobs").glob("*/result.json")]
        made, kept = len(cloud.runpod.pods), sum('"state": "succeeded"' in text for text in results)
        return f"{made} pod, {kept} result on the volume", len(cloud.runpod.living), kept < made


def main(wanted: str = "") -> None:
    """Run all rows, a few at a time, and count."""
    chosen = [fault for fault in faults() if wanted in fault.name]
    with one_s3() as s3:
        with ThreadPoolExecutor(4) as pool:
            rows = list(pool.map(lambda pair: row(s3, *pair), enumerate(chosen)))
        points = [0.8 + 0.35 * number for number in range(10)] if wanted in "client killed" else []
        with ThreadPoolExecutor(4) as pool:
            kills = list(pool.map(lambda pair: killed(s3, *pair), enumerate(points)))
    counted: Counter[str] = Counter()
    for fault, (said, left, lost) in zip(chosen, rows, strict=True):
        wrong = said != fault.right
        counted.update({"rows": 1, "orphans": left, "wrong": wrong, "lost": lost})
        print(f"{fault.name:55} {said:18} {'' if not wrong else 'NOT RIGHT, wanted ' + fault.right}{' ORPHAN' * left}{' LOST' * lost}")
    for after_s, (said, left, lost) in zip(points, kills, strict=True):
        counted.update({"rows": 1, "orphans": left, "lost": lost})
        print(f"{f'client killed after {after_s:.2f} s':55} {said}{' ORPHAN' * left}{' LOST' * lost}")
    print(f"{counted['rows']} faults: {counted['orphans']} orphan pods, {counted['wrong']} wrong outcomes, {counted['lost']} lost results")


if __name__ == "__main__":
    main(*sys.argv[1:])
