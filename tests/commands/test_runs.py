"""`kedro cloudtrain runs` and `cost`: after twenty experiments one can say which was best and what was spent."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import textwrap

import pytest
from support.account import Account
from support.kedro_project import Project, edit, make_project, run, start
from support.slow_training import hold
from support.waiting import wait_until

pytestmark = pytest.mark.measured


def typed(project: Project, *args: str, status: int = 0, **environment: str) -> str:
    done = project.kedro("cloudtrain", *args, **environment)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def records(project: Project, *options: str) -> list[dict]:
    printed = project.kedro("cloudtrain", "runs", "--json", *options).stdout
    return json.loads(printed[printed.index("{\n") :])["runs"]  # behind a line of Kedro's own, where the project has no logging.yml


def git(project: Project, *args: str) -> str:
    return subprocess.run(["git", *args], cwd=project.path, capture_output=True, text=True, check=True).stdout  # noqa: S607


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with three runs: one, the same again, and one that is deeper; git has the project."""
    project = make_project(tmp_path_factory.mktemp("runs"))
    typed(project, "init")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q", "-b", "main"), ("add", "."), (*author, "commit", "-qm", "first")):
        git(project, *command)
    run(project)
    run(project, "--tags=gpu")
    edit(project, "conf/base/parameters.yml", "max_depth: 3", "max_depth: 5")
    run(project)
    return project


def test_each_run_leaves_a_record_of_what_was_asked_for_and_what_came_of_it(runs: Project) -> None:
    third, second, first = records(runs)
    assert [record["state"] for record in (first, second, third)] == ["done"] * 3
    train, summarise = first["nodes"]
    assert (train["kind"], train["model"], train["where"], train["state"], train["why"]) == (
        "training",
        "xgboost_regression",
        "local",
        "succeeded",
        "first run",
    )
    metrics = json.loads((runs.path / "data/volume/.cloudtrain/jobs" / train["job"] / "outputs/metrics.json").read_text())
    assert train["scores"] == metrics
    assert train["outputs"]["mass_model"] == "data/06_models/mass"
    assert train["rows"] == 344
    assert {"render", "start", "read", "fit", "save"} <= set(train["seconds"])
    assert set(train["data"]) == {"penguins"}
    assert first["started_at"] <= train["started_at"] <= train["finished_at"] <= first["finished_at"]
    assert (summarise["kind"], summarise["where"], summarise["state"]) == ("ordinary", "here", "succeeded")
    assert summarise["total_s"] >= 0
    assert first["command"] == "kedro run --runner=cloudtrain"
    assert re.fullmatch("[0-9a-f]{40}", first["git"]["commit"])
    assert (first["git"]["clean"], third["git"]["clean"]) == (True, False)
    assert first["parameters"]["mass.hyperparameters.max_depth"] == 3
    assert first["parameters_digest"] == second["parameters_digest"] != third["parameters_digest"]
    assert [node["state"] for node in second["nodes"]] == ["reused"]
    assert second["nodes"][0]["scores"] == metrics
    assert third["nodes"][0]["why"] == "changed: hyperparameters"
    # The id is the version of what the run has saved, and git sees none of it.
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z", first["id"])
    assert ".cloudtrain/runs" not in git(runs, "status", "--porcelain", "--untracked-files=all")


def test_the_list_has_a_line_a_run_and_its_filters(runs: Project) -> None:
    third, second, first = records(runs)
    table = typed(runs, "runs", COLUMNS="120")
    assert [line.split()[0] for line in table.splitlines() if line.startswith("20")] == [third["id"], second["id"], first["id"]]
    assert "train_mass rmse" in table
    assert "1 reused" in table
    assert records(runs, "--limit", "1") == [third]
    assert records(runs, "--since", "1h") == [third, second, first]
    assert records(runs, "--pipeline", "nightly") == []
    assert "No such runs." in typed(runs, "runs", "--since", "2999-01-01")
    assert "--since is 'yesterday': write an age (30d, 12h, 45m) or a date" in typed(runs, "runs", "--since", "yesterday", status=2)
    rows = list(csv.DictReader(io.StringIO(runs.kedro("cloudtrain", "runs", "--csv").stdout)))
    assert [(row["run"], row["node"], row["score"]) for row in rows][:2] == [
        (third["id"], "train_mass", "rmse"),
        (third["id"], "summarise", ""),
    ]
    assert float(rows[0]["value"]) == third["nodes"][0]["scores"]["rmse"]


