"""kedro-mlflow beside the plugin, with a real store: one run for all nodes, wherever they run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.kedro_project import PARAMETERS, ROOT, Project, make_project

UV = [sys.executable, "-m", "uv"]
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
PRINT_RUNS = """
import json
from mlflow import MlflowClient
client = MlflowClient("sqlite:///mlflow.db")
runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
import mlflow
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
    environment = tmp_path_factory.mktemp("mlflow") / "environment"
    subprocess.run([*UV, "venv", "-q", "--python", sys.executable, environment], check=True, capture_output=True)
    python = environment / "bin/python"
    subprocess.run(
        [*UV, "pip", "install", "-q", "--python", python, "-e", f"{ROOT}[xgboost]", "plotly", "kedro-mlflow", "kedro-datasets"],
        check=True,
        capture_output=True,
    )
    return python


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose runs are logged: MLflow takes its time to make a database."""
    project = make_project(tmp_path_factory.mktemp("tracked"))
    project.write("conf/base/catalog.yml", CATALOG)
    project.write("conf/base/parameters.yml", PARAMETERS + PARAMETERS.replace("mass:", "flat:").replace("max_depth: 3", "max_depth: 1"))
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    project.write("conf/base/mlflow.yml", "server: {mlflow_tracking_uri: 'sqlite:///mlflow.db'}\n")
    return project


def kedro(python: Path, project: Project, *args: str) -> None:
    done = subprocess.run(
        [python, "-m", "kedro", "run", *args], cwd=project.path, env=project.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def runs(python: Path, project: Project) -> list[dict]:
    done = subprocess.run(
        [python, "-c", PRINT_RUNS], cwd=project.path, capture_output=True, text=True, check=True, env=project.environment()
    )
    logged: list[dict] = json.loads(done.stdout.splitlines()[-1])
    return logged


def test_one_run_has_the_metrics_of_all_nodes(python: Path, tracked: Project) -> None:
    tracked.write("conf/base/cloudtrain.yml", "run: {max_pods: 2, report: true}\n")
    kedro(python, tracked, "--runner=cloudtrain")
    run = runs(python, tracked)[0]
    assert run["status"] == "FINISHED"
    saved = {name: json.loads((tracked.path / f"data/08_reporting/{name}.json").read_text()) for name in ("mass", "flat", "both")}
    wanted = {f"{name}_metrics.{key}": value for name in ("mass", "flat") for key, value in saved[name].items()}
    assert run["metrics"] == pytest.approx({**wanted, "both_metrics.spread": saved["both"]["spread"]})
    assert any("model_type" in name or "xgboost_regression" in value for name, value in run["params"].items())
    assert run["models"] == 1
    (page,) = (tracked.path / ".cloudtrain/reports").glob("*.html")
    assert {"flat_model_files", page.name} <= set(run["artifacts"])
    # Finished work is reused, and the next run still gets its metrics.
    kedro(python, tracked, "--runner=cloudtrain")
    again, first = runs(python, tracked)[:2]
    assert again["metrics"] == first["metrics"]


def test_kedros_own_runner_logs_the_same(python: Path, tracked: Project) -> None:
    kedro(python, tracked)
    run = runs(python, tracked)[0]
    assert {"mass_metrics.rmse", "flat_metrics.rmse", "both_metrics.spread"} <= set(run["metrics"])
