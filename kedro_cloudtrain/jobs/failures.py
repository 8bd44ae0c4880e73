"""The errors of jobs that have ended without success, and what their messages tell a user to do next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import (
    CloudTrainError,
    DetachedError,
    HyperparameterError,
    JobCancelledError,
    JobFailedError,
    JobLostError,
    JobPrunedError,
    JobTimeoutError,
    NotStartedError,
    SourceError,
)
from kedro_cloudtrain.jobs.result import JobState

if TYPE_CHECKING:
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult


def failed_on(folder: JobFolder, result: JobResult, timeout_s: float, max_cost_usd: float | None = None) -> CloudTrainError:
    """Return the error of a result that is not a success.

    Args:
        folder: the job's folder.
        result: its result.
        timeout_s: the node's deadline.
        max_cost_usd: the node's limit, which may have shortened the life of its pod.
    """
    error = result.error
    if result.state in ("timed out", "pruned"):
        pruned = JobPrunedError(f"{folder.name} was ended early by its search (`pruner`).")
        reason = error.message if error is not None else ""
        return pruned if result.state == "pruned" else timed_out(folder, timeout_s, reason, max_cost_usd)
    if error is None:
        return JobFailedError(f"{folder.name} failed without an error message.\n{log_end(folder)}{next_step(folder)}")
    if result.state == "lost":
        return JobLostError(
            f"The process of {folder.name} was {error.message} and left no result. The same command runs it again.\n"
            f"{log_end(folder)}{next_step(folder)}"
        )
    if error.input_error:
        kinds = {"hyperparameters": HyperparameterError, "outputs": JobFailedError, "packages": JobFailedError}
        return kinds.get(error.about, SourceError)(f"{folder.name}: {error.message}")
    if not error.traceback:
        return JobFailedError(f"{folder.name}: {error.message}\n{log_end(folder)}{next_step(folder)}")
    return JobFailedError(
        f"{folder.name} failed in its {error.stage} stage: {error.headline}\n{error.traceback.rstrip()}\n\n"
        f"{log_end(folder, before='Traceback (most recent call last):')}{next_step(folder)}"
    )


def timed_out(folder: JobFolder, timeout_s: float, reason: str = "", max_cost_usd: float | None = None) -> JobTimeoutError:
    """Return the error of a job that was ended at its deadline.

    Args:
        folder: the job's folder.
        timeout_s: the node's deadline.
        reason: the machine's own words, with its deadline, which may have been a shorter one; empty where this process ended the job.
        max_cost_usd: the node's limit, which may have shortened the deadline.
    """
    reason = reason or f"ended at its deadline of {timeout_s:g} s"
    was_ended = reason if reason.startswith("ended") else f"ended: {reason}"
    # A pod that was attached to may have been shortened by the limit of the client that created it.
    if max_cost_usd is None and folder.read_machine().max_cost_usd is None:
        advice = "For more time, set timeout_s in cloudtrain.yml, or: kedro run --runner=cloudtrain --runner-params timeout_s=…"
    else:
        shortest = f"timeout_s ({timeout_s:g} s), or for as long as max_cost_usd pays for its pod, whichever is shorter"
        advice = f"It may run for {shortest}: for more time, raise whichever applies, in cloudtrain.yml."
    return JobTimeoutError(f"{folder.name} was {was_ended}.\n{log_end(folder)}{advice}\n{next_step(folder)}")


def log_end(folder: JobFolder, before: str | None = None) -> str:
    """Return the last lines of a job's log, up to the line `before`, which begins what the message shows already."""
    lines = folder.log_tail(200)
    # The traceback ends the log too; once is enough.
    lines = (lines[: lines.index(before)] if before in lines else lines)[-20:]
    return "The end of its log:\n" + "".join(f"    {line}\n" for line in lines) if lines else "Its log is empty.\n"


def next_step(folder: JobFolder) -> str:
    """Return the commands that show more of a job, and those that run it again."""
    lines = [f"The whole log:  kedro cloudtrain logs {folder.name}"]
    if "volume_path" in (folder.read_json(folder.spec) or {}):  # Only then is the job's data on this computer.
        lines.append(f"Run by hand:    cd {shlex.quote(str(folder.path))} && python {folder.script.name}")
    if folder.checkpoint.is_file():
        lines.append("It left a checkpoint: the same command as before continues from it.")
    return "\n".join(lines)


def state_after(error: Exception) -> JobState | None:
    """Return the state in which an error leaves a job; None where it was not started."""
    if isinstance(error, NotStartedError):
        return None
    kinds = {
        DetachedError: JobState.RUNNING,
        JobTimeoutError: JobState.TIMED_OUT,
        JobCancelledError: JobState.CANCELLED,
        JobLostError: JobState.LOST,
        JobPrunedError: JobState.PRUNED,
    }
    return next((state for kind, state in kinds.items() if isinstance(error, kind)), JobState.FAILED)
