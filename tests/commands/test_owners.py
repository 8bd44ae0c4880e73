"""One volume serves many projects: a command speaks of its own project's jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.kedro_project import Project, edit, make_project, run


@pytest.fixture
def two(tmp_path: Path) -> tuple[Project, Project]:
    """Two projects of one starter on the same volume, with other rounds, so that each has a job of its own."""
    projects = []
    for number, name in enumerate(("north", "south")):
        project = make_project(tmp_path / name)
        project.write("conf/base/globals.yml", f"volume: {{path: {tmp_path / 'volume'}}}\n")
        project.write("conf/base/cloudtrain.yml", f"volume: {{path: {tmp_path / 'volume'}}}\n")
        (project.path / "pyproject.toml").open("a").write(f'[tool.kedro_telemetry]\nproject_id = "{name}"\n')
        edit(project, "conf/base/parameters.yml", "n_estimators: 12", f"n_estimators: {3 + number}")
        projects.append(project)
    (tmp_path / "volume").mkdir()
    (projects[0].path / "data/volume/datasets").rename(tmp_path / "volume/datasets")
    for project in projects:
        run(project, "--nodes=train_mass")
    return projects[0], projects[1]


def listed(project: Project, *more: str) -> set[str]:
    done = project.kedro("cloudtrain", "jobs", "--json", *more)
    assert done.returncode == 0, done.stderr
    return {job["name"] for job in json.loads(done.stdout[done.stdout.index("{\n") :])["jobs"]}


def test_jobs_and_logs_are_of_the_project_unless_all_are_asked_for(two: tuple[Project, Project]) -> None:
    north, south = two
    assert len(listed(north)) == len(listed(south)) == 1
    assert listed(north) != listed(south)
    assert listed(north, "--all") == listed(north) | listed(south)
    assert "round 3/3" in north.kedro("cloudtrain", "logs", "train_mass").stdout
    assert "round 4/4" in south.kedro("cloudtrain", "logs", "train_mass").stdout
    (other,) = listed(south)
    refused = north.kedro("cloudtrain", "logs", other)
    assert refused.returncode == 1
    assert "There is no job" in refused.stderr
    assert "round 4/4" in north.kedro("cloudtrain", "logs", other, "--all").stdout


def test_work_that_two_projects_share_is_of_both_and_is_not_cleaned_by_the_other(two: tuple[Project, Project]) -> None:
    north, south = two
    edit(south, "conf/base/parameters.yml", "n_estimators: 4", "n_estimators: 3")
    assert "is done already" in run(south, "--nodes=train_mass")
    assert listed(north) < listed(south)
    (shared,) = listed(north)
    done = north.kedro("cloudtrain", "clean", "--older-than", "0m")
    assert shared in done.stdout
    assert len(listed(north, "--all")) == 1


def test_a_job_of_which_nothing_is_known_is_shown(two: tuple[Project, Project], tmp_path: Path) -> None:
    for note in (tmp_path / "volume/.cloudtrain/jobs").glob("*/why.json"):
        note.write_text('{"state": "ran", "why": "first run", "at": 0}')
    assert len(listed(two[0])) == 2
