"""A project of four small functions that share a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.kedro_project import Project

REGISTRY = """
import os
import time
from pathlib import Path

from kedro.pipeline import Pipeline, node


def measure(parameters, number):
    place = Path(*parameters["place"])
    began = time.time()
    with (place / "ran").open("a") as ran:
        ran.write(f"{number} {os.getppid()}\\n")
    print(f"measure {number}")
    print("every", os.environ.get("CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS"), "rounds")
    while number == parameters["waits"] and not (place / "go").exists():
        time.sleep(0.05)
    if parameters["fails"] in (number, "all"):
        raise ValueError("no such number")
    return {"number": number, "began": began, "ended": time.time()}


def numbers(*measured):
    return [one["number"] for one in measured]


def register_pipelines():
    small = [node(globals()[f"measure_{n}"], "params:mass", f"m{n}", name=f"measure_{n}", tags="small") for n in range(4)]
    return {"__default__": Pipeline([*small, node(numbers, [f"m{n}" for n in range(4)], "numbers", name="ordinary")])}
"""
# A function a node: a machine finds it by its name.
REGISTRY += "".join(f"\n\ndef measure_{n}(parameters):\n    return measure(parameters, {n})\n" for n in range(4))
CATALOG = "".join(f"m{n}: {{type: kedro_cloudtrain.MetricsDataset, filepath: data/08_reporting/m{n}.json}}\n" for n in range(4))


@pytest.fixture
def four(project: Project) -> Project:
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    project.write("conf/base/catalog.yml", CATALOG)
    project.write("conf/base/cloudtrain.yml", 'nodes: {"tag:small": {group: small}}\n')
    parameters(project, project.path)
    return project


def parameters(project: Project, place: Path, fails: int | str = -1, waits: int = -1) -> None:
    # By its parts: as a path, it would be what may change unseen, and no work would be reused.
    project.write("conf/base/parameters.yml", f"mass: {{place: {json.dumps(place.parts)}, fails: {fails}, waits: {waits}}}\n")


def ran(place: Path) -> list[tuple[int, int]]:
    """The nodes that ran, in their order, each with the process that has started it."""
    lines = (place / "ran").read_text().splitlines() if (place / "ran").exists() else []
    return [(int(number), int(parent)) for number, parent in (line.split() for line in lines)]


def measured(project: Project) -> list[dict[str, float]]:
    files = sorted((project.path / "data/08_reporting").glob("m*.json"))
    return [json.loads(file.read_text()) for file in files]
