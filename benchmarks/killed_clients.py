"""Kill a client at ten moments and run the same command again: it must need one pod and leave the outputs of an undisturbed run.

    python benchmarks/killed_clients.py

`kedro run --env=runpod` on the stand-in is killed (SIGKILL, its whole process group) some seconds after its start: the earliest before it
has read its project, the latest after its job is done. The second run has to finish the work, every other time with an empty cache, as on
another computer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench_cloud import environment_of, make_slow_project, start_cloud, start_s3

MOMENTS_S = [0.5 + 0.9 * number for number in range(10)]


def kill_and_rerun(s3: object, number: int, after_s: float) -> tuple[int, int, bool]:
    """Kill a client after some seconds and run it again; return the pods made, the pods left, and whether the outputs are right."""
    with start_cloud(s3, f"kill{number:04}abc") as cloud, tempfile.TemporaryDirectory() as scratch:  # type: ignore[arg-type]
        project = make_slow_project(cloud, Path(scratch))
        command = [sys.executable, "-m", "kedro", "run", "--runner=cloudtrain", "--env=runpod"]
        environment = {**environment_of(cloud), "DO_NOT_TRACK": "1"}
        client = subprocess.Popen(
            command, cwd=project.path, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(after_s)
        with contextlib.suppress(OSError):
            os.killpg(client.pid, signal.SIGKILL)
        client.wait()
        (project.path / "data/08_reporting/mass.json").unlink(missing_ok=True)
        second_environment = {**environment, "XDG_CACHE_HOME": f"{scratch}/second"} if number % 2 else environment
        again = subprocess.run(command, cwd=project.path, env=second_environment, capture_output=True, text=True, check=False)
        metrics = project.path / "data/08_reporting/mass.json"
        right = again.returncode == 0 and metrics.exists() and json.loads(metrics.read_text()) == {"rmse": 2.5}
        give_up_at = time.monotonic() + 15
        while cloud.runpod.living and time.monotonic() < give_up_at:
            time.sleep(0.2)
        return len(cloud.runpod.pods), len(cloud.runpod.living), right


def main() -> None:
    """Try all moments, two at a time, and count."""
    with start_s3() as s3, ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda pair: kill_and_rerun(s3, *pair), enumerate(MOMENTS_S)))
    for number, (after_s, (made, left, right)) in enumerate(zip(MOMENTS_S, rows, strict=True)):
        cache = "with an empty cache" if number % 2 else "with the same cache"
        outcome = "outputs right" if right else "OUTPUTS MISSING OR WRONG"
        print(f"killed after {after_s:.1f} s, again {cache}: pods made {made}, left {left}; {outcome}")
    good = sum(made == 1 and left == 0 and right for made, left, right in rows)
    print(f"{good} of {len(rows)} finished with one pod")


if __name__ == "__main__":
    main()
