"""A search in a project: planned, run on one machine that is kept, gone on with, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from support.kedro_project import Project, edit, make_project, run

from kedro_cloudtrain import training_node
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.worker.models import load_model

PARAMETERS = """
mass:
  model_type: xgboost_regression
  target_column: body_mass_g
  feature_columns: [bill_length_mm, flipper_length_mm, species]
  hyperparameters: {n_estimators: 30}
  search:
    space: {max_depth: {int: [2, 6]}, learning_rate: {float: [0.005, 0.5], log: true}}
    n_trials: 4
    max_cost_usd: 2
  validation: {fraction: 0.2, seed: 7}
"""
REGISTRY = """
from kedro.pipeline import Pipeline

from kedro_cloudtrain import training_node


def register_pipelines():
    mass = training_node(
        "penguins", "params:mass", model="mass_model", metrics="mass_metrics", trials="mass_trials", name="train_mass"
    )
    return {"__default__": Pipeline([mass])}
"""
TRIALS = """
mass_trials: {type: kedro_datasets.pandas.CSVDataset, filepath: data/08_reporting/trials.csv}
"""


def searching(folder: Path) -> Project:
    project = make_project(folder)
    project.write("conf/base/parameters.yml", PARAMETERS)
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    catalog = project.path / "conf/base/catalog.yml"
    catalog.write_text(catalog.read_text() + TRIALS)
    # A search keeps its machines itself.
    project.write("conf/base/cloudtrain.yml", "nodes: {train_mass: {keep_s: 20}}\n")
    return project


def test_any_other_runner_searches_on_this_computer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"size": range(40), "price": [number * 1.5 for number in range(40)]})
    space = {"max_depth": {"int": [1, 4]}}
    parameters = {
        "model_type": "lightgbm_regression",
        "target_column": "price",
        "hyperparameters": {"n_estimators": 3, "min_data_in_leaf": 2},
        "search": {"space": space, "n_trials": 2, "metric": "r2"},
        "validation": {"folds": 2},
    }
    node = training_node("table", "params:price", model="model", metrics="metrics", trials="trials")
    values = node.func(frame, parameters)
    assert set(values) == {"model", "metrics", "trials"}
    # Of folds it is their mean, which the metrics have.
    assert values["metrics"]["r2"] == values["trials"]["score"].max()
    assert len(values["metrics"]["folds"]) == 2
    assert values["model"].predict(frame.head(3)).shape == (3,)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="have no `search`"):
        node.func(frame, {**parameters, "search": None})


def test_a_project_searches_on_one_machine_and_goes_on_where_it_was(tmp_path: Path) -> None:
    project = searching(tmp_path)
    output = run(project)
    trials = pd.read_csv(project.path / "data/08_reporting/trials.csv")
    assert list(trials) == ["number", "state", "max_depth", "learning_rate", "score", "seconds", "usd", "job"]
    metrics = json.loads((project.path / "data/08_reporting/mass.json").read_text())
    assert metrics["rmse"] == trials["score"].min()
    # One machine for all: a folder of its own beside those of the trials.
    assert sorted(job.name.rpartition("-")[0] for job in project.jobs) == ["group-train_mass", *["train_mass"] * 4]
    best = trials.loc[trials["score"].idxmin()]
    folder = project.path / "data/volume/.cloudtrain/jobs" / best["job"]
    assert load_model(folder / "outputs/model").description == load_model(project.path / "data/06_models/mass").description
    assert f"of 4 trials number {best['number']} is the best: rmse" in " ".join(output.split())

    edit(project, "conf/base/parameters.yml", "n_trials: 4", "n_trials: 5")
    run(project)
    longer = pd.read_csv(project.path / "data/08_reporting/trials.csv")
    pd.testing.assert_frame_equal(longer.iloc[:4], trials, check_dtype=False)
    shown = project.kedro("cloudtrain", "runs", "show", "latest", "--json").stdout
    record = json.loads(shown[shown.index("{\n") :])["run"]  # behind a line of Kedro's own
    assert [(node["node"], node["why"]) for node in record["nodes"]] == [("train_mass", "search: 1 trial run, 4 reused")]


def test_two_searches_that_share_a_slot_keep_their_machines(tmp_path: Path) -> None:
    project = searching(tmp_path)
    parameters = project.path / "conf/base/parameters.yml"
    parameters.write_text(
        parameters.read_text() + parameters.read_text().replace("mass:", "other:", 1).replace("n_estimators: 30", "n_estimators: 9")
    )
    second = 'training_node("penguins", "params:other", metrics="other_metrics", name="train_other")'
    edit(project, "src/shop/pipeline_registry.py", "Pipeline([mass])", f"Pipeline([mass, {second}])")
    project.write("conf/base/cloudtrain.yml", "run: {max_pods: 1}\n")
    assert run(project).count("of 4 trials number") == 2
    jobs = [folder.name.rpartition("-")[0] for folder in (project.path / "data/volume/.cloudtrain/jobs").iterdir()]
    # Between two trials a machine has no job: each that made room for the other search would be started, and paid for, again.
    assert {name: jobs.count(name) for name in jobs} == {"group-train_mass": 1, "train_mass": 4, "group-train_other": 1, "train_other": 4}
