"""A run that is left while its jobs go on, the wait for them, what a failure does to the others, and the end of old jobs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from support.cloud import Cloud
from support.kedro_project import Project, edit, needs_runner_params, run, start_kedro
from support.slow_training import HELD
from support.spaceflights import make_spaceflights
from support.waiting import wait_until

from kedro_cloudtrain.backends.runpod.environments import Environments
from kedro_cloudtrain.rehearsal.storage import StorageFault
from kedro_cloudtrain.runs.costs import paid
from kedro_cloudtrain.runs.ledger import RunLedger


def leave(project: Project, *args: str) -> str:
    output = run(project, "--runner-params", "detach=true", *args)
    assert "Left running: train_mass-" in output
    assert "Traceback" not in output
    return output


def wait_for(project: Project, folder: Path, *args: str) -> str:
    """Type the command that waits for the training, and let it go on when the command has shown how far it is."""
    client = start_kedro(project, "cloudtrain", "wait", "train_mass", *args)
    try:
        wait_until(lambda: "/30  val rmse" in client.output or client.poll() is not None)
        (folder / "go").touch()
        printed, _ = client.communicate(timeout=120)
    finally:
        client.kill()
    assert client.returncode == 0, printed
    return printed


@pytest.mark.measured
@needs_runner_params
def test_a_run_is_left_waited_for_and_taken_up_here(slow: Project) -> None:
    edit(slow, "templates/mine.py.j2", "time.sleep(0.1)", HELD)
    leave(slow)
    (folder,) = slow.jobs
    assert not (folder / "result.json").exists()
    assert not (slow.path / "data/08_reporting/mass.json").exists()
    printed = wait_for(slow, folder)
    assert f"{folder.name} is done." in printed
    assert "/30  val rmse" in printed
    assert "is done already" in run(slow)
    assert json.loads((slow.path / "data/08_reporting/mass.json").read_text()) == {"rmse": 2.5}


@pytest.mark.measured
@needs_runner_params
def test_a_job_that_was_left_on_this_computer_is_stopped(slow: Project) -> None:
    edit(slow, "templates/mine.py.j2", "time.sleep(0.1)", HELD)
    leave(slow)
    (folder,) = slow.jobs
    missing = slow.kedro("cloudtrain", "stop", "train_mess")
    assert missing.returncode == 1
    assert f"'train_mess' is not running. Running: {folder.name}" in missing.stderr
    done = slow.kedro("cloudtrain", "stop", "train_mass")
    assert done.returncode == 0, done.stderr
    assert f"Ended {folder.name}." in done.stdout
    assert json.loads((folder / "result.json").read_text())["error"]["message"].startswith("ended by `kedro cloudtrain stop`")
    waited = slow.kedro("cloudtrain", "wait", "train_mass")
    assert waited.returncode == 1
    assert "ended by `kedro cloudtrain stop`" in waited.stderr
    nothing = slow.kedro("cloudtrain", "stop", "--all")
    assert nothing.returncode == 0, nothing.stderr
    assert "No job of shop is running." in nothing.stdout


@needs_runner_params
def test_a_run_is_left_waited_for_and_taken_up_on_pods(shop: Project, cloud: Cloud) -> None:
    edit(shop, "templates/mine.py.j2", "time.sleep(0.1)", HELD)
    leave(shop, "--env=runpod")
    assert len(cloud.runpod.living) == 1
    leave(shop, "--env=runpod")
    assert len(cloud.runpod.pods) == 1
    (folder,) = (cloud.bucket / ".cloudtrain/jobs").iterdir()
    wait_for(shop, folder, "--env=runpod")
    # The runs that have left it are over, and what the pod has cost is known, once.
    left = list(RunLedger(shop.path).records())
    assert [(record.state, record.nodes[0].state, record.nodes[0].scores) for record in left] == [("done", "succeeded", {"rmse": 2.5})] * 2
    (machine,) = left[1].nodes[0].machines
    assert machine.cost_usd > 0
    assert [machine.pod for _, _, machine in paid(left)] == list(cloud.runpod.pods)
    assert "is done already" in run(shop, "--env=runpod")
    assert len(cloud.runpod.pods) == 1
    assert json.loads((shop.path / "data/08_reporting/mass.json").read_text()) == {"rmse": 2.5}


@needs_runner_params
def test_no_more_are_left_at_work_than_may_be(four: Project) -> None:
    four.write("conf/base/cloudtrain.yml", 'nodes: {"tag:small": {}}\nrun: {max_pods: 3}\n')
    output = " ".join(run(four, "--runner-params", "detach=true").split())
    assert len(four.jobs) == 4  # each is named, and three of them begun
    assert output.count(", measure_") == 2
    left = output.partition("Left running: ")[2].partition(". Wait")[0].split(", ")
    assert len(left) == 3
    (postponed,) = output.partition("as many jobs as run.max_pods allows are running: ")[2].partition(". The same run")[0].split(", ")
    assert postponed not in left
    for job in left:
        assert four.kedro("cloudtrain", "wait", job).returncode == 0
    again = " ".join(run(four, "--runner-params", "detach=true").split())
    assert postponed in again.partition("Left running: ")[2]
    assert "Not started" not in again


@pytest.mark.measured
@needs_runner_params
def test_what_fails_in_a_run_that_is_left_is_said(four: Project) -> None:
    four.write(
        "conf/base/catalog.yml",
        four.path.joinpath("conf/base/catalog.yml").read_text() + "x: {type: pandas.CSVDataset, filepath: no.csv}\n",
    )
    edit(
        four,
        "src/shop/pipeline_registry.py",
        'return {"__default__": Pipeline([*small,',
        'return {"__default__": Pipeline([*small, node(numbers, "x", "y", name="measure_x", tags="small"),',
    )
    four.write("conf/base/cloudtrain.yml", 'nodes: {"tag:small": {}}\nrun: {max_pods: 5}\n')
    done = four.kedro("run", "--runner=cloudtrain", "--runner-params", "detach=true")
    assert done.returncode == 1
    assert "no.csv" in done.stdout + done.stderr


@needs_runner_params
def test_a_wait_for_what_fails_or_is_gone_says_so(shop: Project, cloud: Cloud) -> None:
    leave(shop, "--env=runpod")
    cloud.runpod.end_pods()
    done = shop.kedro("cloudtrain", "wait", "train_mass", "--env=runpod")
    assert done.returncode == 1
    assert "is gone and has left no result" in done.stderr
    lost = RunLedger(shop.path).find("latest")
    assert (lost.state, lost.nodes[0].state, lost.error) == ("failed", "lost", "it is gone and has left no result")
    # RunPod goes on to list a pod whose host has failed.
    cloud.runpod.faults.befall("errors")
    leave(shop, "--env=runpod")
    done = shop.kedro("cloudtrain", "wait", "train_mass", "--env=runpod")
    assert done.returncode == 1
    assert "is gone and has left no result" in done.stderr
    assert "is still listed, as ERROR, and may be billed. End it: kedro cloudtrain stop" in " ".join((done.stdout + done.stderr).split())
    cloud.runpod.end_pods()
    edit(shop, "templates/mine.py.j2", 'print("round", step, flush=True)', "raise ValueError('no such thing')")
    leave(shop, "--env=runpod")
    wait_until(lambda: not cloud.runpod.living)
    # The volume shows the result a moment after RunPod shows that the pod is gone.
    late = StorageFault("GET", "result.json", 404, times=2)
    cloud.s3.faults.append(late)
    done = shop.kedro("cloudtrain", "wait", "train_mass", "--env=runpod")
    assert late.times == 0
    assert done.returncode == 1
    assert "failed: ended with exit code 1 and left no result. What it wrote" in done.stderr
    assert RunLedger(shop.path).find("latest").error == "ended with exit code 1 and left no result"
    done = shop.kedro("cloudtrain", "wait", "train_none", "--env=runpod")
    assert "There is no job 'train_none'" in done.stderr


TWO = """
from kedro.pipeline import Pipeline

