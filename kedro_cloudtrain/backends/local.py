"""The local backend: a job's script runs as a child process, by the same folder as on any machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.kept_process import KeptProcess
from kedro_cloudtrain.errors import JobCancelledError, JobFailedError, JobLostError
from kedro_cloudtrain.jobs.failures import failed_on, log_end, next_step, timed_out
from kedro_cloudtrain.jobs.result import JobResult, JobState
from kedro_cloudtrain.pod.cores import thread_variables, usable_cores
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.disk import dispensable, writing
from kedro_cloudtrain.worker.protocol import LOCKS_VARIABLE, MASTER_KEY_VARIABLE, TIMEOUT_VARIABLE, VOLUME_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.backends.backend import JobRequest, Watcher
    from kedro_cloudtrain.jobs.folder import JobFolder

# How soon `close` is noticed.
_POLL_S = 0.1
_PROGRESS_EVERY_S = 0.25
_LEAST_S = 0.02
# Ctrl-C has to end everything within 2 s: half of that is for the script to end by itself.
_GRACE_S = 1.0


class LocalBackend:
    """Runs a job with this interpreter, in a process group of its own.

    The whole group is ended: at the deadline, by `close`, and when the script is done and has left a child behind.

    Args:
        jobs: how many jobs run at once; each gets its share of the cores that this process may use, as OMP_NUM_THREADS and the like where
            those are not set.
    """

    name = "local"

    def __init__(self, jobs: int = 1) -> None:
        self._cores = usable_cores()
        self._jobs = jobs
        self._closed = threading.Event()
        # The sockets by which machines that are kept get the locks of later jobs, and when each got its last.
        self._sockets: dict[str, socket.socket] = {}
        self._handed_in_at: dict[str, float] = {}

    def run(self, request: JobRequest, watcher: Watcher) -> JobResult:
        """Run a job and return its result, which the folder's `result.json` alone decides."""
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
            self._handed_in_at.pop(folder.name, None)
            if (passing := self._sockets.pop(folder.name, None)) is not None:
                passing.close()
        if returncode is None and self._closed.is_set():
            if folder.last_result() is None:
                folder.write_json(folder.result, {"state": "cancelled"})
            raise JobCancelledError(f"{folder.name} was cancelled by this run. Its folder is kept: {folder.path}")
        result = folder.read_result()
        if returncode is None and result is None:
            # Later commands show what became of the job.
            folder.write_json(folder.result, {"state": "timed out"})
            raise timed_out(folder, request.timeout_s)
        if result is None:
            raise _without_result(folder, returncode or 0)
        if result.state != "succeeded":
            raise failed_on(folder, result, request.timeout_s)
        return result

    def submit(self, request: JobRequest) -> None:
        """Start a job and leave it running: it holds its folder until it is done, and knows its deadline."""
        self._start(request)

    def deliver(self, request: JobRequest, files: Mapping[Path, bytes], members: Sequence[JobFolder] = ()) -> None:
        """Write further files of a job's folder, and pass the locks of further jobs to the group's process."""
        self._pass_locks(request.folder, members)
        for file, content in files.items():
            request.folder.write(file, content)
        self._handed_in_at[request.folder.name] = time.monotonic()

    def kept(self, folder: JobFolder) -> KeptProcess:
        """Return what an earlier client has left of a job."""
        return KeptProcess(folder)

    def close(self) -> None:
        """End every job that still runs; the threads that wait for them do it, each within its grace period."""
        self._closed.set()

    @property
    def is_closed(self) -> bool:
        """Whether `close` has begun."""
        return self._closed.is_set()

    def left(self) -> tuple[str, ...]:
        """Return nothing: a process is ended by this computer itself."""
        return ()

    def _start(self, request: JobRequest) -> subprocess.Popen[bytes]:
        environment = {
            **thread_variables(self._cores if self._jobs == 1 else max(1, self._cores // self._jobs), os.environ),
            **os.environ,
            **request.environment,
            "PYTHONUNBUFFERED": "1",
            TIMEOUT_VARIABLE: f"{request.timeout_s:g}",
        }
        # A job has its own key; that of all jobs is the client's.
        environment.pop(MASTER_KEY_VARIABLE, None)
        if isinstance(request.volume, DirectoryVolume):
            environment[VOLUME_VARIABLE] = str(request.volume.root.resolve())
        members = list(request.members)
        theirs: socket.socket | None = None
        if request.keep_s:
            # Each lock is passed, so that the process can release it once its job is done.
            self._sockets[request.folder.name], theirs = socket.socketpair()
            environment[LOCKS_VARIABLE] = str(theirs.fileno())
            self._pass_locks(request.folder, members)
            members.clear()
        inherited = [folder.lock_fd for folder in (request.folder, *members) if folder.lock_fd is not None]
        with writing(request.folder.log):
            opened = request.folder.log.open("wb")
        with opened as log, theirs or contextlib.nullcontext():
            process = subprocess.Popen(
                [sys.executable, request.folder.script.name],
                cwd=request.folder.path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: a terminal's Ctrl-C reaches the client alone, and the client ends the whole group.
                start_new_session=True,
                # The child holds the job as well: when the client is killed, the job stays held until the child is done.
                pass_fds=[*inherited, *([theirs.fileno()] if theirs is not None else [])],
            )
        request.folder.record_process(process.pid)
        with dispensable("What runs the jobs"):
            request.folder.write_json(
                request.folder.machine,
                {"backend": self.name, "pid": process.pid, "started_at": time.time(), "timeout_s": request.timeout_s},
            )
        return process

    def _pass_locks(self, group: JobFolder, members: Sequence[JobFolder]) -> None:
        """Let the process of a group hold its jobs: if this client is killed, they stay held until they are done."""
        passing = self._sockets.get(group.name)
        for member in members if passing is not None else ():
            if passing is not None and member.lock_fd is not None:
                with contextlib.suppress(OSError):  # The process is gone.
                    socket.send_fds(passing, [member.name.encode()], [member.lock_fd])

    def _watch(self, process: subprocess.Popen[bytes], folder: JobFolder, watcher: Watcher, deadline: float) -> int | None:
        """Wait for the process and return its exit code; None where it did not end by itself."""
        running, look_again, began = False, 0.0, time.monotonic()
        ended = threading.Event()

        def wait() -> None:
            process.wait()
            ended.set()

        # A thread of its own is woken the moment the process exits, without polling.
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
                # The longer a fit runs, the less often its progress is read; at first, as soon as it may have done something.
                ran_s = now - self._handed_in_at.get(folder.name, began)
                look_again = now + min(max(_PROGRESS_EVERY_S, min(2.0, ran_s / 40)), max(_LEAST_S, ran_s / 5))
            if returncode is not None:
                return returncode
            if now >= deadline or self._closed.is_set():
                return None
            ended.wait(min(_POLL_S, max(_LEAST_S, look_again - now), deadline - now))


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Terminate the process and whatever it has started; kill what is left after the grace period."""
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The group may be gone; macOS answers EPERM where every member is a zombie.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _without_result(folder: JobFolder, returncode: int) -> JobFailedError | JobLostError:
    if returncode > 0:
        # For example a broken import at the script's top, whose traceback ends the log; or the function itself has exited.
        return JobFailedError(f"{folder.name} ended with exit code {returncode} and left no result.\n{log_end(folder)}{next_step(folder)}")
    ending = f"was killed by {signal.Signals(-returncode).name}" if returncode < 0 else "ended"
    hint = " (out of memory, often)" if returncode == -signal.SIGKILL else ""
    return JobLostError(f"The process of {folder.name} {ending}{hint} and left no result.\n{log_end(folder)}{next_step(folder)}")
