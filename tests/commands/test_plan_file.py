"""`plan --out FILE`, and a run that is held to it: what was reviewed is what runs, and anything else is refused before it begins."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.account import Account, use_settings
from support.http_server import Server
from support.json_schemas import Plan
from support.kedro_project import Project, edit, make_project, needs_runner_params, run

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.planning.record import Record
from kedro_cloudtrain.planning.saved_plan import SavedPlan

REGISTRY = """
from kedro.pipeline import Pipeline, node

from kedro_cloudtrain import training_node
from shop.counting import count
from shop.summary import summarise


def register_pipelines():
    nodes = [
        training_node("penguins", "params:mass", model="mass_model", metrics="mass_metrics", name="train_mass"),
        node(count, ["penguins", "params:least"], "counted", name="count"),
        node(summarise, ["mass_metrics", "counted", "notes"], "summary", name="summarise"),
    ]
    return {"__default__": Pipeline(nodes)}
"""
FILES = {
    "src/shop/pipeline_registry.py": REGISTRY,
    "src/shop/counting.py": """
        from shop.limits import above


        def count(penguins, least):
            return {"heavy": int(above(penguins["body_mass_g"], least).sum())}
    """,
    "src/shop/limits.py": """
        def above(masses, least):
            return masses > least
    """,
    "src/shop/summary.py": """
        def summarise(metrics, counted, notes):
            return {"rmse": metrics["rmse"], **counted, "notes": len(notes)}
    """,
    "src/shop/stores.py": """
        from kedro_datasets.json import JSONDataset


        class SummaryDataset(JSONDataset):
            pass
    """,
    "templates/mine.py.j2": """\
        {% extends "_xgboost.py.j2" %}
        {% set task = "regression" %}
        {% block objective %}
                objective="reg:squarederror",
                eval_metric="rmse",
        {% endblock %}
    """,
    "conf/base/cloudtrain.yml": "nodes: {count: {timeout_s: 300}}\n",
    "data/01_raw/notes.csv": "note\nfine\n",
}
CATALOG = """
notes: {type: pandas.CSVDataset, filepath: data/01_raw/notes.csv}
summary: {type: shop.stores.SummaryDataset, filepath: data/08_reporting/summary.json, versioned: true}
"""
PARAMETERS = """
least: 4000
"""
ORDINARY = """
from functools import partial

from kedro.pipeline import Pipeline, node


def add(notes, number):
    return len(notes) + number


def register_pipelines():
    return {"__default__": Pipeline([node(partial(add, number=2), "notes", "sum", name="add")])}
"""
BY_OTHER_MEANS = """
from pathlib import Path

from kedro.pipeline import Pipeline, node


def write(notes):
    Path("data/written.csv").write_text("a\\n1\\n")
    return len(notes)


def read(count, written):
    return count + len(written)


def register_pipelines():
    return {"__default__": Pipeline([node(write, "notes", "count", name="write"), node(read, ["count", "written"], "sum", name="read")])}
"""
WITH_CREDENTIALS = """
penguins: {{type: kedro_cloudtrain.CloudDataset, dataset_url: "{url}?token={query}&version=1", credentials: web}}
counted: {{type: json.JSONDataset, filepath: "memory://me:{password}@host/counted.json"}}
mass_model: {{type: kedro_cloudtrain.ModelDataset, filepath: data/06_models/mass}}
mass_metrics:
  type: partitions.PartitionedDataset
  path: data/08_reporting/parts
  dataset: {{type: json.JSONDataset, credentials: {{token: "{password}"}}}}
