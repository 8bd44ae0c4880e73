"""The local backend: a job's script as a child process, by the same folder as on any machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import JobCancelledError, JobFailedError, JobLostError, JobTimeoutError, SourceError
from kedro_cloudtrain.jobs import JobState

if TYPE_CHECKING:
    from kedro_cloudtrain.backends import JobRequest, Watcher
    from kedro_cloudtrain.folder import JobFolder
    from kedro_cloudtrain.jobs import JobFailure, JobResult

_POLL_S = 0.05
_PROGRESS_EVERY_S = 0.25
# Ctrl-C has to be through within 2 s: half of them for the script to end by itself.
_GRACE_S = 1.0


class LocalBackend:
    """Runs a job with this interpreter, in a process group of its own.

    The group is what is ended, by deadline, by `close`, or when the script is done and has left a child behind.

    Args:
        jobs: how many jobs are run at once; each gets its share of the cores, as OMP_NUM_THREADS where that is not set.
    """

    name = "local"

    def __init__(self, jobs: int = 1) -> None:
        self._threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None
        self._closed = threading.Event()

    def run(self, request: JobRequest, watcher: Watcher) -> JobResult:
        """Run a job to its result; the folder's `result.json` alone says what it is."""
        folder = request.folder
        if self._closed.is_set():
            raise JobCancelledError(f"{folder.name} was not started: the run is over.")
        watcher.moved(folder.name, JobState.STARTING)
        process = self._start(request)
        deadline = time.monotonic() + request.timeout_s
        try:
            returncode = self._watch(process, folder, watcher, deadline)
        finally:
            _end_group(process)
        if returncode is None and self._closed.is_set():
            raise JobCancelledError(f"{folder.name} was ended from here. Its folder is kept: {folder.path}")
        result = folder.read_result()
        if returncode is None and result is None:
            raise JobTimeoutError(
                f"{folder.name} was ended at its deadline of {request.timeout_s:g} s.\n{_log_end(folder)}"
                f"Give it more time by timeout_s in cloudtrain.yml, or: kedro run --runner=cloudtrain --runner-params timeout_s=…"
            )
        if result is None:
            raise _without_result(folder, returncode or 0)
        if result.state == "failed":
            raise _failed(folder, result)
        return result

    def close(self) -> None:
        """End every job that still runs: their watching threads do it, each within its grace."""
        self._closed.set()

    def _start(self, request: JobRequest) -> subprocess.Popen[bytes]:
        environment = {
            **({"OMP_NUM_THREADS": str(self._threads)} if self._threads else {}),
            **os.environ,
            **request.environment,
            "PYTHONUNBUFFERED": "1",
            "CLOUDTRAIN_TIMEOUT_S": f"{request.timeout_s:g}",
        }
        if request.volume is not None:
            environment["CLOUDTRAIN_VOLUME"] = str(request.volume.resolve())
        with request.folder.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, request.folder.script.name],
                cwd=request.folder.path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: a terminal's Ctrl-C reaches the client alone, and the client ends the whole group.
                start_new_session=True,
            )
        request.folder.write_json(
            request.folder.machine,
            {"backend": self.name, "pid": process.pid, "started_at": time.time(), "timeout_s": request.timeout_s},
        )
        return process

    def _watch(self, process: subprocess.Popen[bytes], folder: JobFolder, watcher: Watcher, deadline: float) -> int | None:
        """Wait for the process; None says that it did not end by itself."""
        running, look_again, began = False, 0.0, time.monotonic()
        while True:
            returncode = process.poll()
            now = time.monotonic()
            if returncode is not None or now >= look_again:
                progress = folder.new_progress()
                if progress is not None:
                    if not running:
                        watcher.moved(folder.name, JobState.RUNNING)
                        running = True
                    watcher.progressed(folder.name, progress)
                # A long fit is looked at ever less often: its pace is known.
                look_again = now + max(_PROGRESS_EVERY_S, min(2.0, (now - began) / 40))
            if returncode is not None:
                return returncode
            if now >= deadline or self._closed.is_set():
                return None
            time.sleep(_POLL_S)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it has started: asked first, then killed."""
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The group may be gone; macOS says EPERM where every member is a zombie.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _without_result(folder: JobFolder, returncode: int) -> JobFailedError | JobLostError:
    if returncode > 0:
        # It ended by itself before the job began: a broken import at the script's top, say. Its traceback is the log's end.
        return JobFailedError(
            f"{folder.name} ended with exit code {returncode} before its job began.\n{_log_end(folder)}{_next_step(folder)}"
        )
    how = f"was killed by {signal.Signals(-returncode).name}" if returncode < 0 else "ended"
    hint = " (out of memory, often)" if returncode == -signal.SIGKILL else ""
    return JobLostError(f"The process of {folder.name} {how}{hint} and left no result.\n{_log_end(folder)}{_next_step(folder)}")


def _failed(folder: JobFolder, result: JobResult) -> JobFailedError | SourceError:
    error: JobFailure | None = result.error
    if error is None:
        return JobFailedError(f"{folder.name} failed and did not say why.\n{_log_end(folder)}{_next_step(folder)}")
    if error.input_error:
        return SourceError(f"{folder.name}: {error.message}")
    return JobFailedError(
        f"{folder.name} failed in its {error.stage} stage.\n{error.traceback.rstrip()}\n\n"
        f"{_log_end(folder, before='Traceback (most recent call last):')}{_next_step(folder)}"
    )


def _log_end(folder: JobFolder, before: str | None = None) -> str:
    lines = folder.log_tail(200)
    # The traceback ends the log too; once is enough.
    lines = (lines[: lines.index(before)] if before in lines else lines)[-20:]
    return "The end of its log:\n" + "".join(f"    {line}\n" for line in lines) if lines else "Its log is empty.\n"


def _next_step(folder: JobFolder) -> str:
    return f"The whole log:  kedro cloudtrain logs {folder.name}\nBy hand:        cd {folder.path} && python train.py"
