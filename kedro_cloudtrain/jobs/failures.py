"""The errors of jobs that have ended without success, and what their messages tell a user to do next."""

from __future__ import annotations

import math
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


def failed_on(folder: JobFolder, result: JobResult, timeout_s: float, paid_s: float = math.inf) -> CloudTrainError:
    """Return the error of a result that is not a success.

    Args:
        folder: the job's folder.
        result: what the job has left.
        timeout_s: the time that the node asks for.
        paid_s: the time that its limit in dollars pays for, which may be less.
    """
    error = result.error
    if result.state in ("timed out", "pruned"):
        pruned = JobPrunedError(f"{folder.name} was ended early by its search (`pruner`).")
        return pruned if result.state == "pruned" else timed_out(folder, timeout_s, paid_s)
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


def timed_out(folder: JobFolder, timeout_s: float, paid_s: float = math.inf) -> JobTimeoutError:
    """Return the error of a job that was ended at its deadline, with the setting that has set this deadline."""
    if paid_s < timeout_s:
        deadline = f"{paid_s:.0f} s, since the node's max_cost_usd pays for no more of its timeout_s ({timeout_s:g} s)"
        advice = "raise the node's max_cost_usd in cloudtrain.yml, or ask for a cheaper machine."
    else:
        deadline = f"{timeout_s:g} s"
        advice = "set timeout_s in cloudtrain.yml, or: kedro run --runner=cloudtrain --runner-params timeout_s=…"
    return JobTimeoutError(
        f"{folder.name} was ended at its deadline of {deadline}.\n{log_end(folder)}For more time, {advice}\n{next_step(folder)}"
    )


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
