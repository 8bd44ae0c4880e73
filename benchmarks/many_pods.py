"""Run a hundred one-second jobs under the vendor's quota: wall time against what the quota allows, refusals, the client's memory.

    python benchmarks/many_pods.py [JOBS] [MAX_PODS]

The stand-in runs in this process and the client in another, with the settings of a real run. Each create is a single call, so a quota of
60 calls a minute allows the hundredth when the second window opens: that moment plus a job's own time is the lower bound.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench_cloud import Cloud, S3StandIn, environment_of, start_cloud, start_s3

from kedro_cloudtrain.backends.runpod.account import connect
from kedro_cloudtrain.backends.runpod.backend import RunPodBackend
from kedro_cloudtrain.backends.runpod.budget import Budget

QUOTA, WINDOW_S = 60, 60.0
VOLUME = "many0001abc"


def client(jobs: int, max_pods: int) -> None:
    """Run the jobs, as many at once as a run would, and print what they took."""
    endpoint = type("Endpoint", (S3StandIn,), {"endpoint_url": os.environ["RUNPOD_S3_ENDPOINT_URL"]})(Path())
    cloud = Cloud(None, endpoint, VOLUME, {})  # type: ignore[arg-type]
    backend = RunPodBackend(connect(), cloud.volume, "bench", Budget(), max_pods)

    def run_job(number: int) -> None:
        cloud.run(backend, f"job{number}", "time.sleep(1)", retries=2)

    began = time.monotonic()
    with ThreadPoolExecutor(max_pods) as pool:
        list(pool.map(run_job, range(jobs)))
    backend.close()
    wall_s = time.monotonic() - began
    lost = [use.ended for receipt in cloud.receipts for use in receipt.machines if use.ended != "done"]
    # Not getrusage: its maximum starts at that of the parent process.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({"wall_s": wall_s, "peak_mb": int(status["VmHWM"].split()[0]) / 1024, "lost": lost}))


def main(jobs: int = 100, max_pods: int = 50) -> None:
    """Start the stand-in, run the client, and compare."""
    with start_s3() as s3, start_cloud(s3, VOLUME, quota_per_minute=QUOTA) as cloud:
        command = [sys.executable, __file__, "client", str(jobs), str(max_pods)]
        done = subprocess.run(command, env=environment_of(cloud), capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        measured = json.loads(done.stdout.splitlines()[-1])
        refused = Counter()
        repeated_refusals = 0
        client_calls = [call for call in cloud.runpod.calls if not call.headers["Authorization"].startswith("Bearer rpa_pod_")]
        for call in client_calls:
            request = (call.method, call.path, json.dumps(call.body))
            if 429 in call.answered:
                repeated_refusals += refused[request] > 0 and call.method != "GET"
                refused[request] += 1
        starts = [pod.starts for pod in cloud.runpod.pods.values()]
        lives = [pod.cost_usd / pod.usd_per_hour * 3600 for pod in cloud.runpod.pods.values()]
    allowed_s = (jobs - 1) // QUOTA * WINDOW_S + statistics.median(lives)
    kinds = Counter(f"{call.method} {call.path.split('/')[2]}" for call in client_calls)
    print(f"{jobs} jobs, {max_pods} at once, {QUOTA} calls a minute: {measured['wall_s']:.1f} s")
    print(
        f"the quota allows {allowed_s:.1f} s (the last window's start plus a pod's life of {statistics.median(lives):.1f} s): ratio "
        f"{measured['wall_s'] / allowed_s:.2f}, required at most 1.3"
    )
    print(
        f"calls {dict(kinds)}; answered 429: {sum(refused.values())}, of which a create or an end for the second time: {repeated_refusals}"
    )
    print(f"pods {len(starts)}, started more than once: {sum(count > 1 for count in starts)}, lost: {measured['lost'] or 'none'}")
    print(f"client's peak memory {measured['peak_mb']:.0f} MB, required below 300")


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        client(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main(*(int(argument) for argument in sys.argv[1:]))
