"""Measure the time from `result.json` on the volume to the finished node, on the stand-in's pods at a real run's polling pace.

python benchmarks/pod_latency.py [JOBS]
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import time

from bench_cloud import environment_of, start_cloud, start_s3

from kedro_cloudtrain.backends.runpod.pace import Pace


def main(jobs: int = 20) -> None:
    """Run the jobs one after another, and compare times of the same clock."""
    latencies_s = []
    with start_s3() as s3, start_cloud(s3, "late0001abc") as cloud:
        os.environ.update(environment_of(cloud))
        backend = cloud.backend(**dataclasses.asdict(Pace()))
        for number in range(jobs):
            # Each job takes a different time, so that none is in step with the client's polling.
            cloud.run(backend, f"job{number}", f"time.sleep({0.1 + 0.7 * number / jobs})")
            done_at = time.time()
            (result,) = (cloud.bucket / ".cloudtrain/jobs").glob(f"job{number}-*/result.json")
            latencies_s.append(done_at - result.stat().st_mtime)
        backend.close()
    print(
        f"{jobs} jobs, from result.json to the finished node: median {statistics.median(latencies_s):.2f} s, most {max(latencies_s):.2f} s"
    )
    print("required: a median below 2 s")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