def test_one_run_is_shown_with_where_its_outputs_went(runs: Project) -> None:
    shown = typed(runs, "runs", "show", COLUMNS="120")
    for part in ("kedro run --runner=cloudtrain", "+ changes on main", "train_mass", "rmse", "data/06_models/mass", "done"):
        assert part in shown
    (third, *_) = records(runs)
    assert json.loads(runs.kedro("cloudtrain", "runs", "show", third["id"], "--json").stdout)["run"] == third
    assert "There is no run '1999'" in typed(runs, "runs", "show", "1999", status=1)


def test_runs_are_compared_by_what_differs_and_the_better_score_is_marked(runs: Project) -> None:
    third, second, first = records(runs)
    table = typed(runs, "runs", "compare", first["id"], third["id"], COLUMNS="120")
    lines = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    assert lines["mass.hyperparameters.max_depth"].split()[1:] == ["3", "5"]
    assert "mass.hyperparameters.n_estimators" not in lines
    assert lines["train_mass.rmse"].count("✓") == 1
    better = min((first, third), key=lambda record: record["nodes"][0]["scores"]["rmse"])
    comparison = json.loads(runs.kedro("cloudtrain", "runs", "compare", first["id"], third["id"], "--json").stdout)
    (rmse,) = [line for line in comparison["scores"] if line["name"] == "train_mass.rmse"]
    assert comparison["runs"][rmse["best"][0]] == better["id"]
    assert "Neither parameters nor data differ." in typed(runs, "runs", "compare", first["id"], second["id"])
    assert "`compare` takes two runs or more" in typed(runs, "runs", "compare", first["id"], status=2)


def test_a_project_without_runs_or_git_says_what_makes_one(project: Project) -> None:
    assert "No runs yet. A run leaves a record: kedro run --runner=cloudtrain" in typed(project, "runs")
    assert "No run has paid for a machine." in typed(project, "cost")
    assert "A run makes one: kedro run --runner=cloudtrain" in typed(project, "runs", "show", status=1)
    run(project, "--nodes=train_mass")
    (record,) = records(project)
    assert record["git"] is None


def test_a_secret_that_was_typed_is_in_no_record(project: Project) -> None:
    typed_params = "mass.hyperparameters.max_depth=2,service.api_key=geheim1,service.token=geheim2,note=a:b"
    run(project, "--nodes=train_mass", f"--params={typed_params}")
    (record,) = records(project)
    command = "'--params=mass.hyperparameters.max_depth=2,service.api_key=***,service.token=***,note=a:b'"
    assert record["command"] == f"kedro run --runner=cloudtrain --nodes=train_mass {command}"
    assert "geheim" not in json.dumps(record)


def test_a_failed_and_a_killed_run_leave_theirs_and_a_refused_one_leaves_none(slow: Project) -> None:
    edit(slow, "src/shop/pipeline_registry.py", "return sorted(metrics)", 'raise ValueError("no metrics: https://a:geheim1@example.org")')
    assert slow.kedro("run", "--runner=cloudtrain").returncode == 1
    held = hold(slow)
    process = start(slow, "--runner-params=cache=false")
    wait_until(lambda: len(list((slow.path / ".cloudtrain/runs").glob("2*.json"))) == 2)
    wait_until(lambda: records(slow, "--limit=1")[0]["nodes"][0]["state"] == "running")
    (running,) = records(slow, "--limit=1")
    assert (running["state"], running["nodes"][0]["job"].startswith("train_mass-")) == ("running", True)
    process.kill()
    process.wait(60)
    edit(slow, "conf/base/parameters.yml", "target_column: body_mass_g", "target_colum: body_mass_g")
    assert slow.kedro("run", "--runner=cloudtrain").returncode == 1
    killed, failed = records(slow)
    held.unlink()
    assert (killed["state"], killed["finished_at"], killed["nodes"][0]["state"]) == ("interrupted", None, "running")
    assert (failed["state"], failed["error"]) == ("failed", "ValueError: no metrics: https://***@example.org")
    assert [(node["state"], node["error"]) for node in failed["nodes"]] == [
        ("succeeded", ""),
        ("failed", "ValueError: no metrics: https://***@example.org"),
    ]
    assert "geheim1" not in "".join(file.read_text() for file in (slow.path / ".cloudtrain/runs").glob("*.json"))


