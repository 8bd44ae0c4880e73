"""`kedro cloudtrain plan` is the gate: it refuses what a run would fail on, and nothing else."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.kedro_project import Project, make_project
from support.planted import MISTAKES, UNUSUAL, VARIANTS, Draft, draft

# So many of the generated projects are tried by each run of the tests; 200 take some minutes.
PROJECTS = 104
TESTS = 8
# What is planted in a project, by its number: what is wrong or unusual, the exit code of both commands, and how.
PLANTED = [
    *((kind, 0, plant) for kind, plant in UNUSUAL.items()),
    *((kind, 1, MISTAKES[kind]) for kind in sorted(MISTAKES, key=lambda kind: kind in VARIANTS)),
]
# Kedro fails on these before a runner is asked, or in a node of its own; `plan` has a line about each.
KEDROS_OWN = {
    "a folder without partitions",
    "an ordinary table that is not there",
}


@pytest.mark.parametrize("first", [pytest.param(0, marks=pytest.mark.measured), *range(1, TESTS)])
def test_plan_and_run_agree_on_generated_projects(first: int, tmp_path: Path) -> None:
    differing = []
    for number in range(first, PROJECTS, TESTS):
        kind, expected, plant = PLANTED[number % len(PLANTED)]
        made = draft(number)
        plant(made)
        plan, run, output = outcomes(make_project(tmp_path / str(number)), made)
        if (plan, run) != (expected, expected):
            differing.append(f">>> {number}, {kind} ({made.parameters}): plan {plan}, run {run}\n{output}")
        elif expected and (("Traceback" in output and kind not in KEDROS_OWN) or re.search(r"(?<![./\s])\.\.(?=\s|$)", output)):
            differing.append(f">>> {number}, {kind}: a traceback, or two full stops\n{output}")
    assert not differing, "\n".join(["", *differing])


def test_the_ordinary_suite_plants_one_of_each_kind() -> None:
    assert set(MISTAKES) > VARIANTS
    assert len(PLANTED) - len(VARIANTS) <= PROJECTS


def outcomes(project: Project, made: Draft) -> tuple[int, int, str]:
    """Return the exit codes of plan and run, and what they have written that is not the same in each project."""
    made.write(project)
    with ThreadPoolExecutor(2) as threads:
        plan, run = threads.map(
            lambda arguments: project.kedro(*arguments), [("cloudtrain", "plan", "--out", "plan.json"), ("run", "--runner=cloudtrain")]
        )
    return plan.returncode, run.returncode, f"{plan.stdout}{plan.stderr}\n{run.stdout}{run.stderr}"
