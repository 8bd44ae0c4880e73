"""A small Kedro project, and the commands that a user types in it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from support.forked import KEDRO_COMMANDS, ForkedProcess, unmeasured

ROOT = Path(__file__).parents[2]
_seconds = itertools.count(int(time.time()) - 86_400)
KEDRO = tuple(int(part) for part in metadata.version("kedro").split(".")[:2])
needs_runner_params = pytest.mark.skipif(KEDRO < (1, 6), reason="kedro run has --runner-params and --only-missing-outputs from 1.6 on")
PENGUINS = ROOT / "data/volume/datasets/penguins.csv"

CATALOG = """
penguins:
  type: kedro_cloudtrain.CloudDataset
  dataset_key: datasets/penguins.csv
  volume: ${globals:volume}
mass_model: {type: kedro_cloudtrain.ModelDataset, filepath: data/06_models/mass}
mass_metrics: {type: kedro_cloudtrain.MetricsDataset, filepath: data/08_reporting/mass.json}
mass_history: {type: kedro_cloudtrain.TrainingHistoryDataset, filepath: data/08_reporting/mass_history.json}
"""
PARAMETERS = """
mass:
  model_type: xgboost_regression
  target_column: body_mass_g
  feature_columns: [bill_length_mm, flipper_length_mm, species]
  hyperparameters: {n_estimators: 12, max_depth: 3}
  validation: {fraction: 0.2, seed: 7}
"""
REGISTRY = """
from kedro.pipeline import Pipeline, node

from kedro_cloudtrain import training_node


def summarise(metrics):
    print(f"rmse is {metrics['rmse']:.1f}")
    return sorted(metrics)


def register_pipelines():
    mass = training_node(
        "penguins", "params:mass", model="mass_model", metrics="mass_metrics", history="mass_history", name="train_mass", tags=["gpu"]
    )
    return {"__default__": Pipeline([mass, node(summarise, "mass_metrics", "names", name="summarise", tags=["after"])])}
"""


@dataclass
class Project:
    """A Kedro project of one training node and one ordinary node.

    Attributes:
        path: its folder.
        output: what its first run wrote, where tests share it.
        forks: whether its commands are forked with Kedro's libraries imported, and not each a `python -m kedro` from its beginning.
    """

    path: Path
    output: str = ""
    forks: bool = True

    def write(self, file: str, text: str) -> Path:
        target = self.path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text), encoding="utf-8")
        _age(target)
        return target

    def kedro(self, *args: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Type a kedro command in the project's folder."""
        command, whole = ["-m", "kedro", *args], self.environment(**environment)
        if self.forks and KEDRO_COMMANDS.takes(whole):
            return KEDRO_COMMANDS.run(command, self.path, whole, timeout)
        return self.python(*command, timeout=timeout, **environment)

    def python(self, *args: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the project's folder; one that takes too long shows where each of its threads is."""
        process = subprocess.Popen(
            [sys.executable, *args],
            cwd=self.path,
            env={**self.environment(**environment), "PYTHONFAULTHANDLER": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            ended = process.poll() is not None  # then a process that it has left behind holds its output
            process.send_signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            try:
                stdout, stderr = process.communicate(timeout=5)
            except subprocess.TimeoutExpired as error:
                stdout, stderr = (str(output) for output in (error.stdout, error.stderr))
            raise AssertionError(f"{args} took longer than {timeout} s{' (and has ended)' * ended}:\n{stdout}\n{stderr}") from None
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of the project's commands; one that is not forked is a user's, and nothing measures it and its jobs.

        A project's own pytest keeps its folders beside the project: where ours are, it would first remove an earlier whole
        run's, a hundred thousand files.
        """
        here = {**os.environ, "COLUMNS": "200", "DO_NOT_TRACK": "1", "PYTEST_DEBUG_TEMPROOT": str(self.path.parent), **more}
        return here if self.forks else unmeasured(here)

    @property
    def jobs(self) -> list[Path]:
        """The job folders, the oldest first."""
        folders = (self.path / "data/volume/.cloudtrain/jobs").glob("*")
        return sorted(folders, key=lambda path: path.stat().st_mtime)


def make_project(folder: Path, *, forks: bool = True) -> Project:
    made = Project(folder / "shop", forks=forks)
    made.write(
        "pyproject.toml",
        """
        [tool.kedro]
        package_name = "shop"
        project_name = "shop"
        kedro_init_version = "1.0.0"
        source_dir = "src"
        """,
    )
    made.write("src/shop/__init__.py", "")
    made.write("src/shop/settings.py", 'CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}\n')
    made.write("src/shop/pipeline_registry.py", REGISTRY)
    made.write("conf/base/globals.yml", "volume: {path: data/volume}\n")
    made.write("conf/base/catalog.yml", CATALOG)
    made.write("conf/base/parameters.yml", PARAMETERS)
    made.write("conf/local/.gitkeep", "")
    made.write(".telemetry", "consent: false\n")
    (made.path / "data/volume/datasets").mkdir(parents=True)
    shutil.copy(PENGUINS, made.path / "data/volume/datasets")
    return made


def run_on_pods(project: Project, volume_id: str) -> None:
    """Add an environment `runpod` to a project, whose pods have a GPU and install nothing."""
    volume = f"volume: {{id: {volume_id}, data_center: EU-RO-1}}\n"
    project.write("conf/runpod/globals.yml", volume)
    project.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{volume}defaults: {{install: false, gpu: NVIDIA L4}}\n")


def run(project: Project, *args: str, **environment: str) -> str:
    done = project.kedro("run", "--runner=cloudtrain", *args, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def edit(project: Project, file: str, before: str, after: str) -> None:
    path = project.path / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    _age(path)


def _age(path: Path) -> None:
    """Set a module's time so that no two of its states share a second: Python takes one of the same second and size for the other."""
    if path.suffix == ".py":
        second = next(_seconds)
        os.utime(path, (second, second))


def start(project: Project, *args: str, **environment: str) -> ForkedProcess:
    """Start a run on machines, in a session of its own, and do not wait for it."""
    return start_kedro(project, "run", "--runner=cloudtrain", *args, **environment)


def start_kedro(project: Project, *args: str, **environment: str) -> ForkedProcess:
    """Start a kedro command, in a session of its own, and do not wait for it."""
    command, whole = ["-m", "kedro", *args], project.environment(**environment)
    assert KEDRO_COMMANDS.takes(whole)
    return KEDRO_COMMANDS.start(command, project.path, whole, new_session=True, one_output=True)
