"""Versioned entries: Kedro's own way of keeping a history, of what a training node leaves and of tables that machines read and save."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.kedro_project import PENGUINS, Project, edit, run

ENTRIES = ("mass_model", "mass_metrics", "mass_history")


@pytest.fixture
def versioned(project: Project) -> Project:
    catalog = project.path / "conf/base/catalog.yml"
    text = catalog.read_text()
    for place in ("data/06_models/mass", "data/08_reporting/mass.json", "data/08_reporting/mass_history.json"):
        text = text.replace(f"filepath: {place}}}", f"filepath: {place}, versioned: true}}")
    catalog.write_text(text)
    return project


def rmse(file: Path) -> float:
    return float(json.loads(file.read_text())["rmse"])


def test_each_run_saves_a_version_and_the_latest_is_loaded(versioned: Project) -> None:
    run(versioned)
    edit(versioned, "conf/base/parameters.yml", "n_estimators: 12", "n_estimators: 3")
    output = run(versioned)
    metrics = sorted((versioned.path / "data/08_reporting/mass.json").glob("*/mass.json"))
    assert len(metrics) == 2
    assert f"rmse is {rmse(metrics[1]):.1f}" in output
    assert rmse(metrics[0]) < rmse(metrics[1])
    assert len(list((versioned.path / "data/06_models/mass").glob("*/mass/model.json"))) == 2
    assert len(list((versioned.path / "data/08_reporting/mass_history.json").glob("*/mass_history.json"))) == 2
    # All entries of a run have the same version, as Kedro's own have.
    assert len({path.parent.name for path in versioned.path.rglob("data/08_reporting/*/*/*.json")}) == 2


def test_the_version_to_load_is_chosen_by_kedros_option(versioned: Project) -> None:
    run(versioned)
    edit(versioned, "conf/base/parameters.yml", "n_estimators: 12", "n_estimators: 3")
    run(versioned)
    first, second = sorted((versioned.path / "data/08_reporting/mass.json").glob("*/mass.json"))
    versioned.write("conf/base/cloudtrain.yml", "nodes: {summarise: {}}\n")
    for file in (first, second):
        output = run(versioned, "--nodes=summarise", f"--load-versions=mass_metrics:{file.parent.name}")
        assert f"rmse is {rmse(file):.1f}" in output + "".join(path.read_text() for path in versioned.path.rglob("log.txt"))
    refused = versioned.kedro("run", "--nodes=summarise", "--load-versions=mass_metrics:2020-01-01T00.00.00.000Z", "--runner=cloudtrain")
    assert refused.returncode == 1


def test_finished_work_is_saved_as_a_new_version_too(versioned: Project) -> None:
    run(versioned)
    assert "train_mass is done already" in run(versioned)
    saved = sorted((versioned.path / "data/08_reporting/mass.json").glob("*/mass.json"))
    assert len(saved) == 2
    assert rmse(saved[0]) == rmse(saved[1])


REGISTRY = """
from kedro.pipeline import Pipeline, node


def clean(penguins):
    return penguins.dropna()


def count(clean_penguins):
    return {"rows": len(clean_penguins)}


def register_pipelines():
    nodes = [node(clean, "penguins", "clean_penguins", name="clean"), node(count, "clean_penguins", "rows", name="count")]
    return {"__default__": Pipeline(nodes)}
"""
CLEAN = """
clean_penguins:
  type: kedro_cloudtrain.CloudDataset
  dataset_key: clean/penguins.parquet
  volume: ${globals:volume}
  versioned: true
"""
KEY = "datasets/penguins.csv"
OLD, NEW = "2026-01-01T00.00.00.000Z", "2026-02-01T00.00.00.000Z"


@pytest.fixture
def tables(project: Project) -> Project:
    """A project whose tables have versions: one that is there twice, and one that a machine makes of it."""
    whole = pd.read_csv(PENGUINS)
    volume = project.path / "data/volume"
    (volume / KEY).unlink()
    for version, table in ((OLD, whole.head(200)), (NEW, whole)):
        place = volume / KEY / version / "penguins.csv"
        place.parent.mkdir(parents=True)
        table.to_csv(place, index=False)
    edit(project, "conf/base/catalog.yml", "  dataset_key:", "  versioned: true\n  dataset_key:")
    with (project.path / "conf/base/catalog.yml").open("a") as catalog:
        catalog.write(CLEAN)
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    project.write("conf/base/cloudtrain.yml", "nodes: {clean: {}, count: {}}\n")
    return project


def test_a_machine_reads_and_saves_versions_and_does_the_same_version_once(tables: Project) -> None:
    def cleaned() -> list[str]:
        return sorted(path.parent.name for path in (tables.path / "data/volume/clean/penguins.parquet").glob("*/penguins.parquet"))

    def spec(node: str) -> dict[str, Any]:
        return json.loads(
            (max(tables.path.glob(f"data/volume/.cloudtrain/jobs/{node}-*"), key=lambda job: job.stat().st_mtime) / "job.json").read_text()
        )

    assert tables.kedro("cloudtrain", "plan", "--out=plan.json", f"--load-versions=penguins:{OLD}").returncode == 0
    planned = json.loads((tables.path / "plan.json").read_text())
    assert [each["reads"] for each in planned["nodes"]] == [f"{KEY}/{OLD}/penguins.csv", "clean/penguins.parquet"]
    # The latest version is read where it is, and the run's own is saved there; the next node reads that one.
    output = " ".join(run(tables).split())
    assert f"clean started: clean, reads {KEY}/{NEW}/penguins.csv" in output
    assert spec("clean")["inputs"]["penguins"]["dataset_key"] == f"{KEY}/{NEW}/penguins.csv"
    assert not [path for job in tables.jobs for path in job.glob("inputs/*")]
    (first,) = cleaned()
    assert f"reads clean/penguins.parquet/{first}/penguins.parquet" in output
    assert spec("count")["inputs"]["clean_penguins"]["dataset_key"] == f"clean/penguins.parquet/{first}/penguins.parquet"
    # The same versions are the same work, and no new version is made of it.
    output = run(tables)
    assert "clean is done already" in output
    assert "count is done already" in output
    assert cleaned() == [first]
    # Another version is other work.
    output = run(tables, "--nodes=clean", f"--load-versions=penguins:{OLD}")
    assert "done already" not in output
    assert spec("clean")["inputs"]["penguins"]["dataset_key"] == f"{KEY}/{OLD}/penguins.csv"
    old, second = cleaned()
    assert old == first
    assert len(pd.read_parquet(tables.path / f"data/volume/clean/penguins.parquet/{second}/penguins.parquet")) < 200


def test_a_version_that_is_not_there_is_refused_before_any_node(tables: Project) -> None:
    gone = f"--load-versions=penguins:{OLD[:-2]}9Z"
    for command in (("cloudtrain", "plan", gone), ("run", "--runner=cloudtrain", gone)):
        done = tables.kedro(*command)
        output = " ".join((done.stdout + done.stderr).split())
        assert done.returncode == 1
        assert f"There is no version {OLD[:-2]}9Z of {KEY} on the volume" in output
        assert f"The latest: {NEW}, {OLD}." in output
        assert "Traceback" not in output
    assert not tables.jobs
