"""Machines that are kept for the next jobs of a run: on this computer and on pods of the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cloud import Cloud, script
from support.waiting import wait_until

from kedro_cloudtrain.backends.backend import Backend
from kedro_cloudtrain.backends.local import LocalBackend
from kedro_cloudtrain.config import NodeSettings, RunSettings
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.result import JobProgress
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.display import Display, Row
from kedro_cloudtrain.running.group import GroupBackend
from kedro_cloudtrain.running.job import Job
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.run import Run
from kedro_cloudtrain.running.slots import Slots
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import make_source
from kedro_cloudtrain.storage.threads import DaemonExecutor

# Counts its process and its start, in the job's own folder.
RECORD = "Path('ran').open('a').write(f'{os.getppid()}\\n')\n"


class Watching(Row):
    """A row that keeps what it was told of."""

    def __init__(self, node: str) -> None:
        super().__init__(node, "", "")
        self.steps: list[JobProgress] = []

    def progressed(self, job: str, progress: JobProgress) -> None:
        self.steps.append(progress)
        super().progressed(job, progress)


class Site:
    """A place where jobs run on machines that are kept.

    Attributes:
        run: the run that they belong to.
    """

    def __init__(self, volume: Any, backend: Backend, slots: int = 2) -> None:
        self.volume, self.slots = volume, Slots(slots)
        self.run = Run(RunSettings(), backend, TrainingScriptGenerator(), Display(""), self.slots)
        self.machines = DaemonExecutor(4, "test-machine")
        self.threads = ThreadPoolExecutor(8)
        self.rows: dict[str, Watching] = {}

    def group(self, keep_s: float = 30.0, **options: Any) -> GroupBackend:
        return GroupBackend("small", self.run, self.machines, keep_s, **options)

    def job(self, name: str, body: str = "", **settings: Any) -> Job:
        order = TrainingOrder(
            node=name,
            parameters=TrainingParameters(model_type="lightgbm_regression", target_column="body_mass_g"),
            data=make_source(dataset_key="datasets/penguins.csv"),
            outputs=("metrics",),
            volume=self.volume,
            settings=NodeSettings.model_validate({"timeout_s": 60, "gpu": "none", "install": False, "retries": 1, **settings}),
            given_script=script(RECORD + body),
        )
        return prepare(order, TrainingScriptGenerator())

    def start(self, backend: GroupBackend, job: Job) -> Any:
        """Start a job as the executor does, and return its future."""
        row = self.rows[job.order.node] = Watching(job.order.node)
        backend.gathering.announce()
        return self.threads.submit(
            backend.gathering.run_announced,
            lambda: job.run(backend, row, self.run.receipts, slots=backend.gathering, reuse=True)["metrics"],
        )


@contextmanager
def on_this_computer(root: Path) -> Iterator[Site]:
    (root / "datasets").mkdir(exist_ok=True)
    (root / "datasets/penguins.csv").write_text("body_mass_g\n1\n")
    site = Site(DirectoryVolume(root), LocalBackend())
    try:
        yield site
    finally:
        site.run.backend.close()
        site.threads.shutdown(wait=True)
        site.machines.shutdown(wait=True)


@contextmanager
def on_pods(cloud: Cloud) -> Iterator[Site]:
    site = Site(cloud.volume, cloud.backend(jobs=2))
    try:
        yield site
    finally:
        site.run.backend.close()
        site.threads.shutdown(wait=True)
        site.machines.shutdown(wait=True)


@pytest.fixture(params=["local", "pods"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "local":
        with on_this_computer(tmp_path) as site:
            yield site
    else:
        with on_pods(request.getfixturevalue("cloud")) as site:
            yield site


def machines_of(site: Site) -> list[str]:
    jobs = site.volume.folder(".cloudtrain/jobs")
    return sorted(folder.name for folder in Path(jobs).iterdir() if folder.name.startswith("group-"))


def test_a_job_that_comes_later_runs_on_the_machine_that_is_kept(site: Site) -> None:
    group = site.group()
    first, second = site.job("first"), site.job("second", "print('hello from the second', flush=True)")
    assert site.start(group, first).result(60)["rmse"] == 1.5
    assert site.start(group, second).result(60)["rmse"] == 1.5
    assert len(machines_of(site)) == 1
    assert "hello from the second" in second.folder.log.read_text()
    group.release()
    group.release()
    wait_until(lambda: site.slots._free == 2)
