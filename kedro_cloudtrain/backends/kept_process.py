"""A job that an earlier client has left on this computer: a process, or its result."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.result import JobResult

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from kedro_cloudtrain.jobs.result import JobProgress

_WAIT_POLL_S = 1.0
_STOP_POLL_S = 0.1
# What a process has to end by itself before it is killed.
_GRACE_S = 1.0


class KeptProcess:
    """A job that an earlier client has left on this computer.

    Attributes:
        folder: the job's folder.
    """

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder

    def result(self, *, log: bool = False, kinds: Collection[str] | None = None) -> JobResult | None:  # noqa: ARG002  # all is in place
        """Return the job's result; None where it has none.

        Raises:
            JobLostError: there is a result file, and it is not a result.
        """
        return self.folder.read_result()

    def discard(self, result: JobResult) -> None:  # noqa: ARG002  # it is the only one
        """Delete a result whose outputs are not what it describes."""
        self.folder.result.unlink(missing_ok=True)

    def refresh(self) -> None:
        """Do nothing: the folder on this computer is all there is."""

    def prune(self) -> None:
        """Let the job, which is a trial, end at its next round."""
        self.folder.write(self.folder.prune, b"")

    def group(self) -> JobFolder | None:
        """Return None: a group's process holds its jobs, so that a client that has come to hold one knows that the process is over."""
        return None

    def is_running(self) -> bool:
        """Return whether a client or its process holds the job, or a pod may be working on it."""
        return self.folder.is_running() or self.folder.may_be_on_pod()

    def wait(self, report: Callable[[str, JobProgress], None]) -> JobResult | None:
        """Wait until the job is done and return its result; None where it is gone and has left none."""
        while self.folder.is_running():
            progress = self.folder.new_progress()
            if progress is not None:
                report(self.folder.name, progress)
            time.sleep(_WAIT_POLL_S)
        return self.folder.read_result()

    def log(self, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines of the job's log; with `follow`, until the job is done."""
        return self.folder.log_lines(follow=follow)

    def delete(self, sent: Iterable[Path]) -> None:
        """Do nothing: the folder on this computer is all there is."""

    def stop(self) -> bool:
        """End the job's process, and those it has started; return whether the job is over.

        A job of a group is ended with its group, which is one process.
        """
        pid = self.folder.process()
        if pid is None:
            group = self.folder.read_machine().group
            return group is not None and KeptProcess(JobFolder(self.folder.path.with_name(group))).stop()
        # Before the end: a client that still waits learns the reason from it.
        if self.folder.last_result() is None:
            self.folder.write_json(self.folder.result, JobResult.stopped().model_dump(mode="json"))
        for number in (signal.SIGTERM, signal.SIGKILL):
            # The process leads a group of its own, which has what it has started.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)
            give_up_at = time.monotonic() + _GRACE_S
            while self.folder.process() == pid and time.monotonic() < give_up_at:
                time.sleep(_STOP_POLL_S)
        return self.folder.process() != pid
