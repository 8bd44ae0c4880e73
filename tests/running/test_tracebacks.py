"""A function's error names the file and the line in the project, wherever the machine has unpacked its code."""

from __future__ import annotations

import re

import pytest
from support.kedro_project import Project, edit

REGISTRY = """
from kedro.pipeline import Pipeline, node

from shop.steps.cleaning import clean


def register_pipelines():
    return {"__default__": Pipeline([node(clean, "penguins", "cleaned", name="clean")])}
"""
CLEANING = """
import logging

from shop import tools


def clean(frame):
    tools.check(frame)
"""
TOOLS = """
def check(frame):
    raise RuntimeError("nothing is clean")
"""


@pytest.fixture
def failing(project: Project) -> Project:
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    project.write("src/shop/steps/__init__.py", "")
    project.write("src/shop/steps/cleaning.py", CLEANING)
    project.write("src/shop/tools.py", TOOLS)
    project.write("conf/base/cloudtrain.yml", "nodes: {clean: {}}\n")
    return project


def test_a_traceback_names_the_projects_files_in_the_log_and_in_the_error(failing: Project) -> None:
    done = failing.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    log = (failing.jobs[0] / "log.txt").read_text()
    for text in (done.stderr, log):
        assert "cloudtrain-scratch-" not in text
        named = re.findall(r'File "(src/[^"]+)", line (\d+), in (\w+)', text)
        assert named == [("src/shop/steps/cleaning.py", "8", "clean"), ("src/shop/tools.py", "3", "check")]
        for file, line, _ in named:
            assert (failing.path / file).read_text().splitlines()[int(line) - 1].strip() in text
    assert log.rstrip().endswith("RuntimeError: nothing is clean")


def test_so_does_one_of_an_import_and_one_of_a_package_beside_the_project(failing: Project) -> None:
    beside = failing.path.parent / "beside"
    beside.mkdir()
    (beside / "helpers.py").write_text("def tidy(frame):\n    raise ValueError('not tidy')\n")
    edit(failing, "src/shop/tools.py", "    raise", "    import helpers\n    helpers.tidy(frame)\n    raise")
    done = failing.kedro("run", "--runner=cloudtrain", PYTHONPATH=f"{failing.path / 'src'}:{beside}")
    assert done.returncode == 1
    assert 'File "../beside/helpers.py", line 2, in tidy' in done.stderr
    # At the top of a module, before the job has begun: the log alone has it.
    edit(failing, "src/shop/steps/cleaning.py", "def clean", "from shop.tools import nothing\n\n\ndef clean")
    edit(failing, "src/shop/tools.py", "def check", "import sys\n\nif 'kedro.framework' in sys.modules:\n    nothing = 1\n\n\ndef check")
    done = failing.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    assert "ended with exit code 1 and left no result" in done.stderr
    assert re.search(r'File "src/shop/steps/cleaning\.py", line \d+, in <module>', done.stderr)
    assert "/cloudtrain-scratch-" not in done.stderr.partition("ImportError")[0]