def test_an_interrupted_and_a_detached_run_are_told_apart(slow: Project) -> None:
    held = hold(slow)
    process = start(slow)
    # Its log is there before its job is: what forks the jobs may still be importing their libraries.
    wait_until(lambda: list(slow.path.glob("data/volume/.cloudtrain/jobs/*/progress.jsonl")))
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    run(slow, "--runner-params=detach=true")
    detached, interrupted = records(slow)
    assert (detached["state"], interrupted["state"]) == ("detached", "interrupted")
    assert [node["state"] for node in detached["nodes"]] == ["running", "waiting"]
    assert "The same run again, without detach, takes their results." in typed(slow, "runs", "show")
    held.unlink()
    typed(slow, "wait", "train_mass")
    (closed, _) = records(slow)
    assert (closed["id"], closed["state"]) == (detached["id"], "done")
    assert [node["state"] for node in closed["nodes"]] == ["succeeded", "waiting"]
    assert closed["nodes"][0]["scores"]["rmse"] > 0
    assert "train_mass: ran, an earlier run did not finish" in typed(slow, "runs", "show", detached["id"])


def test_a_broken_record_is_named_beside_the_others(runs: Project, project: Project) -> None:
    target = project.path / ".cloudtrain/runs"
    target.mkdir(parents=True)
    for file in (runs.path / ".cloudtrain/runs").glob("*.json"):
        (target / file.name).write_bytes(file.read_bytes())
    broken = sorted(target.glob("*.json"))[1]
    broken.write_bytes(broken.read_bytes()[:300])
    done = project.kedro("cloudtrain", "runs")
    assert done.returncode == 0
    assert f"Left out: the record of run {broken.stem} cannot be read as one" in done.stderr
    assert str(broken) in done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("20")]) == 2


def test_a_run_from_python_and_one_without_hooks_leave_a_record(project: Project) -> None:
    code = """
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project
        from kedro_cloudtrain import CloudTrainRunner

        bootstrap_project(".")
        with KedroSession.create() as session:
            session.run(runner=CloudTrainRunner(), node_names=["train_mass"])
        with KedroSession.create() as session:
            context = session.load_context()
            from kedro.framework.project import pipelines
            CloudTrainRunner().run(pipelines["__default__"].filter(node_names=["train_mass"]), context.catalog)
    """

    done = project.python("-c", textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
    without_hooks, from_python = records(project)
    assert from_python["command"] == without_hooks["command"] == ""
    assert [node["state"] for node in (*from_python["nodes"], *without_hooks["nodes"])] == ["succeeded", "reused"]
    assert without_hooks["nodes"][0]["scores"] == from_python["nodes"][0]["scores"]


def test_what_pods_cost_is_kept_and_held_against_the_bill(account: Account) -> None:
    runpod = account.cloud.runpod
    done = account.project.kedro("run", "--runner=cloudtrain", "--env=runpod", **account.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (account.project.path / ".cloudtrain/runs").glob("*.json")
    record = json.loads(file.read_text())
    (machine,) = record["nodes"][0]["machines"]
    (pod,) = runpod.pods
    assert (machine["pod"], machine["machine"], machine["ended"]) == (pod, "NVIDIA L4", "done")
    assert record["max_cost_usd"] == 5
    status, table = account.run("cost", "--by", "gpu")
    assert status == 0
    assert "NVIDIA L4" in table
    status, _ = account.run("jobs", "--json", "--output", "jobs.json")
    assert status == 0
    (job,) = json.loads((account.project.path / "jobs.json").read_text())["jobs"]
    assert job["cost_usd"] == pytest.approx(machine["cost_usd"])
    # A colleague sees the run beside the jobs.
    (account.project.path / ".cloudtrain/runs").rename(account.project.path / "elsewhere")
    status, _ = account.run("runs", "--all", "--json", "--output", "theirs.json")
    assert status == 0
    assert json.loads((account.project.path / "theirs.json").read_text())["runs"] == [record]
    (account.project.path / "elsewhere").rename(account.project.path / ".cloudtrain/runs")
    # Two hours later the bill is complete.
    file.write_text(json.dumps(record | {"finished_at": record["finished_at"] - 3 * 3600}))
    runpod.bills = True
    status, _ = account.run("cost", "--by", "node", "--json", "--output", "cost.json")
    assert status == 0
    (group,) = json.loads((account.project.path / "cost.json").read_text())["groups"]
    assert group["billed_usd"] > 0
    assert group["difference_usd"] == pytest.approx(group["billed_usd"] - group["cost_usd"])
    assert json.loads(file.read_text())["nodes"][0]["machines"][0]["billed_usd"] == pytest.approx(group["billed_usd"])
    account.refuse("GET", 401, "no")
    assert account.run("cost")[0] == 0  # It is kept.
