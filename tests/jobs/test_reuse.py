"""Finished work is not done again, and running work is found again: on this computer and on pods, by any client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.cloud import Cloud
from support.forked import ForkedProcess
from support.kedro_project import Project, edit, needs_runner_params, run
from support.kedro_project import start as start_client
from support.slow_training import hold
from support.waiting import wait_until

# A bound for what takes seconds on an idle computer: a test must not fail because the computer is busy.
PATIENCE_S = 120


Start = Callable[..., ForkedProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start clients; those that a failed test leaves are killed, so that no other test shares the computer with them."""
    clients: list[ForkedProcess] = []

    def start(project: Project, *args: str, **environment: str) -> ForkedProcess:
        clients.append(start_client(project, *args, **environment))
        return clients[-1]

    yield start
    for client in clients:
        if client.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(client.pid, signal.SIGKILL)
            client.wait(PATIENCE_S)


def pids(project: Project) -> list[int]:
    return [json.loads((folder / "machine.json").read_text())["pid"] for folder in project.jobs]


def why(project: Project, job: Path | None = None) -> str:
    note = json.loads(((job or project.jobs[-1]) / "why.json").read_text())
    return f"{note['state']}: {note['why']}"


def test_an_unchanged_pipeline_starts_no_machine_and_has_the_same_outputs(project: Project) -> None:
    run(project)
    assert why(project) == "ran: first run"
    metrics, before = (project.path / "data/08_reporting/mass.json").read_text(), pids(project)
    (project.path / "data/08_reporting/mass.json").unlink()
    output = run(project)
    assert "train_mass is done already: nothing changed" in output
    assert "reused" in output
    assert "rmse is" in output  # the node below runs as ever
    assert pids(project) == before
    assert (project.path / "data/08_reporting/mass.json").read_text() == metrics
    jobs = project.kedro("cloudtrain", "jobs").stdout
    assert "reused: nothing changed" in jobs


@pytest.mark.parametrize(
    ("file", "before", "after", "reason"),
    [
        ("conf/base/parameters.yml", "max_depth: 3", "max_depth: 4", "ran: changed: hyperparameters"),
        ("conf/base/parameters.yml", "seed: 7", "seed: 8", "ran: changed: validation"),
        ("data/volume/datasets/penguins.csv", "Torgersen,39.1", "Torgersen,39.2", "ran: changed: the input data"),
        ("src/shop/pipeline_registry.py", ', history="mass_history"', "", "ran: changed: outputs"),
    ],
)
def test_one_change_runs_the_job_again_and_is_named(project: Project, file: str, before: str, after: str, reason: str) -> None:
    run(project, "--nodes=train_mass")
    edit(project, file, before, after)
    run(project, "--nodes=train_mass")
    assert len(project.jobs) == 2
    assert why(project) == reason


def test_a_change_of_the_machine_leaves_the_work_as_it_was(project: Project) -> None:
    run(project, "--nodes=train_mass")
    project.write("conf/base/cloudtrain.yml", "defaults: {timeout_s: 500, gpu: none, max_cost_usd: 3}\nrun: {max_pods: 2}\n")
    assert "is done already" in run(project, "--nodes=train_mass")


@needs_runner_params
def test_without_the_cache_the_job_runs(project: Project) -> None:
    run(project, "--nodes=train_mass")
    before = pids(project)
    run(project, "--nodes=train_mass", "--runner-params", "cache=false")
    assert pids(project) != before
    assert why(project) == "ran: cache=false"


def test_a_node_may_do_without_the_cache_and_the_others_keep_theirs(project: Project) -> None:
    project.write("conf/base/cloudtrain.yml", "nodes: {train_mass: {cache: false}, summarise: {}}\n")
    run(project)
    output = run(project)
    assert "summarise is done already" in output
    assert "train_mass is done already" not in output
    assert why(project, next(job for job in project.jobs if job.name.startswith("train_mass"))) == "ran: cache=false"


