"""From `result.json` on the volume to the node done: the median of some jobs on pods of the stand-in, at a real run's pace.

python benchmarks/pod_latency.py [JOBS]
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import time

from bench_cloud import in_environment, one_cloud, one_s3

from kedro_cloudtrain.backends.runpod.pace import Pace


def main(jobs: int = 20) -> None:
    """Run one job after another, and compare times of one clock."""
    taken_s = []
    with one_s3() as s3, one_cloud(s3, "late0001abc") as cloud:
        os.environ.update(in_environment(cloud))
        backend = cloud.backend(**dataclasses.asdict(Pace()))
        for number in range(jobs):
            # At no fixed distance from the client's looks.
            cloud.run(backend, f"job{number}", f"time.sleep({0.1 + 0.7 * number / jobs})")
            done_at = time.time()
            (result,) = (cloud.bucket / ".cloudtrain/jobs").glob(f"job{number}-*/result.json")
            taken_s.append(done_at - result.stat().st_mtime)
        backend.close()
    print(f"{jobs} jobs: from result.json to the node done, median {statistics.median(taken_s):.2f} s, most {max(taken_s):.2f} s")
    print("wanted: a median below 2 s")


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:]))
