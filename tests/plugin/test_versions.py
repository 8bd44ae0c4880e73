"""Versioned entries for what a training node leaves: Kedro's own way of keeping a history."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.kedro_project import Project, edit, run

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


@pytest.mark.measured
def test_a_table_of_ours_has_no_versions_and_says_what_has(project: Project) -> None:
    edit(project, "conf/base/catalog.yml", "  dataset_key:", "  versioned: true\n  dataset_key:")
    done = project.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    assert "A CloudDataset has no versions" in " ".join((done.stdout + done.stderr).split())
