"""Small nodes that share a machine: one after another, each with its own results, on one bill."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.cloud import Cloud
from support.four_nodes import measured, parameters, ran
from support.kedro_project import Project, needs_runner_params, run, start, start_kedro
from support.waiting import wait_until


def group_folder(project: Project) -> Path:
    (folder,) = [folder for folder in project.jobs if folder.name.startswith("group-small-")]
    return folder


# ------------------------------------------------------------------ on this computer


def test_the_nodes_of_a_group_run_one_after_another_in_one_machine(four: Project) -> None:
    output = run(four)
    assert "group small started: 4 jobs, one after another" in output
    assert [number for number, _ in ran(four.path)] == [0, 1, 2, 3]
    assert len({parent for _, parent in ran(four.path)}) == 1
    spans = measured(four)
    assert all(one["ended"] <= other["began"] for one, other in itertools.pairwise(spans))
    assert all(f"measure_{number} done" in output for number in range(4))
    log = (group_folder(four) / "log.txt").read_text()
    assert [line for line in log.splitlines() if line.startswith("measure ")] == [f"measure {number}" for number in range(4)]
    job = next(folder for folder in four.jobs if folder.name.startswith("measure_2-"))
    assert "measure 2" in (job / "log.txt").read_text()
    assert "measure 1" not in (job / "log.txt").read_text()
    again = run(four)
    assert again.count("is done already: nothing changed") == 4
    assert "group small started" not in again
    assert len(ran(four.path)) == 4
    listed = four.kedro("cloudtrain", "jobs").stdout
    assert group_folder(four).name in listed
    assert "4 jobs" in listed


def test_a_job_of_a_group_is_told_what_is_for_it_alone(four: Project) -> None:
    four.write("conf/base/cloudtrain.yml", 'nodes: {measure_1: {checkpoint_every_rounds: 7}, "tag:small": {group: small}}\n')
    run(four)
    logs = [(folder / "log.txt").read_text() for folder in four.jobs if folder.name.startswith("measure_")]
    assert sorted("every 7 rounds" in text for text in logs) == [False, False, False, True]
    assert sorted("every None rounds" in text for text in logs) == [False, True, True, True]


def test_a_job_that_another_client_has_keeps_no_other_one_of_the_group(four: Project) -> None:
    """Two clients that each hold a job which the other one waits for would wait for ever."""
    run(four)
    for folder in four.jobs:
        (folder / "result.json").unlink()
    (four.path / "ran").unlink()
    (held,) = (folder for folder in four.jobs if folder.name.startswith("measure_0-"))
    with (held / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = start(four)
        try:
            wait_until(lambda: [number for number, _ in ran(four.path)] == [1, 2, 3])
            fcntl.flock(lock, fcntl.LOCK_UN)
            printed = client.communicate(timeout=120)[0]
        finally:
            client.kill()
    assert client.returncode == 0, printed
    assert [number for number, _ in ran(four.path)] == [1, 2, 3, 0]


@pytest.mark.measured
def test_ctrl_c_does_not_wait_for_what_another_client_has(four: Project) -> None:
    run(four)
    for folder in four.jobs:
        (folder / "result.json").unlink()
    (held,) = (folder for folder in four.jobs if folder.name.startswith("measure_0-"))
    with (held / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = start(four)
        try:
            wait_until(lambda: len(ran(four.path)) == 7)
            client.send_signal(signal.SIGINT)
            client.communicate(timeout=120)
        finally:
            client.kill()
    assert client.returncode != 0


def test_one_that_fails_keeps_no_other_one(four: Project) -> None:
    parameters(four, four.path, fails=1)
    done = four.kedro("run", "--runner=cloudtrain")
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "ValueError: no such number" in output
    assert [number for number, _ in ran(four.path)] == [0, 1, 2, 3]
    # The others are done: the next run takes them, and the group is the one that is left.
    again = four.kedro("run", "--runner=cloudtrain")
    assert (again.stdout + again.stderr).count("is done already") == 3
    assert [number for number, _ in ran(four.path)] == [0, 1, 2, 3, 1]


def test_after_a_failure_nothing_more_is_begun(four: Project) -> None:
    four.write("conf/base/cloudtrain.yml", 'nodes: {"tag:small": {}}\n')
    parameters(four, four.path, fails="all")
    done = four.kedro("run", "--runner=cloudtrain")
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "ValueError: no such number" in output
    assert len(ran(four.path)) == 1, "those whose turn had not come are not begun"
    assert "cancelled" not in output
    assert "not started" not in output


@pytest.mark.measured
def test_a_group_is_one_machine_in_the_plan_too(four: Project) -> None:
    planned = four.kedro("cloudtrain", "plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert planned.stdout.count("local · group small") == 4


@pytest.mark.measured
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'nodes: {"tag:small": {group: small}, measure_2: {timeout_s: 7}}\n',
            "measure_2 wants `timeout_s: 7.0` where measure_0 has 86400.0",
        ),
        ('nodes: {"tag:small": {group: ""}}\n', "at least 1 character"),
        ('nodes: {"tag:small": {grup: small}}\n', "group"),
        ('nodes: {"tags:small": {group: small}}\n', "a key is a node's name, a glob, tag:TAG or namespace:NAMESPACE"),
    ],
)
def test_what_cannot_be_one_machine_is_said_before_anything_runs(four: Project, text: str, problem: str) -> None:
    four.write("conf/base/cloudtrain.yml", text)
    for command in (["cloudtrain", "plan"], ["run", "--runner=cloudtrain"]):
        done = four.kedro(*command)
        assert done.returncode == 1
        assert problem in done.stdout + done.stderr
    assert ran(four.path) == []


def test_the_deadline_is_for_all_of_them_together(four: Project) -> None:
    four.write("conf/base/cloudtrain.yml", 'nodes: {"tag:small": {group: small, timeout_s: 10}}\n')
    parameters(four, four.path, waits=2)
    done = four.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    assert "was ended at its deadline of 10 s" in done.stdout + done.stderr
    assert [number for number, _ in ran(four.path)] == [0, 1, 2]
    (four.path / "go").touch()
    four.write("conf/base/cloudtrain.yml", 'nodes: {"tag:small": {group: small}}\n')
    assert run(four).count("is done already") == 2


def test_the_machine_of_a_killed_client_is_waited_for(four: Project) -> None:
    parameters(four, four.path, waits=1)
    client = start(four)
    wait_until(lambda: len(ran(four.path)) == 2)
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    again = start(four)
    (four.path / "go").touch()
    printed, _ = again.communicate(timeout=120)
    assert again.returncode == 0, printed
    assert [number for number, _ in ran(four.path)] == [0, 1, 2, 3]
    assert len(measured(four)) == 4


def test_ctrl_c_ends_the_whole_group(four: Project) -> None:
    parameters(four, four.path, waits=1)
    client = start(four)
    wait_until(lambda: len(ran(four.path)) == 2)
    client.send_signal(signal.SIGINT)
    printed, _ = client.communicate(timeout=120)
    assert client.returncode != 0, printed
    parent = ran(four.path)[0][1]
    wait_until(lambda: not Path(f"/proc/{parent}").exists())
    (four.path / "go").touch()
    assert run(four).count("is done already") == 1


def test_a_group_runs_by_hand(four: Project) -> None:
    run(four)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=group_folder(four), capture_output=True, text=True, timeout=60, check=True, env=four.environment()
    )
    assert done.stdout.count("is done already") == 4


# ------------------------------------------------------------------ on pods


@pytest.fixture
def there(four: Project, cloud: Cloud, tmp_path: Path) -> Project:
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    four.write("conf/base/globals.yml", "volume: {path: data/volume}\n")
    four.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{volume}defaults: {{install: false, gpu: none}}\n")
    parameters(four, Path("/workspace"))
    return four


def test_a_group_is_one_pod_and_one_bill(there: Project, cloud: Cloud) -> None:
    planned = there.kedro("cloudtrain", "plan", "--env=runpod", "--json")
    nodes = json.loads(planned.stdout[planned.stdout.index("{") :])["nodes"]
    assert [node["estimate_usd"] is not None for node in nodes] == [True, False, False, False, False]
    output = run(there, "--env=runpod")
    assert len(cloud.runpod.pods) == 1
    assert [number for number, _ in ran(cloud.bucket)] == [0, 1, 2, 3]
    assert [one["number"] for one in measured(there)] == [0, 1, 2, 3]
    (bill,) = [line for line in output.splitlines() if line.lstrip().startswith("group small  ")]
    assert "$" in bill
    assert [line for line in output.splitlines() if line.lstrip().startswith("measure_0 ") and "$" in line] == []
    wait_until(lambda: not cloud.runpod.living)
    assert run(there, "--env=runpod").count("is done already") == 4
    assert len(cloud.runpod.pods) == 1


def test_a_pod_that_is_lost_is_replaced_and_no_job_is_done_twice(there: Project, cloud: Cloud) -> None:
    parameters(there, Path("/workspace"), waits=2)
    client = start(there, "--env=runpod")
    wait_until(lambda: len(ran(cloud.bucket)) == 3)
    next(iter(cloud.runpod.pods.values())).end()
    (cloud.bucket / "go").touch()
    printed, _ = client.communicate(timeout=120)
    assert client.returncode == 0, printed
    assert len(cloud.runpod.pods) == 2
    assert [number for number, _ in ran(cloud.bucket)] == [0, 1, 2, 2, 3]
    assert [one["number"] for one in measured(there)] == [0, 1, 2, 3]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_pod_of_a_killed_client_is_found_again(there: Project, cloud: Cloud, tmp_path: Path, elsewhere: bool) -> None:
    parameters(there, Path("/workspace"), waits=2)
    client = start(there, "--env=runpod")
    wait_until(lambda: len(ran(cloud.bucket)) == 3)
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    (cloud.bucket / "go").touch()
    output = run(there, "--env=runpod", **({"XDG_CACHE_HOME": str(tmp_path / "elsewhere")} if elsewhere else {}))
    assert len(cloud.runpod.pods) == 1, output
    assert [number for number, _ in ran(cloud.bucket)] == [0, 1, 2, 3]
    assert [one["number"] for one in measured(there)] == [0, 1, 2, 3]
    wait_until(lambda: not cloud.runpod.living)


@pytest.mark.measured
def test_what_fails_on_a_pod_says_why(there: Project, cloud: Cloud) -> None:
    parameters(there, Path("/workspace"), fails=1)
    done = there.kedro("run", "--runner=cloudtrain", "--env=runpod")
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "ValueError: no such number" in output
    assert "measure 1" in output  # the end of its own log
    assert [number for number, _ in ran(cloud.bucket)] == [0, 1, 2, 3]
    wait_until(lambda: not cloud.runpod.living)


def test_a_job_whose_output_was_broken_since_runs_again_alone(there: Project, cloud: Cloud, tmp_path: Path) -> None:
    parameters(there, Path("/workspace"))
    run(there, "--env=runpod")
    (job,) = (cloud.bucket / ".cloudtrain/jobs").glob("measure_1-*")
    (output,) = (file for file in (job / "outputs").rglob("*") if file.is_file())
    output.write_bytes(b"{")
    again = run(there, "--env=runpod", XDG_CACHE_HOME=str(tmp_path / "elsewhere"))
    assert "runs again" in again
    assert [number for number, _ in ran(cloud.bucket)] == [0, 1, 2, 3, 1]
    # The machine that ran it alone has ended well, too, and so would say that the job is done.
    output.write_bytes(b"{")
    run(there, "--env=runpod", XDG_CACHE_HOME=str(tmp_path / "another"))
    assert [number for number, _ in ran(cloud.bucket)] == [0, 1, 2, 3, 1, 1]


@pytest.mark.measured
@needs_runner_params
def test_a_group_is_left_and_taken_up(there: Project, cloud: Cloud) -> None:
    parameters(there, Path("/workspace"), waits=1)
    output = run(there, "--env=runpod", "--runner-params=detach=true")
    assert "Left running" in output
    assert len(cloud.runpod.pods) == 1
    wait_until(lambda: len(ran(cloud.bucket)) == 2)
    waiting = start_kedro(there, "cloudtrain", "wait", "measure_3", "--env=runpod")
    wait_until(lambda: (there.path / "data").is_dir() and waiting.poll() is None)
    (cloud.bucket / "go").touch()
    waited, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, waited
    assert "is done." in waited
    run(there, "--env=runpod")
    assert len(cloud.runpod.pods) == 1
    assert len(measured(there)) == 4


@pytest.mark.measured
def test_a_bucket_has_no_groups(there: Project, cloud: Cloud) -> None:
    place = f"volume: {{bucket: {cloud.volume_id}, region: eu-central-1}}\n"
    there.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{place}defaults: {{install: false, gpu: none}}\n")
    done = there.kedro("run", "--runner=cloudtrain", "--env=runpod")
    assert done.returncode == 1
    assert "`group: small` needs a network volume or this computer" in done.stdout + done.stderr
    assert cloud.runpod.pods == {}
