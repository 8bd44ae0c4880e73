"""kedro-mlflow beside the plugin, with a real store: one run for all nodes, wherever they run."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from pathlib import Path

import pytest
from support.environments import make_environment
from support.kedro_project import PARAMETERS, Project, make_project

CATALOG = """
penguins: {type: kedro_cloudtrain.CloudDataset, dataset_key: datasets/penguins.csv, volume: {path: data/volume}}
flat_model: {type: kedro_cloudtrain.ModelDataset, filepath: data/06_models/flat}
"{name}_metrics": {type: kedro_cloudtrain.MetricsDataset, filepath: "data/08_reporting/{name}.json"}
"""
REGISTRY = """
from kedro.pipeline import Pipeline, node

from kedro_cloudtrain import training_node


def spread(first, second):
    return {"spread": abs(first["rmse"] - second["rmse"])}


def register_pipelines():
    trainings = [
        training_node("penguins", "params:mass", metrics="mass_metrics", name="train_mass"),
        training_node("penguins", "params:flat", metrics="flat_metrics", model="flat_model", name="train_flat"),
    ]
    return {"__default__": Pipeline([*trainings, node(spread, ["mass_metrics", "flat_metrics"], "both_metrics", name="spread")])}
"""
# The commands one after another, each forked from a process that has imported MLflow: that takes an import alone four seconds.
COMMANDS = """
import json, os, runpy, sys
import kedro.framework.session, kedro_mlflow.framework.hooks, mlflow.sklearn, mlflow.store.tracking.sqlalchemy_store
for arguments in json.loads(sys.argv[1]):
    process = os.fork()
    if not process:
        sys.argv = ["kedro", "run", *arguments]
        runpy.run_module("kedro", run_name="__main__", alter_sys=True)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code:
        sys.exit(f"kedro run {arguments}: {code}")

from mlflow import MlflowClient
client = MlflowClient("sqlite:///mlflow.db")
runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
mlflow.set_tracking_uri("sqlite:///mlflow.db")
experiments = [run.info.experiment_id for run in runs]
models = [model.source_run_id for model in client.search_logged_models(experiments) if model.name == "flat_model"]


def shown(run):
    files = [file.path for file in client.list_artifacts(run.info.run_id)]
    logged = {"artifacts": files, "models": models.count(run.info.run_id)}
    return {**logged, "status": run.info.status, "metrics": run.data.metrics, "params": run.data.params}


print(json.dumps([shown(run) for run in runs]))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment of its own: kedro-mlflow would take part in every other test's runs."""
    needed = [line for line in importlib.metadata.requires("kedro-cloudtrain") or () if "extra ==" not in line]
    return make_environment(tmp_path_factory.mktemp("mlflow") / "environment", "kedro-mlflow", "kedro-datasets", *needed)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose runs are logged: MLflow takes its time to make a database."""
    project = make_project(tmp_path_factory.mktemp("tracked"))
    project.write("conf/base/catalog.yml", CATALOG)
    project.write("conf/base/parameters.yml", PARAMETERS + PARAMETERS.replace("mass:", "flat:").replace("max_depth: 3", "max_depth: 1"))
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    project.write("conf/base/mlflow.yml", "server: {mlflow_tracking_uri: 'sqlite:///mlflow.db'}\n")
    return project


def logged_by(python: Path, project: Project, *commands: list[str]) -> list[dict]:
    """Run `kedro run` with each list of arguments; return what MLflow has of the runs, the latest first."""
    arguments = [python, "-c", COMMANDS, json.dumps(commands)]
    done = subprocess.run(arguments, cwd=project.path, env=project.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    logged: list[dict] = json.loads(done.stdout.splitlines()[-1])
    return logged


@pytest.fixture(scope="module")
def logged(python: Path, tracked: Project) -> tuple[dict, dict, dict, dict]:
    """What is logged of a run on machines, of the next one, and of one by Kedro's own runner; and what the first has saved."""
    tracked.write("conf/base/cloudtrain.yml", "run: {max_pods: 2, report: true}\n")
    own, again, first = logged_by(python, tracked, ["--runner=cloudtrain"], ["--runner=cloudtrain"], [])
    saved = {name: json.loads((tracked.path / f"data/08_reporting/{name}.json").read_text()) for name in ("mass", "flat", "both")}
    page = min((tracked.path / ".cloudtrain/reports").glob("*.html"), key=lambda file: file.stat().st_mtime_ns)
    return first, again, own, {**saved, "page": page.name}


def test_one_run_has_the_metrics_of_all_nodes(logged: tuple[dict, dict, dict, dict]) -> None:
    run, again, _, saved = logged
    assert run["status"] == "FINISHED"
    wanted = {f"{name}_metrics.{key}": value for name in ("mass", "flat") for key, value in saved[name].items()}
    assert run["metrics"] == pytest.approx({**wanted, "both_metrics.spread": saved["both"]["spread"]})
    assert any("model_type" in name or "xgboost_regression" in value for name, value in run["params"].items())
    assert run["models"] == 1
    assert {"flat_model_files", saved["page"]} <= set(run["artifacts"])
    # Finished work is reused, and the next run still gets its metrics.
    assert again["metrics"] == run["metrics"]


def test_kedros_own_runner_logs_the_same(logged: tuple[dict, dict, dict, dict]) -> None:
    _, _, run, _ = logged
    assert {"mass_metrics.rmse", "flat_metrics.rmse", "both_metrics.spread"} <= set(run["metrics"])
