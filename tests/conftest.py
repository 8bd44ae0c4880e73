"""Fixtures of every part of the tests."""

from __future__ import annotations

import atexit
import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import support.libraries  # noqa: F401  # before all that imports them

# isort: split
from support.cloud import DATA_CENTER, Cloud
from support.forked import GARBAGE_THRESHOLDS, JOBS, KEDRO_COMMANDS, KEDRO_LIBRARIES, fork_jobs, import_all
from support.kedro_project import PENGUINS, Project, make_project

from kedro_cloudtrain.rehearsal import ACCESS_KEY, API_KEY, SECRET_KEY, RunPodStandIn, S3StandIn

# Fixtures that several folders share.
pytest_plugins = ["support.account", "support.four_nodes", "support.slow_training"]

_numbers = itertools.count()
_FORK_SERVERS = {"commands": KEDRO_COMMANDS, "jobs": JOBS}


# Their tests share what takes long to make: a run, or an environment.
_TOGETHER = ("tests/test_example.py", "tests/test_mlflow.py", "tests/test_readme.py")


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Keep the tests of some files on one of xdist's workers; of all others each goes to the next that is free.

    Every second worker begins at the end: the first folders' tests mostly wait for servers, the last ones' mostly compute.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _assign_work_unit(self, node: object) -> None:
            if self.nodes.index(node) % 2:
                self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
            super()._assign_work_unit(node)

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in _TOGETHER else nodeid

    return Scheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Let the jobs of tests be forked that run them in pytest's own process, and have one key for all, not a file of this user's."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    config.addinivalue_line("markers", "measured: coverage is measured in the commands that the test starts, too")
    os.environ.setdefault("CLOUDTRAIN_SIGNING_KEY", "a key for the tests of this package alone")
    _share_compilations()
    for name, address in getattr(config, "workerinput", {}).get("fork_servers", {}).items():
        _FORK_SERVERS[name].share(address)
    fork_jobs(JOBS.open)


def _share_compilations() -> None:
    """Let the tests' processes share what JAX has compiled: half of what a small network costs.

    All of them find the same folder, this session's alone; the first makes it, and xdist's workers inherit it.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="cloudtrain-tests-jax-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let xdist's workers share the servers of processes."""
    node.workerinput["fork_servers"] = {name: server.open() for name, server in _FORK_SERVERS.items()}


def pytest_collection_finish() -> None:
    """Import what the server of commands has imported: its modules' own lines are measured here alone.

    What the libraries and the tests themselves consist of is left out of each later look for garbage.
    """
    for library in KEDRO_LIBRARIES:
        if library.startswith("kedro_cloudtrain."):
            import_all(library)
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """End the servers of processes."""
    for server in _FORK_SERVERS.values():
        server.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure coverage in pytest's own process, and in the processes of the tests that are marked for it.

    A command takes twice as long where it is measured, and most of them go through lines that others have gone through. So do the cases of
    some large tables in this process: those have pytest-cov's own marker, `no_cover`.
    """
    name = "COVERAGE_PROCESS_CONFIG"
    how = None if item.get_closest_marker("measured") else os.environ.pop(name, None)
    try:
        return (yield)
    finally:
        if how is not None:
            os.environ[name] = how


@pytest.fixture(autouse=True)
def _environment_as_before() -> Iterator[None]:
    """Undo what a test leaves in the environment: Kedro adds a project to PYTHONPATH, for one, and a recipe names Keras' backend."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project with the penguins on its volume."""
    return make_project(tmp_path)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3StandIn]:
    """An S3 server for all tests; each has a bucket of its own."""
    with S3StandIn(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def cloud(s3_server: S3StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An account with a volume that has the penguins; every pod is gone when the test is over."""
    volume_id = f"vol{next(_numbers):04}abc"
    datasets = s3_server.root / volume_id / "datasets"
    datasets.mkdir(parents=True)
    shutil.copy(PENGUINS, datasets)
    s3_server.faults.clear()
    s3_server.requests.clear()
    with RunPodStandIn(s3_server.root, {volume_id: DATA_CENTER}, hidden=(Path(__file__).parents[1],)) as runpod:
        environment = {
            "RUNPOD_API_BASE_URL": runpod.base_url,
            "RUNPOD_API_KEY": API_KEY,
            "RUNPOD_S3_ENDPOINT_URL": s3_server.endpoint_url,
            "RUNPOD_S3_ACCESS_KEY": ACCESS_KEY,
            "RUNPOD_S3_SECRET_KEY": SECRET_KEY,
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield Cloud(runpod, s3_server, volume_id, environment)
    s3_server.faults.clear()
