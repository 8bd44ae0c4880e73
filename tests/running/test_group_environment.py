"""Which jobs a machine that is there can take: those for which it has everything."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from kedro_cloudtrain.backends.backend import JobRequest
from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.signing import job_key
from kedro_cloudtrain.jobs.workload import Workload
from kedro_cloudtrain.running.group_environment import has_machine, machine_key, sealed_keys, shared_environment
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.worker.signatures import sealed

SECRETS = {"https://example.org/a": {"query": "key=1"}, "https://example.org/b": {"query": "key=2"}}
SMALL, LARGE = Workload("xgboost", 1000, 10), Workload("xgboost", 100_000_000, 30)


def request(name: str = "job-1", settings: dict[str, Any] | None = None, **more: Any) -> JobRequest:
    default = JobRequest(
        JobFolder(Path("/volume/.cloudtrain/jobs") / name),
        DirectoryVolume(Path("/volume")),
        NodeSettings.model_validate({"gpu": "none", **(settings or {})}),
        SMALL,
        ("xgboost==3.0", "pandas==2.2"),
        ("xgboost-cpu==3.0", "pandas==2.2"),
        "3.12",
        Path("/project"),
    )
    return dataclasses.replace(default, **more)


def environment(**places: Any) -> dict[str, str]:
    return {"CLOUDTRAIN_URL_SECRETS": json.dumps(places)}


MACHINE = request("group-small-1", environment={"A": "1", **environment(**SECRETS), **machine_key("group-small-1")})


@pytest.mark.parametrize(
    ("job", "fits"),
    [
        (request(), True),
        (request(requirements=("pandas==2.2",)), True),
        (request(requirements=("pandas==2.3",)), False),
        (request(cpu_requirements=("polars",)), False),
        (request(python=""), True),
        (request(python="3.13"), False),
        (request(project=None), False),
        (request(volume=DirectoryVolume(Path("/another"))), False),
        (request(settings={"timeout_s": 5, "checkpoint_every_s": 1, "cache": False, "group": "small"}), True),
        *((request(settings=other), False) for other in ({"gpu": "auto"}, {"image": "mine"}, {"disk_gb": 90}, {"max_cost_usd": 1})),
        *((request(settings=other), False) for other in ({"min_ram_gb": 3}, {"retries": 9}, {"index_url": "https://example.org/simple"})),
        (request(workload=LARGE), False),
        (request(environment={"A": "1"}), True),
        (request(environment={"A": "2"}), False),
        (request(environment={"B": "1"}), False),
        (request(environment={"CLOUDTRAIN_CHECKPOINT_OF": "any"}), True),
        (request(environment=environment(**{"https://example.org/a": {"query": "key=1"}})), True),
        (request(environment=environment(**{"https://example.org/a": {"query": "key=9"}})), False),
        (request(environment=environment(**{"https://example.org/c": {"query": "key=1"}})), False),
        (request(environment=machine_key("job-1")), True),
    ],
)
def test_a_job_goes_to_a_machine_that_has_all_that_it_needs(job: JobRequest, fits: bool) -> None:
    assert has_machine(MACHINE, job) is fits


def test_what_is_not_installed_need_not_be_there() -> None:
    machine, job = (request(settings={"install": False}, requirements=lines) for lines in ((), ("polars",)))
    assert has_machine(machine, job)


@pytest.mark.parametrize(("gpu", "fits"), [("auto", False), (["NVIDIA L4"], True), ("none", True)])
def test_auto_chooses_a_machine_for_each_kind_of_work(gpu: object, fits: bool) -> None:
    machine, job = (request(settings={"gpu": gpu}, workload=Workload(library, 3_000_000, 10)) for library in ("xgboost", "lightgbm"))
    assert has_machine(machine, job) is fits


def test_a_job_that_signs_needs_a_machine_with_a_key_for_what_follows() -> None:
    assert not has_machine(request("group-small-1"), request(environment=machine_key("job-1")))


def test_a_key_passes_over_the_volume_so_that_the_machine_alone_can_read_it() -> None:
    job = request(environment=machine_key("job-1"))
    keys = sealed_keys(MACHINE, [job], "run1")
    assert job_key("job-1") not in json.dumps(keys)
    assert sealed(keys["job-1"], job_key("group-small-1"), "run1", "job-1") == job_key("job-1")
    for machine, run in (("group-small-2", "run1"), ("group-small-1", "run2")):
        assert sealed(keys["job-1"], job_key(machine), run, "job-1") != job_key("job-1")
    assert sealed_keys(request("group-small-1"), [job], "run1") == {}


def test_the_machine_has_what_its_first_jobs_need_and_its_own_key() -> None:
    jobs = [request(f"job-{number}", environment={"A": "1", **machine_key(f"job-{number}")}) for number in (1, 2)]
    shared = shared_environment(jobs, machine_key("group-small-1"))
    assert shared["A"] == "1"
    assert set(json.loads(shared["CLOUDTRAIN_JOB_KEYS"])) == {"job-1", "job-2", "group-small-1"}
