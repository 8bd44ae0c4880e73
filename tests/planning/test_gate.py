"""`kedro cloudtrain plan` is the gate: it refuses what a run would fail on, and nothing else."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.kedro_project import Project, make_project
from support.planted import MISTAKES, Draft, draft

# So many of the generated projects are tried by each run of the tests; 200 take some minutes.
PROJECTS = 75
TESTS = 8
NONE = "none"
# Kedro fails on these before a runner is asked, or in a node of its own; `plan` has a line about each.
KEDROS_OWN = {"an ordinary table that is not there", "credentials that are nowhere", "an entry without a type"}


def planted(number: int) -> str:
    """Return which mistake a project has: each once, and none in between."""
    names = [*MISTAKES]
    return NONE if number % 11 == 10 else names[(number - number // 11) % len(names)]


@pytest.mark.parametrize("first", range(TESTS))
def test_plan_and_run_agree_on_generated_projects(first: int, tmp_path: Path) -> None:
    differing = []
    for number in range(first, PROJECTS, TESTS):
        made, mistake = draft(number), planted(number)
        if mistake != NONE:
            MISTAKES[mistake](made)
        plan, run, output = outcomes(make_project(tmp_path / str(number)), made)
        expected = 0 if mistake == NONE else 1
        if (plan, run) != (expected, expected):
            differing.append(f">>> {number}, {mistake} ({made.parameters}): plan {plan}, run {run}\n{output}")
        elif ("Traceback" in output and mistake not in KEDROS_OWN) or re.search(r"(?<![./\s])\.\.(?=\s|$)", output):
            differing.append(f">>> {number}, {mistake}: a traceback, or two full stops\n{output}")
    assert not differing, "\n".join(["", *differing])


def outcomes(project: Project, made: Draft) -> tuple[int, int, str]:
    """Return the exit codes of plan and run, and what they have written that is not the same in each project."""
    made.write(project)
    with ThreadPoolExecutor(2) as threads:
        plan, run = threads.map(lambda arguments: project.kedro(*arguments), [("cloudtrain", "plan"), ("run", "--runner=cloudtrain")])
    return plan.returncode, run.returncode, f"{plan.stdout}{plan.stderr}\n{run.stdout}{run.stderr}"
