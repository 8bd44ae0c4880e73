"""What a job's end means to its user: which error, with which words."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import CloudTrainError, JobFailedError, JobLostError, JobTimeoutError, SourceError

if TYPE_CHECKING:
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult


def failed_on(folder: JobFolder, result: JobResult, timeout_s: float) -> CloudTrainError:
    """Give the error of a result that is no success."""
    error = result.error
    if result.state == "timed out":
        return timed_out(folder, timeout_s)
    if error is None:
        return JobFailedError(f"{folder.name} failed and did not say why.\n{log_end(folder)}{next_step(folder)}")
    if result.state == "lost":
        return JobLostError(f"The process of {folder.name} was {error.message} and left no result.\n{log_end(folder)}{next_step(folder)}")
    if error.input_error:
        return SourceError(f"{folder.name}: {error.message}")
    if not error.traceback:
        return JobFailedError(f"{folder.name}: {error.message}\n{log_end(folder)}{next_step(folder)}")
    return JobFailedError(
        f"{folder.name} failed in its {error.stage} stage.\n{error.traceback.rstrip()}\n\n"
        f"{log_end(folder, before='Traceback (most recent call last):')}{next_step(folder)}"
    )


def timed_out(folder: JobFolder, timeout_s: float) -> JobTimeoutError:
    """Give the error of a job that was ended at its deadline."""
    return JobTimeoutError(
        f"{folder.name} was ended at its deadline of {timeout_s:g} s.\n{log_end(folder)}"
        f"Give it more time by timeout_s in cloudtrain.yml, or: kedro run --runner=cloudtrain --runner-params timeout_s=…\n"
        f"{next_step(folder)}"
    )


def log_end(folder: JobFolder, before: str | None = None) -> str:
    """Give the last lines of a job's log, up to a line that is said already."""
    lines = folder.log_tail(200)
    # The traceback ends the log too; once is enough.
    lines = (lines[: lines.index(before)] if before in lines else lines)[-20:]
    return "The end of its log:\n" + "".join(f"    {line}\n" for line in lines) if lines else "Its log is empty.\n"


def next_step(folder: JobFolder) -> str:
    """Give the commands that show more of a job."""
    said = [f"The whole log:  kedro cloudtrain logs {folder.name}"]
    if "volume_path" in (folder.read_json(folder.spec) or {}):  # What a pod has read is not here.
        said.append(f"By hand:        cd {shlex.quote(str(folder.path))} && python train.py")
    if (folder.path / "checkpoint/latest.json").is_file():
        said.append("It goes on from its checkpoint when the same command is typed again.")
    return "\n".join(said)
