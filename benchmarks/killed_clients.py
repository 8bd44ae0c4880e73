"""A client killed at ten moments, and the same command again: one machine, and the outputs of an undisturbed run.

    python benchmarks/killed_clients.py

`kedro run --env=runpod` on the stand-in is killed (SIGKILL, its whole group) some seconds after its start, from before it has read its
project to after its job is done. The second one has to end the work, every other time from a cache of its own, as on another computer.
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

from bench_cloud import DATA_CENTER, in_environment, one_cloud, one_s3
from support.kedro_project import make_project
from test_reuse import SLOW, edit

MOMENTS_S = [0.5 + 0.9 * number for number in range(10)]


def one(s3: object, number: int, after_s: float) -> tuple[int, int, bool]:
    """Kill a client after some seconds and run it again; give the pods that were made, those that are left, and whether all is well."""
    with one_cloud(s3, f"kill{number:04}abc") as cloud, tempfile.TemporaryDirectory() as scratch:  # type: ignore[arg-type]
        project = make_project(Path(scratch))
        volume = f"volume: {{id: {cloud.volume_id}, data_center: {DATA_CENTER}}}\n"
        project.write("templates/mine.py.j2", SLOW)
        project.write("conf/runpod/globals.yml", volume)
        project.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{volume}defaults: {{install: false, gpu: none}}\n")
        edit(project, "conf/base/parameters.yml", "xgboost_regression", "mine")
        edit(project, "src/shop/pipeline_registry.py", 'model="mass_model", ', "")
        command = [sys.executable, "-m", "kedro", "run", "--runner=cloudtrain", "--env=runpod"]
        environment = {**in_environment(cloud), "DO_NOT_TRACK": "1"}
        client = subprocess.Popen(
            command, cwd=project.path, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(after_s)
        with contextlib.suppress(OSError):
            os.killpg(client.pid, signal.SIGKILL)
        client.wait()
        (project.path / "data/08_reporting/mass.json").unlink(missing_ok=True)
        elsewhere = {**environment, "XDG_CACHE_HOME": f"{scratch}/elsewhere"} if number % 2 else environment
        again = subprocess.run(command, cwd=project.path, env=elsewhere, capture_output=True, text=True, check=False)
        metrics = project.path / "data/08_reporting/mass.json"
        well = again.returncode == 0 and metrics.exists() and json.loads(metrics.read_text()) == {"rmse": 2.5}
        give_up_at = time.monotonic() + 15
        while cloud.runpod.living and time.monotonic() < give_up_at:
            time.sleep(0.2)
        return len(cloud.runpod.pods), len(cloud.runpod.living), well


def main() -> None:
    """Take all moments, two at a time, and count."""
    with one_s3() as s3, ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda pair: one(s3, *pair), enumerate(MOMENTS_S)))
    for number, (after_s, (made, left, well)) in enumerate(zip(MOMENTS_S, rows, strict=True)):
        again = "from another cache" if number % 2 else "from here"
        said = "all well" if well else "NO OUTPUTS"
        print(f"killed after {after_s:.1f} s, again {again}: {made} pod made, {left} left, {said}")
    good = sum(made == 1 and left == 0 and well for made, left, well in rows)
    print(f"{good} of {len(rows)} finish with one machine")


if __name__ == "__main__":
    main()