def test_outputs_that_have_changed_are_made_again(project: Project) -> None:
    run(project, "--nodes=train_mass")
    (folder,) = project.jobs
    (folder / "outputs/metrics.json").write_text("{}")
    output = run(project, "--nodes=train_mass")
    assert "runs again" in output
    assert json.loads((project.path / "data/08_reporting/mass.json").read_text())["rmse"] > 0
    next((folder / "outputs/model").rglob("model.json")).unlink()
    assert "runs again" in run(project, "--nodes=train_mass")


def test_a_failed_run_is_not_reused(project: Project) -> None:
    project.write("templates/mine.py.j2", "raise ValueError('not yet')\n")
    edit(project, "conf/base/parameters.yml", "xgboost_regression", "mine")
    edit(project, "conf/base/parameters.yml", "hyperparameters: {n_estimators: 12, max_depth: 3}", "hyperparameters: {}")
    for _ in range(2):
        assert project.kedro("run", "--runner=cloudtrain").returncode == 1
    assert len(project.jobs) == 1


def test_a_result_that_cannot_be_read_is_not_reused(project: Project) -> None:
    run(project)
    (project.jobs[-1] / "result.json").write_text("")
    run(project)
    assert why(project) == "ran: the earlier run's result cannot be read"


@pytest.mark.measured
def test_an_input_without_an_identity_counts_as_changed(project: Project) -> None:
    from support.http_server import Server
    from support.kedro_project import PENGUINS

    with Server({"p.csv": PENGUINS.read_bytes()}, etag=False) as server:
        catalog = (project.path / "conf/base/catalog.yml").read_text()
        entry = f"penguins:\n  type: kedro_cloudtrain.CloudDataset\n  dataset_url: {server.url('p.csv')}\n"
        project.write("conf/base/catalog.yml", entry + catalog[catalog.index("mass_model") :])
        for _ in range(2):
            assert "is done already" not in run(project, "--nodes=train_mass")
        assert why(project) == "ran: data has neither an ETag nor a date, so it counts as changed"


def test_a_hyperparameter_that_names_a_file_of_this_computer_counts_as_changed(project: Project) -> None:
    project.write("data/splits.json", "{}")
    edit(project, "conf/base/parameters.yml", "xgboost_regression", "lightgbm_regression")
    edit(project, "conf/base/parameters.yml", "{n_estimators: 12, max_depth: 3}", "{num_iterations: 3, forcedsplits_filename: FILE}")
    run(project, "--nodes=train_mass")
    assert "is done already" in run(project, "--nodes=train_mass")
    edit(project, "conf/base/parameters.yml", "FILE", str(project.path / "data/splits.json"))
    output = " ".join(run(project, "--nodes=train_mass").split())
    assert "train_mass: `hyperparameters` holds the path" in output
    assert "is done already" not in run(project, "--nodes=train_mass")
    assert why(project) == "ran: hyperparameters refers to what may change unseen, so it counts as changed"


def test_the_process_of_a_killed_client_is_found_again(slow: Project, start: Start) -> None:
    held = hold(slow)
    client = start(slow)
    # The process may be at work before its client has noted it.
    files = ("progress.jsonl", "machine.json")
    wait_until(lambda: slow.jobs and all((slow.jobs[0] / name).exists() for name in files))
    os.killpg(client.pid, signal.SIGKILL)
    client.wait(PATIENCE_S)
    held.unlink()
    (pid,) = pids(slow)
    output = run(slow)
    assert pids(slow) == [pid]
    assert "is done already" in output
    (folder,) = slow.jobs
    assert (folder / "log.txt").read_text().count("round 30\n") == 1
    assert json.loads((slow.path / "data/08_reporting/mass.json").read_text()) == {"rmse": 2.5}


def test_two_clients_at_once_start_one_process(slow: Project, start: Start) -> None:
    clients = [start(slow), start(slow)]
    outputs = [client.communicate(timeout=PATIENCE_S)[0] for client in clients]
    assert [client.returncode for client in clients] == [0, 0], outputs
    (folder,) = slow.jobs
    assert (folder / "log.txt").read_text().count("round 1\n") == 1
    assert sum("is done already" in output for output in outputs) == 1


