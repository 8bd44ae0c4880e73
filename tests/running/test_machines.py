"""A node of one's own whose work several processes of this computer share, as several machines would."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.kedro_project import run

if TYPE_CHECKING:
    from support.kedro_project import Project

NODES = """
import os
import time

from shop.squares import square


def spread(count):
    from distributed import Client

    with Client() as client:
        squares, pids = zip(*client.gather(client.map(square, range(count), pure=False)))
    return {"squares": squares, "processes": len(set(pids)), "own": os.getpid() in pids}
"""
SQUARES = """
import os
import time


def square(number):
    time.sleep(0.2)
    if number == 12:
        os.kill(os.getpid(), 9)
    return number**2, os.getpid()
"""
REGISTRY = """
from kedro.pipeline import Pipeline, node

from shop.spreading import spread


def register_pipelines():
    return {"__default__": Pipeline([node(spread, "params:count", "spread", name="spread")])}
"""


def test_a_nodes_client_without_arguments_is_that_of_its_machines(project: Project) -> None:
    project.write("src/shop/squares.py", SQUARES)
    project.write("src/shop/spreading.py", NODES)
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    project.write("conf/base/parameters.yml", "count: 12\n")
    project.write("conf/base/catalog.yml", "spread: {type: json.JSONDataset, filepath: data/spread.json}\n")
    project.write("conf/base/cloudtrain.yml", "volume: {path: data/volume}\nnodes:\n  spread: {machines: 2}\n")
    run(project)
    spread = json.loads((project.path / "data/spread.json").read_text())
    assert spread == {"squares": [number**2 for number in range(12)], "processes": 2, "own": False}
    (folder,) = project.jobs
    assert "job.share(MACHINES)" in (folder / "train.py").read_text()
    assert (folder / "log.txt").read_text() == ""
    # Of Dask's own, a client would wait for another process.
    project.write("conf/base/parameters.yml", "count: 13\n")
    done = project.kedro("run", "--runner=cloudtrain", "--runner-params=timeout_s=60")
    assert done.returncode == 1
    assert "of the 2 that share the work was killed by SIGKILL" in done.stderr