from kedro_cloudtrain.backends.runpod.environments import Environments
from kedro_cloudtrain import training_node


def register_pipelines():
    names = ("mass", "fails")
    return {"__default__": Pipeline([training_node("penguins", f"params:{n}", metrics=f"{n}_metrics", name=f"train_{n}") for n in names])}
"""


# The one fails when the other is at work, and the other goes on a second after that, or waits to be cancelled.
BAD = """
import time
from pathlib import Path
give_up_at = time.monotonic() + 240
while not list(Path("..").glob("train_mass-*/progress.jsonl")) and time.monotonic() < give_up_at:
    time.sleep(0.02)
Path("failed").touch()
raise ValueError("on purpose")
"""
FAILED = 'list(Path("..").glob("train_fails-*/failed"))'


@pytest.mark.parametrize("on_failure", ["finish", "cancel"])
def test_one_failure_lets_the_others_finish_or_cancels_them(slow: Project, on_failure: str) -> None:
    slow.write("src/shop/pipeline_registry.py", TWO)
    slow.write("templates/bad.py.j2", BAD)
    if on_failure == "finish":
        edit(slow, "templates/mine.py.j2", "time.sleep(0.1)", f"{HELD}\n    time.sleep(step == 16)".replace('Path("go").exists()', FAILED))
    else:
        edit(slow, "templates/mine.py.j2", "time.sleep(0.1)", HELD)
    bad = "\nfails: {model_type: bad, target_column: body_mass_g}\n"
    slow.write("conf/base/parameters.yml", (slow.path / "conf/base/parameters.yml").read_text() + bad)
    slow.write("conf/base/cloudtrain.yml", f"run: {{max_pods: 2, on_failure: {on_failure}}}\n")
    done = slow.kedro("run", "--runner=cloudtrain")
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "on purpose" in output
    finished = (slow.path / "data/08_reporting/mass.json").exists()
    assert finished is (on_failure == "finish"), output
    (folder,) = (folder for folder in slow.jobs if folder.name.startswith("train_mass"))
    assert json.loads((folder / "result.json").read_text())["state"] == ("succeeded" if finished else "cancelled")


def grow_old(folder: Path, days: float) -> None:
    then = time.time() - days * 86_400
    for name in ("job.json", "why.json"):
        os.utime(folder / name, (then, then))


def test_old_jobs_are_taken_away_and_young_ones_stay(project: Project) -> None:
    run(project, "--nodes=train_mass")
    edit(project, "conf/base/parameters.yml", "max_depth: 3", "max_depth: 4")
    run(project, "--nodes=train_mass")
    old, young = project.jobs
    grow_old(old, 40)
    grow_old(young, 20)
    assert project.kedro("cloudtrain", "clean", "--older-than", "50d").stdout.strip().endswith("0 jobs, 0.0 MB deleted.")
    dry = project.kedro("cloudtrain", "clean", "--dry-run").stdout
    assert old.name in dry
    assert "would be deleted" in dry
    assert old.is_dir()
    output = project.kedro("cloudtrain", "clean").stdout
    assert old.name in output
    assert young.name not in output
    assert project.jobs == [young]
    assert (project.path / "data/06_models/mass/model.json").is_file()
    grow_old(young, 40)
    run(project, "--nodes=train_mass")  # it is taken as it is: it is wanted still
    assert young.name not in project.kedro("cloudtrain", "clean").stdout
    bad = project.kedro("cloudtrain", "clean", "--older-than", "a month")
    assert bad.returncode == 2
    assert "write an age, for example 30d, 12h or 45m" in bad.stderr
    outside = young.rename(project.path / "outside")
    young.symlink_to(outside)
    grow_old(outside, 40)
    kept = {file: file.read_bytes() for file in outside.rglob("*") if file.is_file()}
    done = project.kedro("cloudtrain", "clean")
    assert (done.returncode, young.name in done.stdout) == (0, True)
    assert not young.is_symlink()
    assert kept.items() <= {file: file.read_bytes() for file in outside.rglob("*") if file.is_file()}.items()


@pytest.mark.measured
def test_what_was_sent_along_goes_with_the_last_job_that_names_it(tmp_path: Path) -> None:
    flights = make_spaceflights(tmp_path)
    flights.write("conf/base/cloudtrain.yml", "nodes: {train_model_node: {}, evaluate_model_node: {}}\n")
    run(flights)
    inputs = flights.path / "data/volume/.cloudtrain/inputs"
    before = {file.name for file in inputs.iterdir()}
    (train,) = (folder for folder in flights.jobs if folder.name.startswith("train"))
    sent = set(json.loads((train / "job.json").read_text())["sent"])
    assert len(sent) == 2
    grow_old(train, 40)
    assert flights.kedro("cloudtrain", "clean").returncode == 0
    assert {file.name for file in inputs.iterdir()} == before - sent
    for folder in flights.jobs:
        grow_old(folder, 40)
    flights.kedro("cloudtrain", "clean")
    assert list(inputs.iterdir()) == []


def test_old_jobs_are_taken_from_the_network_volume_by_their_names(shop: Project, cloud: Cloud) -> None:
    run(shop, "--env=runpod", "--nodes=train_mass")
    wait_until(lambda: not cloud.runpod.living)
    (folder,) = cloud.volume.folder(".cloudtrain/jobs").iterdir()
    grow_old(folder, 40)
    # One that says that it is at work, and that nobody here holds: another computer's.
    result = (folder / "result.json").read_bytes()
    (folder / "result.json").unlink()
    assert "\n0 jobs, " in shop.kedro("cloudtrain", "clean", "--env=runpod").stdout
    (folder / "result.json").write_bytes(result)
    # As a machine has left it that was lost, and never replaced.
    state = cloud.bucket / f".cloudtrain/jobs/{folder.name}/checkpoint/round-000007"
    state.mkdir(parents=True)
    (state / "model.ubj").write_text("a model")
    (state.parent / "latest.json").write_text(json.dumps({"folder": "round-000007", "files": {"model.ubj": 7}}))
    cloud.s3.requests.clear()
    done = shop.kedro("cloudtrain", "clean", "--env=runpod")
    assert done.returncode == 0, done.stderr
    assert [file for file in (cloud.bucket / ".cloudtrain/jobs").rglob("*") if file.is_file()] == []
    assert not folder.exists()
    assert not [path for method, path in cloud.s3.requests if "list-type" in path or path.endswith("?delete")]
    assert "is done already" not in run(shop, "--env=runpod", "--nodes=train_mass")


@pytest.mark.measured
def test_environments_that_no_pod_has_used_for_long_are_taken_from_the_volume(shop: Project, cloud: Cloud) -> None:
    environments = Environments(cloud.volume)
    folder = cloud.bucket / ".cloudtrain/environments"
    folder.mkdir(parents=True)
    for name, days in (("0" * 16, 40), ("1" * 16, 3), ("2" * 16, 40)):
        environments.remember(name)
        os.utime(environments._notes / name, (time.time() - days * 86_400,) * 2)
        (folder / f"{name}.tar").write_bytes(b"x" * 2000)
        # Another computer's pod has used the last one a day ago.
        used_at = time.time() - (1 if name[0] == "2" else days) * 86_400
        (folder / f"{name}.json").write_text(json.dumps({"bytes": 2000, "used_at": used_at}))
    dry = shop.kedro("cloudtrain", "clean", "--environments", "--dry-run", "--env=runpod").stdout
    assert "1 environment, 2.0 kB would be deleted." in dry
    assert len(list(folder.iterdir())) == 6
    done = shop.kedro("cloudtrain", "clean", "--environments", "--env=runpod").stdout
    assert f"{'0' * 16}  2.0 kB  last used " in done
    assert "1 environment, 2.0 kB deleted." in done
    assert sorted({file.stem[0] for file in folder.iterdir()}) == ["1", "2"]
    assert (
        "2 environments, 4.0 kB deleted." in shop.kedro("cloudtrain", "clean", "--environments", "--older-than=12h", "--env=runpod").stdout
    )
    assert not [path for _, path in cloud.s3.requests if "list-type" in path]
    here = shop.kedro("cloudtrain", "clean", "--environments")
    assert here.returncode == 1
    assert "Pods keep environments on a network volume alone" in here.stderr + here.stdout