def test_a_finished_job_whose_outputs_are_gone_runs_again_on_a_pod(shop: Project, cloud: Cloud, tmp_path: Path) -> None:
    run(shop, "--env=runpod")
    (job,) = (cloud.bucket / ".cloudtrain/jobs").iterdir()
    (job / "outputs/metrics.json").unlink()
    output = run(shop, "--env=runpod", XDG_CACHE_HOME=str(tmp_path / "another"))
    assert "runs again: an output of" in output
    assert len(cloud.runpod.pods) == 2


def test_any_client_reuses_a_finished_job_of_the_volume(shop: Project, cloud: Cloud, tmp_path: Path) -> None:
    run(shop, "--env=runpod")
    assert len(cloud.runpod.pods) == 1
    (shop.path / "data/08_reporting/mass.json").unlink()
    output = run(shop, "--env=runpod", XDG_CACHE_HOME=str(tmp_path / "elsewhere"))
    assert "is done already" in output
    assert len(cloud.runpod.pods) == 1
    assert json.loads((shop.path / "data/08_reporting/mass.json").read_text()) == {"rmse": 2.5}
    jobs = shop.kedro("cloudtrain", "jobs", "--env=runpod", XDG_CACHE_HOME=str(tmp_path / "elsewhere")).stdout
    assert "reused: nothing changed" in jobs


@pytest.mark.parametrize("moment", ["pod is there", "at work", "result is there"])
def test_the_pod_of_a_killed_client_is_found_again(shop: Project, cloud: Cloud, moment: str, start: Start) -> None:
    held = hold(shop)
    if moment == "result is there":
        held.unlink()
    client = start(shop, "--env=runpod")
    jobs = cloud.bucket / ".cloudtrain/jobs"
    wait_until(lambda: cloud.runpod.pods)
    if moment == "at work":
        wait_until(lambda: list(jobs.glob("*/progress.jsonl")))
    elif moment == "result is there":
        wait_until(lambda: list(jobs.glob("*/result.json")))
    os.killpg(client.pid, signal.SIGKILL)
    client.wait(PATIENCE_S)
    held.unlink(missing_ok=True)
    output = run(shop, "--env=runpod")
    assert len(cloud.runpod.pods) == 1
    assert "attached to it" in output or "is done already" in output
    (folder,) = cloud.volume.folder(".cloudtrain/jobs").iterdir()
    if "attached to it" in output:
        assert [line for line in (folder / "log.txt").read_text().splitlines() if line.startswith("round")] == [
            f"round {step}" for step in range(1, 31)
        ]
    assert json.loads((shop.path / "data/08_reporting/mass.json").read_text()) == {"rmse": 2.5}
    wait_until(lambda: not cloud.runpod.living)


def test_two_clients_of_two_computers_start_one_machine(shop: Project, cloud: Cloud, tmp_path: Path, start: Start) -> None:
    clients = [start(shop, "--env=runpod", XDG_CACHE_HOME=str(tmp_path / name)) for name in ("one", "two")]
    outputs = [client.communicate(timeout=PATIENCE_S)[0] for client in clients]
    assert [client.returncode for client in clients] == [0, 0], outputs
    assert len(cloud.runpod.pods) == 1, outputs
    wait_until(lambda: not cloud.runpod.living)


def test_a_machine_whose_client_gave_it_up_is_not_attached_to(shop: Project, cloud: Cloud, start: Start) -> None:
    held = hold(shop)
    client = start(shop, "--env=runpod")
    wait_until(lambda: list((cloud.bucket / ".cloudtrain/jobs").glob("*/progress.jsonl")))
    client.send_signal(signal.SIGTERM)
    client.wait(PATIENCE_S)
    assert cloud.runpod.living == []
    held.unlink()
    output = run(shop, "--env=runpod")
    assert "attached to it" not in output
    assert len(cloud.runpod.pods) == 2
    assert "train_mass done" in output
