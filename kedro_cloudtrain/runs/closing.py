"""The end of a run that was left: what its jobs have done since, entered into its record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.jobs.volume_file import bounded_bytes
from kedro_cloudtrain.runs.record import MachineRecord, RunState
from kedro_cloudtrain.runs.scores import scores_of
from kedro_cloudtrain.secrecy import redacted
from kedro_cloudtrain.worker.protocol import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.runs.record import NodeRecord, RunRecord

_GOING_ON = (JobState.STARTING, JobState.RUNNING)
_GONE = "it is gone and has left no result"


def bring_up_to_date(record: RunRecord, project: Path, gone: Collection[str] = ()) -> bool:
    """Enter what the jobs of a run that was left have done since; the run is over once all of them are. Return whether anything is new.

    Only the folders on this computer are read, so that nobody waits for a volume: a pod's result is in there once `kedro cloudtrain wait`
    has seen it, or a run has taken it.

    Args:
        record: the run's.
        project: the project's folder.
        gone: the names of jobs that are known to be over without a result.
    """
    if record.state is not RunState.DETACHED:
        return False
    going_on = [node for node in record.nodes if node.job and node.state in _GOING_ON]
    changed = [_enter(node, JobFolder(project / node.folder), gone=node.job in gone) for node in going_on]
    jobs = [node for node in record.nodes if node.job]
    if jobs and not any(node.state in _GOING_ON for node in jobs):
        failed = [node for node in jobs if node.state not in (JobState.SUCCEEDED, JobState.REUSED)]
        record.state = RunState.FAILED if failed else RunState.SUCCEEDED
        record.error = failed[0].error if failed else ""
        record.finished_at = max((node.finished_at or 0.0 for node in jobs), default=0.0) or record.finished_at
        return True
    return any(changed)


def _enter(node: NodeRecord, folder: JobFolder, *, gone: bool) -> bool:
    """Enter the end of a node's job; return whether it has one."""
    if not node.folder or not folder.path.is_dir():
        if gone:
            node.state, node.error = str(JobState.LOST), _GONE
        return gone
    result = None if folder.is_running() else folder.last_result()
    if result is None:
        # A pod's folder on this computer cannot tell: its result would be on the volume.
        if not gone and (node.where != "local" or folder.state() is not JobState.LOST):
            return False
        node.state, node.error = str(JobState.LOST), _GONE
        return True
    node.state = result.state
    node.error = "" if result.error is None else redacted(result.error.headline)
    node.finished_at = result.finished_at or folder.result.stat().st_mtime
    if node.started_at is not None:
        node.total_s = max(node.total_s, node.finished_at - node.started_at)
        start_s = (result.started_at or node.started_at) - node.started_at - sum(node.seconds.values())
        node.seconds = {**node.seconds, "start": max(0.0, start_s - result.seconds.get("environment", 0.0)), **result.seconds}
    node.rows, node.rows_per_s, node.bytes_read = result.rows.get("read"), result.rows_per_s, result.bytes_read
    node.device = str(result.gpu or result.device_name)
    if node.kind == "training":
        node.scores = {**_scores(folder), **node.scores}
    node.machines = node.machines or _machines(folder, node.finished_at, result)
    return True


def _scores(folder: JobFolder) -> dict[str, float]:
    try:
        return scores_of(json.loads(bounded_bytes(folder.path / OUTPUTS / "metrics.json") or b"null"))
    except (ValueError, RecursionError):
        return {}


def _machines(folder: JobFolder, finished_at: float, result: JobResult) -> list[MachineRecord]:
    """Return the pod that has done a job, with its price and the time until the job was done; none for a process, or a group's pod."""
    machine = folder.read_machine()
    if not machine.pod or machine.created_at is None or (machine.attempt and result.attempt not in (None, machine.attempt)):
        return []
    kind = machine.gpu or f"{machine.cpu} with {machine.vcpu_count} vCPUs"
    seconds = max(0.0, finished_at - machine.created_at)
    return [
        MachineRecord(
            pod=machine.pod,
            machine=f"{machine.gpu_count} × {kind}" if machine.gpu and machine.gpu_count > 1 else kind,
            usd_per_hour=machine.usd_per_hour,
            seconds=seconds,
            cost_usd=machine.usd_per_hour * seconds / 3600,
            ended="done" if result.state == "succeeded" else "jobfailed",
        )
    ]
