"""Nodes one after another, on a machine that is kept for them: whole runs."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from support.cloud import Cloud
from support.four_nodes import parameters, ran
from support.kedro_project import Project, run, start
from support.waiting import wait_until

from kedro_cloudtrain.config import make_settings
from kedro_cloudtrain.errors import ConfigError

REGISTRY = """
import os
import time
from pathlib import Path

from kedro.pipeline import Pipeline, node


def step(parameters, number, *before):
    place = Path(*parameters["place"])
    with (place / "ran").open("a") as ran:
        ran.write(f"{number} {os.getppid()}\\n")
    while number == parameters["waits"] and not (place / "go").exists():
        time.sleep(0.05)
    return {"number": number, "before": sum(one["number"] for one in before)}


def step_0(parameters):
    return step(parameters, 0)


def step_1(parameters, before):
    return step(parameters, 1, before)


def step_2(parameters, before):
    return step(parameters, 2, before)


def register_pipelines():
    nodes = [node(step_0, "params:mass", "m0", name="step_0", tags="small")]
    nodes += [node(globals()[f"step_{n}"], ["params:mass", f"m{n - 1}"], f"m{n}", name=f"step_{n}", tags="small") for n in (1, 2)]
    return {"__default__": Pipeline(nodes)}
"""
CATALOG = "".join(f"m{n}: {{type: kedro_cloudtrain.MetricsDataset, filepath: data/08_reporting/m{n}.json}}\n" for n in range(3))
KEPT = 'nodes: {"tag:small": {keep_s: 60, timeout_s: 600}}\n'


@pytest.fixture
def steps(project: Project) -> Project:
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    project.write("conf/base/catalog.yml", CATALOG)
    project.write("conf/base/cloudtrain.yml", KEPT)
    parameters(project, project.path)
    return project


@pytest.fixture
def there(steps: Project, cloud: Cloud) -> Project:
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    steps.write("conf/base/globals.yml", "volume: {path: data/volume}\n")
    steps.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{volume}defaults: {{install: false, gpu: none}}\n")
    parameters(steps, Path("/workspace"))
    return steps


def last_outcome(project: Project) -> dict[str, object]:
    outcome: dict[str, object] = json.loads((project.path / "data/08_reporting/m2.json").read_text())
    return outcome


def test_nodes_one_after_another_share_a_machine_that_is_kept(steps: Project) -> None:
    output = run(steps)
    assert output.count("kept machine started") == 1
    assert output.count("goes to a machine that is kept") == 2
    assert [number for number, _ in ran(steps.path)] == [0, 1, 2]
    assert len({parent for _, parent in ran(steps.path)}) == 1
    assert last_outcome(steps) == {"number": 2, "before": 1}


def test_a_pod_is_kept_for_nodes_one_after_another(there: Project, cloud: Cloud) -> None:
    output = run(there, "--env=runpod")
    assert len(cloud.runpod.pods) == 1
    assert [number for number, _ in ran(cloud.bucket)] == [0, 1, 2]
    assert last_outcome(there) == {"number": 2, "before": 1}
    (bill,) = [line for line in output.splitlines() if line.lstrip().startswith("kept machine  ")]
    assert "$" in bill
    wait_until(lambda: not cloud.runpod.living)


@pytest.mark.parametrize("on_pods", [False, True])
def test_a_job_that_came_later_is_found_again_after_its_client_was_killed(
    steps: Project, request: pytest.FixtureRequest, on_pods: bool
) -> None:
    there, arguments = (steps.path, []) if not on_pods else (request.getfixturevalue("cloud").bucket, ["--env=runpod"])
    if on_pods:
        request.getfixturevalue("there")
    parameters(steps, Path("/workspace") if on_pods else steps.path, waits=1)
    client = start(steps, *arguments)
    wait_until(lambda: len(ran(there)) == 2)
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    again = start(steps, *arguments)
    try:
        wait_until(lambda: "already" in again.output)
        (there / "go").touch()
        printed, _ = again.communicate(timeout=120)
    finally:
        again.kill()
    assert again.returncode == 0, printed
    assert [number for number, _ in ran(there)] == [0, 1, 2]
    assert last_outcome(steps) == {"number": 2, "before": 1}
    if on_pods:
        pods = request.getfixturevalue("cloud").runpod
        assert len(pods.pods) == 2
        wait_until(lambda: not pods.living)


def test_a_plan_shows_what_keeping_may_cost_and_refuses_what_cannot_be(there: Project, cloud: Cloud) -> None:
    planned = there.kedro("cloudtrain", "plan", "--env=runpod", "--json")
    nodes = json.loads(planned.stdout[planned.stdout.index("{") :])["nodes"]
    assert [node["keep_s"] for node in nodes] == [60.0, 60.0, 60.0]
    for node in nodes:
        (note,) = [note for note in node["notes"] if "is kept 60 s" in note]
        assert f"${node['usd_per_hour'] / 60:.4f} at most each time, within the pod's worst case (${node['worst_usd']:.2f})" in note
    own = (there.path / "conf/runpod/cloudtrain.yml").read_text()
    there.write("conf/runpod/cloudtrain.yml", own.replace("gpu: none", "gpu: NVIDIA L4, prepare: true") + "run: {detach: true}\n")
    left = there.kedro("cloudtrain", "plan", "--env=runpod")
    assert left.returncode == 1
    assert "`prepare: true` waits for a CPU pod before it asks for one with a GPU, and `run.detach` waits for nothing" in " ".join(
        (left.stdout + left.stderr).split()
    )
    place = f"volume: {{bucket: {cloud.volume_id}, region: eu-central-1}}\n"
    there.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{place}defaults: {{install: false, gpu: NVIDIA L4, prepare: true}}\n")
    there.write("conf/base/cloudtrain.yml", 'nodes: {"tag:small": {keep_s: 60, timeout_s: 50}}\n')
    refused = there.kedro("run", "--runner=cloudtrain", "--env=runpod")
    output = " ".join((refused.stdout + refused.stderr).split())
    assert refused.returncode == 1
    assert "step_0: `keep_s: 60` is more than `timeout_s: 50`" in output
    assert f"`keep_s: 60` needs a network volume or this computer, and bucket {cloud.volume_id} is a bucket" in output
    assert f"`prepare: true` keeps the environment on a network volume, and bucket {cloud.volume_id} is a bucket" in output
    assert cloud.runpod.pods == {}


@pytest.mark.parametrize("keep_s", [-1, float("nan"), float("inf"), "long"])
def test_no_machine_is_kept_for_what_is_no_time(keep_s: object) -> None:
    with pytest.raises(ConfigError, match=r"defaults\.keep_s"):
        make_settings({"defaults": {"keep_s": keep_s}})
