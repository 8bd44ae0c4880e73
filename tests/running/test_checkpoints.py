"""A user's own function that goes on from its checkpoint: after a process here, and a pod there, was lost."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pandas as pd
import pytest
from support.cloud import Cloud
from support.kedro_project import Project, edit, needs_runner_params, run
from support.waiting import wait_until

COUNT = """
import json
import os
import signal
import time
from pathlib import Path

from kedro.pipeline import Pipeline, node

from kedro_cloudtrain import Checkpoint


def count(parameters):
    checkpoint = Checkpoint()
    begun = checkpoint.rounds
    done = json.loads((checkpoint.folder / "done.json").read_text()) if checkpoint.folder else []
    for number in range(begun + 1, parameters["rounds"] + 1):
        done.append(number)
        if checkpoint.due(number):
            with checkpoint.write(number) as folder:
                (folder / "done.json").write_text(json.dumps(done))
        if number == parameters["lost_at"] and not Path(*parameters["lost"]).exists():
            Path(*parameters["lost"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return {"begun": begun, "done": len(done)}


def register_pipelines():
    return {"__default__": Pipeline([node(count, "params:mass", "mass_metrics", name="count")])}
"""


@pytest.fixture
def counting(project: Project) -> Project:
    project.write("src/shop/pipeline_registry.py", COUNT)
    # The place by its parts: work with the path of a file that is there is begun anew, since the file may have changed.
    project.write("conf/base/parameters.yml", f"mass: {{rounds: 20, lost_at: 14, lost: {json.dumps([*project.path.parts, 'lost'])}}}\n")
    project.write("conf/base/cloudtrain.yml", "nodes: {count: {checkpoint_every_rounds: 5}}\n")
    return project


def counted(project: Project) -> dict[str, int]:
    counts: dict[str, int] = json.loads((project.path / "data/08_reporting/mass.json").read_text())
    return counts


def test_a_function_goes_on_after_its_process_was_lost(counting: Project) -> None:
    lost = counting.kedro("run", "--runner=cloudtrain")
    assert lost.returncode == 1
    assert "was killed by SIGKILL" in lost.stdout + lost.stderr
    run(counting)
    assert counted(counting) == {"begun": 10, "done": 20}
    assert not (counting.jobs[0] / "checkpoint").exists()


@pytest.mark.measured
def test_the_same_function_runs_under_any_runner(counting: Project) -> None:
    edit(counting, "conf/base/parameters.yml", "lost_at: 14", "lost_at: 99")
    assert counting.kedro("run").returncode == 0
    assert counted(counting) == {"begun": 0, "done": 20}


@needs_runner_params
def test_a_run_that_takes_no_earlier_work_begins_anew(counting: Project) -> None:
    counting.kedro("run", "--runner=cloudtrain")
    run(counting, "--runner-params=cache=false")
    assert counted(counting) == {"begun": 0, "done": 20}


def test_a_function_that_was_mended_begins_anew(counting: Project) -> None:
    counting.kedro("run", "--runner=cloudtrain")
    edit(counting, "src/shop/pipeline_registry.py", "done.append(number)", "done += [number, number]")
    run(counting)
    assert counted(counting) == {"begun": 0, "done": 40}


@pytest.mark.parametrize("mounted", [True, False])
def test_a_pod_goes_on_where_the_lost_one_stopped(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, mounted: bool) -> None:
    if not mounted:
        cloud.use_bucket(monkeypatch)
    body = """
        sys.path.insert(0, "worker.zip")
        from cloudtrain_worker.checkpoints import Checkpoint
        os.environ["CLOUDTRAIN_CHECKPOINT"] = "checkpoint"
        checkpoint = Checkpoint()
        if checkpoint.folder is None:
            with checkpoint.write(7) as folder:
                (folder / "state.txt").write_text("seven")
            time.sleep(600)
        print("goes on from", checkpoint.rounds, (checkpoint.folder / "state.txt").read_text(), flush=True)
        time.sleep(1)
    """
    backend = cloud.backend(heartbeat_lost_s=20.0)
    table = None if mounted else pd.DataFrame({"body_mass_g": [1]})
    thread = threading.Thread(target=cloud.run, args=(backend,), kwargs={"body": body, "data": table})
    thread.start()
    try:
        written = "checkpoint/latest.json" if mounted else "checkpoint.zip"
        wait_until(lambda: list(cloud.bucket.glob(f".cloudtrain/jobs/*/{written}")))
        next(iter(cloud.runpod.pods.values())).end()
    finally:
        thread.join()
        backend.close()
    assert cloud.receipts[0].state == "succeeded"
    assert len(cloud.runpod.pods) == 2
    (folder,) = Path(cloud.volume.folder(".cloudtrain/jobs")).iterdir()
    assert "goes on from 7 seven" in (folder / "log.txt").read_text()
