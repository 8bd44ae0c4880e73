"""A run that was left: its record gets the end of its jobs, once this computer knows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.runs.ledger import RunLedger
from kedro_cloudtrain.runs.record import NodeRecord, RunRecord, RunState

START = 1_795_744_493.0
NAME = "2026-11-27T01.54.53.000Z"
MACHINE = {"pod": "p1", "gpu": "NVIDIA L4", "gpu_count": 1, "usd_per_hour": 0.36, "created_at": START + 10, "attempt": "a1"}


def left(project: Path, *jobs: str, where: str = "runpod") -> RunLedger:
    """A ledger with a run that has left jobs running, and a node behind them that it did not come to."""
    nodes = [
        NodeRecord(
            node=job.partition("-")[0],
            kind="training",
            where=where,
            state="running",
            job=job,
            folder=f"data/volume/{job}",
            started_at=START,
            total_s=4.0,
            seconds={"render": 0.5},
        )
        for job in jobs
    ]
    ledger = RunLedger(project)
    ledger.open(
        RunRecord(id=NAME, started_at=START, finished_at=START + 5, state=RunState.DETACHED, nodes=[*nodes, NodeRecord(node="summarise")])
    )
    ledger.close()
    for job in jobs:
        (project / "data/volume" / job).mkdir(parents=True)
    return ledger


def ends(project: Path, job: str, machine: dict[str, Any] | None = None, **result: Any) -> None:
    """Let a job leave a result, and what it has scored."""
    folder = JobFolder(project / "data/volume" / job)
    given = {"state": "succeeded", "attempt": "a1", "seconds": {"read": 2.0, "fit": 60.0}, "rows": {"read": 344}}
    folder.write_json(folder.result, given | {"started_at": START + 20, "finished_at": START + 100} | result)
    folder.write_json(folder.outputs / "metrics.json", {"rmse": 1.5})
    if machine is not None:
        folder.write_json(folder.machine, machine)


def test_a_run_that_was_left_is_done_once_all_its_jobs_are(tmp_path: Path) -> None:
    ledger = left(tmp_path, "one-0123456789ab", "two-0123456789ab")
    assert ledger.find(NAME).state is RunState.DETACHED
    ends(tmp_path, "one-0123456789ab", MACHINE)
    half = ledger.find(NAME)
    assert (half.state, [node.state for node in half.nodes]) == (RunState.DETACHED, ["succeeded", "running", "waiting"])
    ends(tmp_path, "two-0123456789ab", finished_at=START + 250)
    (record,) = ledger.records()
    assert (record.state, record.error, record.seconds) == (RunState.SUCCEEDED, "", 250.0)
    one = record.nodes[0]
    assert (one.scores, one.rows, one.finished_at, one.total_s) == ({"rmse": 1.5}, 344, START + 100, 100.0)
    assert one.seconds == {"render": 0.5, "start": 19.5, "read": 2.0, "fit": 60.0}
    assert record.cost_usd == pytest.approx(0.36 * 90 / 3600)
    # It is kept: the folders may be cleaned.
    for job in ("one", "two"):
        (tmp_path / f"data/volume/{job}-0123456789ab/result.json").unlink()
    assert RunLedger(tmp_path).find(NAME) == record
    assert list(ledger.records(paid=True)) == [record]


def test_what_its_jobs_have_cost_is_known_to_who_asks_for_dollars_alone(tmp_path: Path) -> None:
    ledger = left(tmp_path, "one-0123456789ab")
    ends(tmp_path, "one-0123456789ab", MACHINE)
    (record,) = ledger.records(paid=True)
    assert record.cost_usd is not None


def test_one_job_that_failed_fails_the_run_and_its_error_is_named(tmp_path: Path) -> None:
    ledger = left(tmp_path, "one-0123456789ab", "two-0123456789ab")
    ends(tmp_path, "one-0123456789ab")
    error = {"type": "FileNotFoundError", "message": "no x.csv: https://a:geheim1@example.org\nmore", "traceback": "Traceback …"}
    ends(tmp_path, "two-0123456789ab", MACHINE, state="failed", error=error)
    record = ledger.find(NAME)
    assert (record.state, record.error) == (RunState.FAILED, "FileNotFoundError: no x.csv: https://***@example.org")
    assert record.nodes[1].error == record.error


@pytest.mark.parametrize(
    ("where", "has_process", "state"), [("local", True, "lost"), ("local", False, "running"), ("runpod", True, "running")]
)
def test_only_a_process_of_this_computer_is_known_to_be_gone(tmp_path: Path, where: str, has_process: bool, state: str) -> None:
    ledger = left(tmp_path, "one-0123456789ab", where=where)
    folder = JobFolder(tmp_path / "data/volume/one-0123456789ab")
    if has_process:
        folder.write_json(folder.machine, {"backend": where})
    assert ledger.find(NAME).nodes[0].state == state
    with folder.held():  # As long as its process lives.
        assert left(tmp_path / "other", "one-0123456789ab", where=where).find(NAME).nodes[0].state == "running"


def test_a_job_that_is_known_to_be_gone_ends_the_run_that_has_left_it(tmp_path: Path) -> None:
    ledger = left(tmp_path, "one-0123456789ab")
    assert ledger.enter_end("other-0123456789ab", gone=True) == []
    (record,) = ledger.enter_end("one-0123456789ab", gone=True)
    assert (record.state, record.nodes[0].state, record.error) == (RunState.FAILED, JobState.LOST, "it is gone and has left no result")
    assert json.loads((tmp_path / f".cloudtrain/runs/{NAME}.json").read_text())["state"] == "failed"
    assert RunLedger(tmp_path).enter_end("one-0123456789ab", gone=True) == []
