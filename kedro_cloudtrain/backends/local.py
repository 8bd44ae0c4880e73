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

from kedro_cloudtrain.errors import JobCancelledError, JobFailedError, JobLostError
from kedro_cloudtrain.jobs.failures import failed_on, log_end, next_step, timed_out
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.storage.directory import DirectoryVolume

if TYPE_CHECKING:
    from kedro_cloudtrain.backends import JobRequest, Watcher
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult

# How soon a run that is over is seen.
_POLL_S = 0.1
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
        process = self._start(request)
        watcher.moved(folder.name, JobState.STARTING)
        deadline = time.monotonic() + request.timeout_s
        try:
            returncode = self._watch(process, folder, watcher, deadline)
        finally:
            _end_group(process)
        if returncode is None and self._closed.is_set():
            if folder.read_result() is None:
                folder.write_json(folder.result, {"state": "cancelled"})
            raise JobCancelledError(f"{folder.name} was ended from here. Its folder is kept: {folder.path}")
        result = folder.read_result()
        if returncode is None and result is None:
            # So that whoever looks at the job later sees what became of it.
            folder.write_json(folder.result, {"state": "timed out"})
            raise timed_out(folder, request.timeout_s)
        if result is None:
            raise _without_result(folder, returncode or 0)
        if result.state != "succeeded":
            raise failed_on(folder, result, request.timeout_s)
        return result

    def submit(self, request: JobRequest) -> None:
        """Start a job, and leave it to itself: it holds its folder until it is done, and knows its deadline."""
        self._start(request)

    def earlier(self, folder: JobFolder) -> JobResult | None:
        """Give what an earlier run of the job has left."""
        return folder.read_result()

    def discard(self, folder: JobFolder, result: JobResult) -> None:  # noqa: ARG002
        """Take a result away whose outputs are not what it says."""
        folder.result.unlink(missing_ok=True)

    def collect(self, folder: JobFolder) -> JobResult | None:
        """Give what a job of a group has left."""
        return folder.read_result()

    def group_at_work(self, folder: JobFolder) -> JobFolder | None:  # noqa: ARG002
        """Give nothing: a group's process holds its jobs, so that whoever has come to hold one knows that it is over."""
        return None

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
        if isinstance(request.volume, DirectoryVolume):
            environment["CLOUDTRAIN_VOLUME"] = str(request.volume.root.resolve())
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
                # The child holds the job, too: a client that was killed leaves it held until the child is done.
                pass_fds=[folder.lock_fd for folder in (request.folder, *request.members) if folder.lock_fd is not None],
            )
        request.folder.write_json(
            request.folder.machine,
            {"backend": self.name, "pid": process.pid, "started_at": time.time(), "timeout_s": request.timeout_s},
        )
        return process

    def _watch(self, process: subprocess.Popen[bytes], folder: JobFolder, watcher: Watcher, deadline: float) -> int | None:
        """Wait for the process; None says that it did not end by itself."""
        running, look_again, began = False, 0.0, time.monotonic()
        ended = threading.Event()

        def wait() -> None:
            process.wait()
            ended.set()

        # In a thread of its own: its end is known at once, and asked for by nobody.
        threading.Thread(target=wait, name="cloudtrain-process", daemon=True).start()
        while True:
            returncode = process.returncode if ended.is_set() else None
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
            ended.wait(min(_POLL_S, deadline - now))


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
        # A broken import at the script's top, say, whose traceback is the log's end; or the work itself has left the process.
        return JobFailedError(f"{folder.name} ended with exit code {returncode} and left no result.\n{log_end(folder)}{next_step(folder)}")
    how = f"was killed by {signal.Signals(-returncode).name}" if returncode < 0 else "ended"
    hint = " (out of memory, often)" if returncode == -signal.SIGKILL else ""
    return JobLostError(f"The process of {folder.name} {how}{hint} and left no result.\n{log_end(folder)}{next_step(folder)}")
