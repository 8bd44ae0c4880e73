"""What a command writes for another program: its product and nothing else, in a shape that is held."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.account import Account
from support.json_schemas import SCHEMAS
from support.kedro_project import Project, edit, run

from kedro_cloudtrain.backends.runpod.pod_names import pod_name, pod_prefix
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.owner import project_id
from kedro_cloudtrain.planning.saved_plan import SavedPlan

ON_RUNPOD = ("--env=runpod",)


def product(project: Project, command: str, *options: str, **environment: str) -> dict[str, Any]:
    """Return what a command prints as JSON, checked; it is the same in a file."""
    with ThreadPoolExecutor(2) as threads:
        ways = [("--json",), ("--output", "made/product.json")]
        printed, written = threads.map(lambda way: project.kedro("cloudtrain", command, *way, *options, **environment), ways)
    assert printed.returncode == written.returncode, printed.stderr + written.stderr
    value = json.loads(printed.stdout)
    SCHEMAS[command].model_validate(value)
    SCHEMAS[command].model_validate_json((project.path / "made/product.json").read_text())
    return value


@pytest.fixture
def quiet(project: Project) -> Project:
    """A project whose Kedro logs no line to stdout before a command."""
    assert project.kedro("cloudtrain", "init").returncode == 0
    return project


def test_plan_jobs_and_doctor_have_their_shapes_on_this_computer(quiet: Project) -> None:
    plan = product(quiet, "plan")
    assert [node["name"] for node in plan["nodes"]] == ["train_mass", "summarise"]
    assert product(quiet, "jobs") == {"version": 1, "jobs": [], "pods": []}
    run(quiet)
    edit(quiet, "conf/base/parameters.yml", "max_depth: 3", "eval_metric: zzzz")
    assert quiet.kedro("run", "--runner=cloudtrain").returncode == 1
    failed, done = product(quiet, "jobs")["jobs"]
    assert (failed["state"], failed["node"], failed["error"]["type"]) == ("failed", "train_mass", "HyperparameterError")
    assert (done["state"], done["rows"]["read"], done["progress"]["step"]) == ("succeeded", 344, 12)
    assert done["folder"] == str(quiet.jobs[0])
    assert product(quiet, "doctor")["ok"]


@pytest.mark.measured
def test_with_problems_the_exit_codes_and_the_shapes_stay(quiet: Project) -> None:
    (quiet.path / "data/volume/datasets/penguins.csv").unlink()
    assert product(quiet, "plan")["nodes"][0]["problems"]
    quiet.write("conf/base/cloudtrain.yml", "volume: {path: conf/base/catalog.yml}\n")
    examined = product(quiet, "doctor")
    assert not examined["ok"]
    assert [finding["name"] for finding in examined["findings"] if not finding["ok"]] == ["volume"]


def test_plan_gpus_jobs_and_doctor_have_their_shapes_on_runpod(account: Account) -> None:
    project, environment = account.project, account.environment
    assert project.kedro("cloudtrain", "init").returncode == 0
    pod = account.add_pod(pod_name(pod_prefix(project_id(account.project.path)), "train_mass-0123456789ab", "deadbeef"), minutes=30)
    plan = product(project, "plan", *ON_RUNPOD, **environment)
    assert plan["nodes"][0]["machine"] == "NVIDIA L4"
    (listed,) = product(project, "jobs", *ON_RUNPOD, **environment)["pods"]
    assert (listed["id"], listed["machine"]) == (pod, "NVIDIA L4")
    assert listed["cost_usd"] == pytest.approx(0.215, abs=0.02)
    assert {gpu["id"] for gpu in product(project, "gpus", *ON_RUNPOD, **environment)} >= {"NVIDIA L4", "NVIDIA A40"}
    assert product(project, "doctor", *ON_RUNPOD, **environment)["ok"]
    unanswered = product(project, "plan", *ON_RUNPOD, **{**environment, "RUNPOD_API_BASE_URL": "http://127.0.0.1:9"})
    assert unanswered["run"]["doubts"]
    assert not unanswered["run"]["problems"]
    with pytest.raises(ConfigError, match="was made with doubts: something did not answer"):
        SavedPlan.read(project.path / "made/product.json")


@pytest.mark.parametrize("command", ["plan", "jobs", "doctor"])
def test_the_file_has_a_short_option_as_well(quiet: Project, command: str) -> None:
    assert quiet.kedro("cloudtrain", command, "--out", "made/product.json").returncode == 0
    SCHEMAS[command].model_validate_json((quiet.path / "made/product.json").read_text())


@pytest.mark.parametrize("option", ["--output", "--out"])
def test_a_file_that_cannot_be_written_is_named(project: Project, option: str) -> None:
    done = project.kedro("cloudtrain", "plan", option, "pyproject.toml/plan.json")
    assert done.returncode == 1
    assert "--output pyproject.toml/plan.json cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
