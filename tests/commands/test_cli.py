"""The commands, in a real project, as a user types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time

import pytest
import yaml
from support.kedro_project import Project, needs_runner_params

from kedro_cloudtrain.config import make_settings


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the pipeline has been run once, by its short name."""
    from support.kedro_project import make_project

    project = make_project(tmp_path_factory.mktemp("ran"))
    done = project.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 0, done.stderr
    project.output = done.stdout + done.stderr
    return project


def test_the_short_name_runs_both_kinds_of_nodes_and_accounts_for_them(ran: Project) -> None:
    assert "rmse is" in ran.output
    assert "Completed 2 out of 2 tasks" in ran.output
    for word in (
        "1 training node, 1 ordinary node",
        "backend local",
        "via client",
        "train_mass started",
        "train_mass done after 12",
    ):
        assert word in ran.output, word
    assert "Traceback" not in ran.output
    assert (ran.path / "data/06_models/mass/model.json").is_file()
    assert json.loads((ran.path / "data/08_reporting/mass.json").read_text())["rmse"] > 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["-r", "cloudtrain", "--tags", "gpu"],
        ["--runner=kedro_cloudtrain.CloudTrainRunner", "--nodes", "train_mass"],
        ["--runner=cloudtrain", "--to-nodes", "train_mass", "--env", "local"],
        ["--runner=cloudtrain", "--from-nodes", "train_mass", "--async"],
        ["--runner=cloudtrain", "--params", "mass.hyperparameters.n_estimators=5", "--nodes", "train_mass"],
        ["--config", "run.yml"],
    ],
    ids=" ".join,
)
def test_kedros_options_work_with_the_runner(arguments: list[str], project: Project) -> None:
    project.write("run.yml", "run:\n  runner: cloudtrain\n  tags: gpu\n")
    done = project.kedro("run", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = project.jobs
    rounds = 5 if "--params" in arguments else 12
    assert len((folder / "progress.jsonl").read_text().splitlines()) == rounds


@needs_runner_params
def test_runner_params_only_missing_outputs_and_plain_runs(ran: Project) -> None:
    done = ran.kedro("run", "--runner=cloudtrain", "--runner-params", "max_pods=2,timeout_s=100", "--only-missing-outputs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Skipping" in done.stdout + done.stderr
    assert "backend local" not in done.stdout + done.stderr


def test_a_project_with_its_own_cli_and_one_run_as_a_module_know_the_name(project: Project) -> None:
    project.write("src/shop/cli.py", "from kedro.framework.cli.project import project_group as cli\n")
    project.write(
        "src/shop/__main__.py",
        """
        from kedro.framework.cli.utils import find_run_command
        from kedro.framework.project import configure_project

        configure_project("shop")
        find_run_command("shop")()
        """,
    )
    assert project.kedro("run", "--runner=cloudtrain", "--nodes", "train_mass").returncode == 0
    (project.path / "src/shop/cli.py").unlink()
    done = project.python("-m", "shop", "--runner=cloudtrain", "--nodes", "train_mass", PYTHONPATH="src")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(project.jobs) == 1


def test_an_instance_in_a_session_runs_too(project: Project) -> None:
    project.write(
        "run.py",
        """
        from pathlib import Path
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project
        from kedro_cloudtrain import CloudTrainRunner

        bootstrap_project(Path.cwd())
        with KedroSession.create() as session:
            runner = CloudTrainRunner()
            session.run(runner=runner, node_names=["train_mass"])
        print([receipt.state.value for receipt in runner.receipts])
        """,
    )
    done = project.python("run.py")
    assert "['succeeded']" in done.stdout, done.stdout + done.stderr


def test_a_misspelt_setting_names_file_line_and_nearest_and_costs_no_stack(project: Project) -> None:
    project.write("conf/base/cloudtrain.yml", "backend: local\ndefaults:\n  timeout_sec: 3\n")
    done = project.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    assert "conf/base/cloudtrain.yml, line 3: `defaults.timeout_sec` is not a setting. Did you mean `timeout_s`?" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert project.kedro("run", "--nodes", "summarise").returncode in (0, 1)  # a plain run does not look at our file
    assert "timeout_sec" not in project.kedro("run", "--nodes", "summarise").stderr


def test_environments_merge_key_by_key(project: Project) -> None:
    project.write(
        "conf/base/cloudtrain.yml", "volume: ${globals:volume}\ndefaults: {timeout_s: 600}\nnodes: {'train_*': {timeout_s: 300}}\n"
    )
    project.write("conf/slow/cloudtrain.yml", "nodes: {train_mass: {timeout_s: 7200}, 'tag:gpu': {timeout_s: 3600}}\n")
    assert " 0.0833 h" in project.kedro("cloudtrain", "plan").stdout
    assert " 2 h" in project.kedro("cloudtrain", "plan", "--env", "slow").stdout
    assert " 0.5 h" in project.kedro("cloudtrain", "plan", "--env", "slow", "--runner-params", "timeout_s=1800").stdout


def test_plan_shows_every_node_and_what_is_wrong(project: Project) -> None:
    done = project.kedro("cloudtrain", "plan")
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("train_mass", "local", "xgboost_regression", "datasets/penguins.csv", "15.2 kB", "summarise", "here"):
        assert word in done.stdout, word
    done = project.kedro("cloudtrain", "plan", "--params", "mass.target_column=body_mas_g")
    assert done.returncode == 1
    assert "no column `body_mas_g`. Closest: body_mass_g" in done.stdout
    assert "Fix target_column of `mass` in parameters.yml" in done.stdout
    (project.path / "data/volume/datasets/penguins.csv").unlink()
    done = project.kedro("cloudtrain", "plan")
    assert done.returncode == 1
    assert "1 problem" in done.stdout
    assert "no datasets/penguins.csv on the volume" in done.stdout
    assert project.jobs == []


def test_init_writes_settings_that_hold_and_leaves_those_there_are(project: Project) -> None:
    done = project.kedro("cloudtrain", "init")
    assert done.returncode == 0, done.stderr
    assert "conf/base/cloudtrain.yml" in done.stdout
    settings = (project.path / "conf/base/cloudtrain.yml").read_text()
    assert project.kedro("cloudtrain", "plan").returncode == 0
    # An editor finds the schema, which no environment of Kedro's has among its files.
    relative = settings.partition("\n")[0].removeprefix("# yaml-language-server: $schema=")
    schema = json.loads((project.path / "conf/base" / relative).read_text())
    printed = project.kedro("cloudtrain", "schema").stdout
    assert json.loads(printed[printed.index("{\n") :]) == schema
    assert "Wrote conf/odd/cloudtrain.yml." in project.kedro("cloudtrain", "init", "--env=odd").stdout
    # What is commented out is what could be written there.
    lines = [re.sub(r"^# (?=(defaults|nodes|run):|  )", "", line) for line in settings.splitlines() if not line.startswith("# volume")]
    assert make_settings(yaml.safe_load("\n".join(lines))).defaults.gpu == "auto"
    again = project.kedro("cloudtrain", "init")
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert (project.path / "conf/base/cloudtrain.yml").read_text() == settings


@pytest.mark.parametrize("command", [("render", "train_mass"), ("plan", "--json")])
def test_what_a_command_makes_is_all_that_stdout_has(project: Project, command: tuple[str, ...]) -> None:
    bare = project.kedro("cloudtrain", *command)
    assert "To keep it out: kedro cloudtrain init" in bare.stderr
    assert project.kedro("cloudtrain", "init").returncode == 0
    done = project.kedro("cloudtrain", *command)
    assert done.returncode == 0, done.stderr
    assert "kedro cloudtrain init" not in done.stderr
    if command[0] == "render":
        compile(done.stdout, "train.py", "exec")
        assert done.stdout.startswith('"""')
    else:
        assert json.loads(done.stdout)["run"]["backend"] == "local"


@pytest.mark.measured
def test_init_tells_how_settings_that_are_there_find_their_schema(project: Project) -> None:
    project.write("conf/base/cloudtrain.yml", "backend: local\n")
    done = project.kedro("cloudtrain", "init")
    line = "# yaml-language-server: $schema=../cloudtrain.schema.json"
    assert f"begin conf/base/cloudtrain.yml with this line: {line}" in done.stdout
    project.write("conf/base/cloudtrain.yml", f"{line}\nbackend: local\n")
    (project.path / "conf/cloudtrain.schema.json").unlink()
    assert "with this line" not in project.kedro("cloudtrain", "init").stdout


def test_init_leaves_a_projects_own_logging_alone_and_completes_what_is_missing(project: Project) -> None:
    own = project.write("conf/logging.yml", "version: 1\n")
    assert "Wrote conf/base/cloudtrain.yml, conf/cloudtrain.schema.json." in project.kedro("cloudtrain", "init").stdout
    assert own.read_text() == "version: 1\n"
    own.unlink()
    done = project.kedro("cloudtrain", "init")
    assert "Wrote conf/logging.yml." in done.stdout
    assert "kedro.framework.project" in own.read_text()


@pytest.mark.measured
def test_render_prints_the_script_or_writes_a_job_that_runs_by_hand(project: Project) -> None:
    done = project.kedro("cloudtrain", "render", "train_mass")
    assert 'TARGET_COLUMN = "body_mass_g"' in done.stdout
    assert not project.jobs
    target = project.path / "by hand"
    done = project.kedro("cloudtrain", "render", "train_mass", "--to", str(target))
    assert done.returncode == 0, done.stderr
    subprocess.run([sys.executable, "train.py"], cwd=target, check=True, capture_output=True, timeout=60)
    assert json.loads((target / "result.json").read_text())["state"] == "succeeded"
    assert project.kedro("cloudtrain", "render", "train_mass", "--to", "conf").returncode == 1
    unknown = project.kedro("cloudtrain", "render", "train_mas")
    assert unknown.returncode == 1
    assert "Did you mean `train_mass`" in unknown.stderr
    wrong = project.kedro("cloudtrain", "render", "train_mass", "--params", "mass.seed=-1")
    assert wrong.returncode == 1
    assert "`seed` is -1" in wrong.stderr
    assert "no pipeline 'other'" in project.kedro("cloudtrain", "render", "train_mass", "-p", "other").stderr


@pytest.mark.measured
def test_jobs_and_logs_tell_what_a_run_has_left(ran: Project, project: Project) -> None:
    done = ran.kedro("cloudtrain", "jobs")
    for word in (ran.jobs[0].name, "done", "xgboost_regression", "344", "12/12 val rmse"):
        assert word in done.stdout, word
    for name in (ran.jobs[0].name, "train_mass"):
        done = ran.kedro("cloudtrain", "logs", name)
        assert "round 12/12" in done.stdout
        assert done.stdout.rstrip().splitlines()[-1].startswith("rmse")
    assert "no job 'train_mess'" in ran.kedro("cloudtrain", "logs", "train_mess").stderr
    assert "No jobs yet" in project.kedro("cloudtrain", "jobs").stdout


@pytest.mark.measured
def test_logs_follow_a_job_until_it_is_done(project: Project) -> None:
    body = "import time\nfor number in range(6):\n    print('line', number, flush=True)\n    time.sleep(0.5)\n"
    project.write("templates/mine.py.j2", body)
    project.write("conf/base/parameters.yml", "mass: {model_type: mine, target_column: body_mass_g}\n")
    run = threading.Thread(target=project.kedro, args=("run", "--runner=cloudtrain"))
    run.start()
    for _ in range(300):
        if project.jobs and (project.jobs[0] / "log.txt").exists():
            break
        time.sleep(0.1)
    done = project.kedro("cloudtrain", "logs", "train_mass", "-f")
    run.join()
    assert [line for line in done.stdout.splitlines() if line.startswith("line")] == [f"line {number}" for number in range(6)]


def test_help_says_what_each_command_does(project: Project) -> None:
    done = project.kedro("cloudtrain", "--help")
    commands = ["init", "plan", "render", "jobs", "logs", "wait", "clean", "gpus", "doctor", "reap", "stop", "upload", "download"]
    for name in commands:
        assert f"\n  {name} " in done.stdout
        assert project.kedro("cloudtrain", name, "--help").stdout.count("\n") > 5


def test_a_nodes_own_job_is_found_before_one_whose_name_begins_so(project: Project) -> None:
    jobs = project.path / "data/volume/.cloudtrain/jobs"
    for number, name in enumerate(("train-0123456789ab", "train_big-0123456789ab")):
        (jobs / name).mkdir(parents=True)
        (jobs / name / "job.json").write_text("{}")
        (jobs / name / "log.txt").write_text(f"the log of {name}\n")
        os.utime(jobs / name / "job.json", (number, number))
    assert "the log of train-0123456789ab" in project.kedro("cloudtrain", "logs", "train").stdout
    assert "the log of train_big-0123456789ab" in project.kedro("cloudtrain", "logs", "train_").stdout