"""
WITH_A_KEY = """
mass: {{model_type: mine, target_column: body_mass_g, feature_columns: [species]}}
least: {{value: 4000, api_key: {parameter}}}
"""
Change = Callable[[Project], Any]


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a plan of it, which nobody changes."""
    made = make_project(tmp_path_factory.mktemp("planned"))
    for file, text in FILES.items():
        made.write(file, text)
    for file, text in {"catalog": CATALOG, "parameters": PARAMETERS}.items():
        with (made.path / f"conf/base/{file}.yml").open("a") as stream:
            stream.write(text)
    edit(made, "conf/base/parameters.yml", "xgboost_regression", "mine")
    done = made.kedro("cloudtrain", "plan", "--out", "plan.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kedro run --runner=cloudtrain --runner-params plan=plan.json" in done.stdout
    return made


@pytest.fixture
def clone(planned: Project, tmp_path: Path) -> Project:
    """Another folder with the same project, and the plan that was made in the first."""
    shutil.copytree(planned.path, tmp_path / "elsewhere/shop")
    return Project(tmp_path / "elsewhere/shop")


def refused(project: Project, *options: str, params: str = "", **environment: str) -> list[str]:
    """Run by the plan; return what the refusal has as different. Nothing has run."""
    arguments = ("run", "--runner=cloudtrain", "--runner-params", f"plan=plan.json{params}", *options)
    done = project.kedro(*arguments, **environment)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "Traceback" not in output
    assert "kedro cloudtrain plan --out plan.json" in output
    assert "Completed node" not in output
    assert project.jobs == []
    assert not list((project.path / "data").rglob("*.json"))
    differing = re.search(r"plan\.json is not the plan of this run, so nothing was run\. What differs:\n((?:  .*\n)+)Give the run", output)
    assert differing is not None, output
    return [line.strip() for line in differing[1].splitlines()]


def edited(file: str, before: str, after: str) -> Change:
    return lambda project: edit(project, file, before, after)


CODE = "its code, or a module that it imports"
CHANGES: dict[str, tuple[Change, list[str]]] = {
    "a parameter": (edited("conf/base/parameters.yml", "least: 4000", "least: 4001"), ["count: parameters least"]),
    "a parameter of a training": (
        edited("conf/base/parameters.yml", "max_depth: 3}", "max_depth: 3, eta: 0.1}"),
        ["train_mass: parameters mass.hyperparameters.eta"],
    ),
    "the code of a function on a machine": (edited("src/shop/counting.py", "int(", "1 + int("), [f"count: {CODE}"]),
    "a module that it imports": (edited("src/shop/limits.py", ">", ">="), [f"count: {CODE}"]),
    "the code of an ordinary node": (edited("src/shop/summary.py", "len(notes)", "2"), [f"summarise: {CODE}"]),
    "the class of an entry": (edited("src/shop/stores.py", "pass", "fast = True"), [f"summarise: {CODE}"]),
    "a node's setting": (edited("conf/base/cloudtrain.yml", "300", "301"), ["count: settings timeout_s"]),
    "where a node runs": (
        lambda project: project.write("conf/base/cloudtrain.yml", "{}\n"),
        ["count: where it runs"],
    ),
    "a setting of the run": (
        lambda project: project.write("conf/base/cloudtrain.yml", f"{FILES['conf/base/cloudtrain.yml']}run: {{max_cost_usd: 3}}\n"),
        ["the run: max_cost_usd"],
    ),
    "the place of an entry that is read": (
        lambda project: (
            shutil.copy(project.path / "data/01_raw/notes.csv", project.path / "data/notes.csv"),
            edit(project, "conf/base/catalog.yml", "data/01_raw/notes.csv", "data/notes.csv"),
        ),
        ["summarise: the catalog's entry `notes`"],
    ),
    "the place of an entry that is saved and read": (
        edited("conf/base/catalog.yml", "reporting/mass.json", "reporting/mass/metrics.json"),
        ["train_mass, summarise: the catalog's entry `mass_metrics`"],
    ),
    "the data on the volume": (
        edited("data/volume/datasets/penguins.csv", "Torgersen", "Dream"),
        ["count, train_mass: what `penguins` holds"],
    ),
    "the data of an ordinary entry": (edited("data/01_raw/notes.csv", "fine", "good"), ["summarise: what `notes` holds"]),
    "a node more and a node fewer": (
        edited("src/shop/pipeline_registry.py", 'name="summarise"', 'name="summary"'),
        ["summarise: planned, but not in this run", "summary: in this run, but not planned"],
    ),
    "the order of a node's inputs": (
        edited("src/shop/pipeline_registry.py", '"mass_metrics", "counted", "notes"', '"counted", "mass_metrics", "notes"'),
        ["summarise: the names of its inputs"],
    ),
    "the project's template": (
        edited("templates/mine.py.j2", "rmse", "mae"),
        ["train_mass: the script that its template makes"],
    ),
    "several things": (
        lambda project: [
            CHANGES[change][0](project) for change in ("a parameter", "the data of an ordinary entry", "the code of an ordinary node")
        ],
        ["count: parameters least", f"summarise: {CODE}; what `notes` holds"],
    ),
}


@needs_runner_params
@pytest.mark.parametrize("change", CHANGES)
def test_a_run_of_anything_else_than_the_plan_is_refused(clone: Project, change: str) -> None:
    apply, expected = CHANGES[change]
    apply(clone)
    assert refused(clone) == expected


@pytest.mark.measured
@needs_runner_params
def test_other_options_than_the_plans_are_refused(clone: Project) -> None:
    options = ("--params=mass.hyperparameters.max_depth=4", "--nodes=train_mass,count")
    assert refused(clone, *options, params=",max_cost_usd=2,timeout_s=60") == [
        "the run: max_cost_usd",
        "count: settings timeout_s",
        "train_mass: settings timeout_s; parameters mass.hyperparameters.max_depth",
        "summarise: planned, but not in this run",
    ]


@needs_runner_params
def test_the_same_project_in_another_folder_runs_as_often_as_it_likes(clone: Project) -> None:
    os.utime(clone.path / "data/volume/datasets/penguins.csv", (0, 0))
    (clone.path / "plans").mkdir()
    (clone.path / "plan.json").rename(clone.path / "plans/first.json")
    output = run(clone, "--runner-params", "plan=plans/first.json,max_workers=2")
    assert "The run is what plans/first.json has." in output
    (summary,) = (clone.path / "data/08_reporting/summary.json").rglob("summary.json")
    assert json.loads(summary.read_text())["notes"] == 1
    assert "train_mass is done already" in run(clone, "--runner-params", "plan=plans/first.json")


@needs_runner_params
def test_a_plan_takes_the_options_of_its_run(clone: Project) -> None:
    options = ("--params=least=5000", "--runner-params", "timeout_s=200,max_workers=2,plan=plan.json")
    assert clone.kedro("cloudtrain", "plan", "--out", "plan.json", *options).returncode == 0
    assert refused(clone) == ["count: settings timeout_s; parameters least", "train_mass: settings timeout_s"]
    assert run(clone, *options).count("Completed node") == 3


@needs_runner_params
def test_a_plan_for_pods_is_held_before_a_pod_is_created(account: Account) -> None:
    project, penguins = account.project, account.bucket / "datasets/penguins.csv"
    settings, text = "defaults: {{gpu: {gpu}, max_cost_usd: 2, install: false}}\nrun: {{max_cost_usd: 5}}", penguins.read_text()
    use_settings(project, settings.format(gpu="NVIDIA L4"))
    status, output = account.run("plan", "--out", "plan.json")
    assert status == 0, output
    Plan.model_validate_json((project.path / "plan.json").read_text())
    assert refused(project) == [
        "the run: backend, volume, max_cost_usd",
        "train_mass: where it runs; settings gpu, install, max_cost_usd; the catalog's entry `penguins`",
    ]
    use_settings(project, settings.format(gpu="NVIDIA A40"))
    penguins.write_text(text.replace("Torgersen", "Dream"))
    assert refused(project, "--env=runpod", params=",max_cost_usd=6") == [
        "the run: max_cost_usd",
        "train_mass: settings gpu; what `penguins` holds",
    ]
    assert not account.created
    use_settings(project, settings.format(gpu="NVIDIA L4"))
    penguins.write_text(text)
    # Prices and stock are not part of a plan.
    account.cloud.runpod.offers.gpus = [offered for offered in account.cloud.runpod.offers.gpus if offered.id == "NVIDIA L4"]
    run(project, "--env=runpod", "--runner-params", "plan=plan.json", **account.environment)
    assert len(account.created) == 1


@pytest.mark.measured
def test_a_plan_with_problems_is_written_and_refused(clone: Project) -> None:
    (clone.path / "data/volume/datasets/penguins.csv").unlink()
    done = clone.kedro("cloudtrain", "plan", "--out", "plan.json")
    assert done.returncode == 1
    assert "There is no datasets/penguins.csv" in done.stdout
    assert "Wrote plan.json. No run can be held to it, since it has problems." in done.stdout
    with pytest.raises(ConfigError) as raised:
        SavedPlan.read(clone.path / "plan.json")
    assert "was made with problems, with which nothing would run.\ncount: `penguins`: There is no datasets/penguins" in raised.value.message


@needs_runner_params
def test_what_cannot_be_compared_is_named_and_taken_as_it_is(clone: Project) -> None:
    clone.write("conf/base/cloudtrain.yml", "{}\n")
    clone.write("src/shop/pipeline_registry.py", BY_OTHER_MEANS)
    clone.write("conf/base/catalog.yml", CATALOG + "written: {type: pandas.CSVDataset, filepath: data/written.csv}\n")
    planned = clone.kedro("cloudtrain", "plan", "--out", "plan.json")
    assert planned.returncode == 0
    not_compared = "what `written` holds cannot be compared: it does not exist yet"
    assert f"By this plan: {not_compared}. A run takes it as it is when the run starts." in planned.stdout
    assert f"Not held to plan.json: {not_compared}." in " ".join(run(clone, "--runner-params", "plan=plan.json").split())
    assert "Not held" not in run(clone, "--runner-params", "plan=plan.json")
    assert clone.kedro("cloudtrain", "plan", "--out", "plan.json").returncode == 0
    edit(clone, "data/written.csv", "1", "2")
    assert "read: what `written` holds" in clone.kedro("run", "--runner=cloudtrain", "--runner-params", "plan=plan.json").stderr
    (clone.path / "data/written.csv").unlink()
    assert "read: what `written` holds" in clone.kedro("run", "--runner=cloudtrain", "--runner-params", "plan=plan.json").stderr


SECRETS = ("planted-query", "planted-header", "planted-password", "planted-parameter", "planted-key")


@pytest.mark.measured
@needs_runner_params
def test_no_secret_is_in_the_file_and_a_new_one_changes_nothing(clone: Project) -> None:
    with Server({"penguins.csv": (clone.path / "data/volume/datasets/penguins.csv").read_bytes()}) as server:
        url = server.url("penguins.csv")
        plans = []
        for secrets in (SECRETS, tuple(f"other-{secret}" for secret in SECRETS)):
            query, header, password, parameter, key = secrets
            clone.write("conf/base/catalog.yml", CATALOG + WITH_CREDENTIALS.format(url=url, query=query, password=password))
            clone.write("conf/local/credentials.yml", f"web: {{headers: {{Authorization: {header}}}}}\nparts: {{key: {key}}}\n")
            clone.write("conf/base/parameters.yml", f"{WITH_A_KEY.format(parameter=parameter)}\n")
            done = clone.kedro("cloudtrain", "plan", "--out", "plan.json")
            text = (clone.path / "plan.json").read_text()
            assert not [secret for secret in secrets if secret in text + done.stdout + done.stderr]
            plans.append(Plan.model_validate_json(text))
            assert not done.returncode, done.stdout
    first, second = plans
    count, train, summarise = (dict(node.planned) for node in first.nodes)
    parameters = count.pop("parameters")
    assert parameters.keys() == {"least.value", "least.api_key"}
    # A parameter is what a function is given, whatever its name is.
    other = dict(second.nodes[0].planned)
    assert [name for name, digest in other.pop("parameters").items() if digest != parameters[name]] == ["least.api_key"]
    assert [other, *(dict(node.planned) for node in second.nodes[1:])] == [count, train, summarise]


def digests_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each digest of a plan's JSON."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from digests_of(inner, (*path, key))
    else:
        yield path


def test_each_digest_of_the_file_counts(planned: Project, tmp_path: Path) -> None:
    text = (planned.path / "plan.json").read_text()
    saved = SavedPlan.read(planned.path / "plan.json")
    record = Record(saved.run, saved.nodes)
    saved.check(record)
    parts = [("run",), *(("nodes", index) for index in range(3))]
    paths = [(*part, *path) for part in parts for path in digests_of(at(json.loads(text), part)["planned"], ("planned",))]
    assert len(paths) > 80
    passed = []
    for path in paths:
        for digest in ("0" * 16, None):
            plan = json.loads(text)
            before = at(plan, path)
            at(plan, path[:-1])[path[-1]] = digest
            (tmp_path / "plan.json").write_text(json.dumps(plan))
            try:
                SavedPlan.read(tmp_path / "plan.json").check(record)
            except ConfigError:
                continue
            passed.append((path[-1], before, digest))
    # The content of what was not there when the plan was made, and what is the same.
    assert {(key, now) for key, before, now in passed if before != now} == {("content", None)}


def at(value: Any, path: tuple[Any, ...]) -> Any:
    return functools.reduce(lambda inner, key: inner[key], path, value)


Spoil = Callable[[Path, dict[str, Any]], Any]
NO_PLANS: dict[str, tuple[Spoil, str]] = {
    "none": (lambda file, plan: file.unlink(), "there is no such file in"),
    "a folder": (lambda file, plan: (file.unlink(), file.mkdir()), "cannot be read: Is a directory"),
    "no text": (lambda file, plan: file.write_bytes(b"\xff\xfe\x00"), "is not JSON"),
    "no JSON": (lambda file, plan: file.write_text("nodes: []"), "is not JSON: Expecting value: line 1 column 1"),
    "other JSON": (lambda file, plan: file.write_text('{"version": 1, "jobs": [], "pods": []}'), "is JSON, but not a plan"),
    "a list": (lambda file, plan: file.write_text("[]"), "is JSON, but not a plan"),
    "another version": (
        lambda file, plan: file.write_text(json.dumps({**plan, "version": 2})),
        "a plan of version 2, and this kedro-cloudtrain has 1",
    ),
    "an earlier release's": (
        lambda file, plan: file.write_text(json.dumps({**plan, "run": {k: v for k, v in plan["run"].items() if k != "planned"}})),
        "was made by an earlier kedro-cloudtrain",
    ),
    "a changed one": (
        lambda file, plan: (plan["nodes"][0]["planned"].pop("where"), file.write_text(json.dumps(plan))),
        "was changed since it was made: `nodes.0.planned.where`",
    ),
}


@pytest.mark.parametrize("kind", NO_PLANS)
def test_a_file_that_is_no_plan_is_named(planned: Project, tmp_path: Path, kind: str) -> None:
    spoil, reason = NO_PLANS[kind]
    file = Path(shutil.copy(planned.path / "plan.json", tmp_path))
    assert SavedPlan.read(file).nodes
    spoil(file, json.loads(file.read_text()))
    with pytest.raises(ConfigError) as raised:
        SavedPlan.read(file)
    assert reason in raised.value.message
    assert f"--runner-params plan={file}" in raised.value.message
    assert "kedro cloudtrain plan --out" in raised.value.message


@pytest.mark.measured
@needs_runner_params
@pytest.mark.parametrize(
    ("given", "reason"), [("plan=", "`plan` names no file"), ("plan=none.json", "plan=none.json: there is no such file in")]
)
def test_a_run_without_its_plan_is_refused_in_a_line(clone: Project, given: str, reason: str) -> None:
    done = clone.kedro("run", "--runner=cloudtrain", "--runner-params", given)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert clone.jobs == []


@pytest.mark.measured
@needs_runner_params
def test_a_pipeline_without_a_node_for_a_machine_is_held_as_well(clone: Project) -> None:
    clone.write("conf/base/cloudtrain.yml", "{}\n")
    clone.write("src/shop/pipeline_registry.py", ORDINARY)
    assert clone.kedro("cloudtrain", "plan", "--out", "plan.json").returncode == 0
    edit(clone, "src/shop/pipeline_registry.py", "2)", "3)")
    assert refused(clone) == [f"add: its function; {CODE}"]
    edit(clone, "src/shop/pipeline_registry.py", "3)", "2)")
    assert "Completed node: add" in run(clone, "--runner-params", "plan=plan.json")
