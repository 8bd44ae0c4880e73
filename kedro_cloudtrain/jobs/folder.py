"""The job folder: the files of a job, each written beside its place and renamed, so that a file that is there is whole."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import JobLostError
from kedro_cloudtrain.jobs.fingerprint import Fingerprint
from kedro_cloudtrain.jobs.machine import Machine
from kedro_cloudtrain.jobs.result import JobProgress, JobResult, JobState
from kedro_cloudtrain.jobs.volume_file import MOST_BYTES, MOST_SPEC_BYTES, bounded_bytes, fault_of, parsed, parsed_object
from kedro_cloudtrain.storage.disk import dispensable, writing
from kedro_cloudtrain.storage.files import whole
from kedro_cloudtrain.worker import protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The client's own: no machine locks a job.
_LOCK = "lock"
# How often a log is read on.
_LOG_POLL_S = 0.2
# A pod that was asked for and has not started is given up long before that.
_STARTS_WITHIN_S = 86_400.0
# Enough for the last two lines of progress.jsonl, whose metrics are a handful of numbers.
_PROGRESS_TAIL_BYTES = 2048
_LOG_TAIL_BYTES = 32_768


class JobFolder:
    """One job's folder, as the client sees it.

    Attributes:
        path: the folder.
        bytes_passed: what this process has written to it and read from it, in bytes.
        lock_fd: the lock's file descriptor, while the job is held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_passed = 0
        self.lock_fd: int | None = None
        self._progress_size = self._rounds_end = 0

    def __repr__(self) -> str:
        return f"JobFolder({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The job's name."""
        return self.path.name

    @property
    def script(self) -> Path:
        """`train.py`: rendered, readable, complete."""
        return self.path / protocol.SCRIPT

    @property
    def spec(self) -> Path:
        """`job.json`: the whole spec."""
        return self.path / protocol.SPEC

    @property
    def archive(self) -> Path:
        """`worker.zip`: what the script imports."""
        return self.path / protocol.ARCHIVE

    @property
    def machine(self) -> Path:
        """`machine.json`: what runs the job."""
        return self.path / protocol.MACHINE

    @property
    def log(self) -> Path:
        """`log.txt`: stdout and stderr, line by line."""
        return self.path / protocol.LOG

    @property
    def progress(self) -> Path:
        """`progress.jsonl`: a line for each iteration."""
        return self.path / protocol.PROGRESS

    @property
    def checkpoint(self) -> Path:
        """`checkpoint/latest.json`: the state that the next machine continues from."""
        return self.path / protocol.CHECKPOINT / protocol.LATEST

    @property
    def prune(self) -> Path:
        """`prune`: a trial ends where it finds it."""
        return self.path / protocol.PRUNE

    @property
    def outputs(self) -> Path:
        """`outputs/`: what the script leaves."""
        return self.path / protocol.OUTPUTS

    @property
    def result(self) -> Path:
        """`result.json`: its presence means done."""
        return self.path / protocol.RESULT

    @property
    def fingerprint(self) -> Path:
        """`fingerprint.json`: what the job's name stands for."""
        return self.path / protocol.FINGERPRINT

    @property
    def why(self) -> Path:
        """`why.json`: whether the job ran or was reused the last time, and why."""
        return self.path / protocol.WHY

    @property
    def saved(self) -> Path:
        """`saved.json`: the identities of the outputs that the machine has saved on a network volume."""
        return self.path / protocol.SAVED

    @property
    def code(self) -> Path:
        """`code.zip`: the project's own code, if the script imports it."""
        return self.path / protocol.CODE

    @property
    def members(self) -> Path:
        """`members.zip`: the folders of a group's jobs, if its machine is a pod."""
        return self.path / protocol.MEMBERS

    @property
    def closing(self) -> Path:
        """`close.json`: lets a machine that is kept end once it has done its jobs."""
        return self.path / protocol.CLOSE

    @property
    def ending(self) -> Path:
        """`end.json`: lets the machine of a group end this job."""
        return self.path / protocol.END

    def batch(self, number: int) -> tuple[Path, Path]:
        """Return `batch-N.json` and `batch-N.zip`: further jobs for a machine that is kept, and their folders, if it is a pod."""
        return self.path / protocol.batch_file(number), self.path / protocol.batch_members(number)

    @property
    def batches(self) -> list[Path]:
        """The files of all further batches."""
        return sorted(file for pattern in (protocol.batch_file, protocol.batch_members) for file in self.path.glob(pattern("*")))

    @property
    def needed(self) -> list[Path]:
        """The files that the machine needs besides `machine.json` and the sent inputs."""
        return [file for file in (self.spec, self.script, self.archive, self.code, self.members) if file.is_file()]

    def input(self, name: str) -> Path:
        """Return the place of a sent input: beside the jobs of a volume, which share it, else within the job folder."""
        shared = self.path.parent.name == PurePosixPath(protocol.JOBS).name
        return (self.path.parents[1] if shared else self.path) / protocol.SENT / name

    @property
    def jobs(self) -> list[str]:
        """The names of a group's jobs, as `job.json` has them."""
        return self._names("jobs")

    @property
    def sent(self) -> list[Path]:
        """The sent inputs, as `job.json` names them."""
        return [self.input(name) for name in self._names("sent")]

    def siblings(self) -> list[JobFolder]:
        """Return the folders of other jobs of the same node, the latest first."""
        node = self.name.rpartition("-")[0]
        others = [JobFolder(path) for path in self.path.parent.glob(f"{node}-*") if path != self.path]
        others = [other for other in others if other.name.rpartition("-")[0] == node and other.fingerprint.is_file()]
        return sorted(others, key=lambda other: other.fingerprint.stat().st_mtime, reverse=True)

    @contextlib.contextmanager
    def held(self, waiting: Callable[[], None] | None = None, poll_s: float = 0.1) -> Iterator[None]:
        """Hold the job while this client runs it; another client of the same job waits until this one is done.

        The lock is the kernel's (flock): it ends with a killed client, and a child process that inherits `lock_fd` keeps it.

        Args:
            waiting: called repeatedly while another client holds the job.
            poll_s: the pause between two tries, in seconds.
        """
        with writing(self.path / _LOCK):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / _LOCK).open("a")
        with lock as handle:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if waiting is not None:
                        waiting()
                    time.sleep(poll_s)
                else:
                    break
            self.lock_fd = handle.fileno()
            os.ftruncate(self.lock_fd, 0)
            try:
                yield
            finally:
                self.lock_fd = None

    def record_process(self, pid: int) -> None:
        """Record in the lock which process of this computer runs the job, for as long as the job is held."""
        if self.lock_fd is not None:
            with dispensable("The numbers of processes"):
                os.write(self.lock_fd, f"{socket.gethostname()} {pid}".encode())

    def process(self) -> int | None:
        """Return the id of the process that runs the job; None if there is none on this computer."""
        if not self.is_running():
            return None
        host, _, pid = (self.path / _LOCK).read_text(encoding="utf-8").partition(" ")
        return int(pid) if host == socket.gethostname() and pid.isdecimal() else None

    @property
    def touched_at(self) -> float:
        """When the job was last asked for, whether it ran or was reused, in seconds since 1970."""
        return max(file.stat().st_mtime for file in (self.spec, self.why) if file.is_file())

    def is_running(self) -> bool:
        """Return whether a client or its process holds the job."""
        try:
            with (self.path / _LOCK).open("r") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except BlockingIOError:
            return True
        return False

    def may_be_on_pod(self) -> bool:
        """Return whether a pod may be working on the job: it has left no result, and has time left."""
        machine = self.read_machine()
        ends_at = (machine.created_at or machine.claimed_at) + machine.lifetime_s + _STARTS_WITHIN_S
        return bool(machine.attempt) and not self.result.is_file() and time.time() < ends_at

    def group(self) -> JobFolder | None:
        """Return the folder of the latest group that has the job among its own; None if there is none."""
        groups = [JobFolder(path) for path in self.path.parent.glob(f"{protocol.GROUP_PREFIX}*") if (path / protocol.SPEC).is_file()]
        groups = [group for group in groups if self.name in group.jobs]
        return max(groups, key=lambda group: group.touched_at, default=None)

    def log_lines(self, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines of the job's log on this computer, none if there is no log; with `follow`, until no client holds the job."""
        while follow and not self.log.is_file() and self.is_running():
            time.sleep(_LOG_POLL_S)
        if not self.log.is_file():
            return
        with self.log.open(encoding="utf-8", errors="replace") as stream:
            while True:
                last = not follow or not self.is_running()
                yield from stream
                if last:
                    return
                time.sleep(_LOG_POLL_S)

    def state(self) -> JobState:
        """Return the job's state, by its files alone."""
        if self.is_running():
            return JobState.RUNNING
        result = self.last_result()
        if result is not None:
            return JobState(result.state)
        return JobState.LOST if self.machine.is_file() else JobState.WAITING

    def clear(self) -> None:
        """Remove what an earlier run has left, the result first, so that no part of it is mistaken for the next one's.

        Its checkpoint stays: the work itself knows whether the checkpoint is its own.
        """
        self.result.unlink(missing_ok=True)
        for file in (self.log, self.progress, self.machine, self.saved, self.prune, self.closing, self.ending, *self.batches):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.outputs, ignore_errors=True)

    def write(self, file: Path, content: bytes | Path, *, counted: bool = True) -> None:
        """Write a file whole or not at all.

        Args:
            file: the file's path.
            content: its bytes, or the file to copy.
            counted: whether they count in `bytes_passed`: this package's own code is counted only when it is sent.
        """
        with whole(file) as temporary:
            if isinstance(content, Path):
                shutil.copyfile(content, temporary)
            else:
                temporary.write_bytes(content)
            size = temporary.stat().st_size
        self.bytes_passed += size if counted else 0

    def write_json(self, file: Path, value: Any) -> None:
        """Write JSON that a person can read."""
        self.write(file, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")

    def read_json(self, file: Path) -> dict[str, Any] | None:
        """Read a JSON object; None if there is no such file, or it holds none."""
        most_bytes = MOST_SPEC_BYTES if file == self.spec else MOST_BYTES
        content = bounded_bytes(file, most_bytes)
        self.bytes_passed += len(content or b"")
        return parsed_object(content, most_bytes)

    def read_machine(self) -> Machine:
        """Read `machine.json`: what runs the job; one without any field if there is none, or it cannot be read."""
        content = bounded_bytes(self.machine)
        self.bytes_passed += len(content or b"")
        return parsed(Machine, content) or Machine()

    def read_fingerprint(self) -> Fingerprint | None:
        """Read `fingerprint.json`; None if there is none, or it cannot be read."""
        content = bounded_bytes(self.fingerprint)
        self.bytes_passed += len(content or b"")
        return parsed(Fingerprint, content)

    def read_result(self) -> JobResult | None:
        """Read the job's result; None if there is none yet.

        Raises:
            JobLostError: `result.json` does not hold a result.
        """
        content = bounded_bytes(self.result)
        if content is None:
            return None
        self.bytes_passed += len(content)
        result = parsed(JobResult, content)
        if result is None:
            raise JobLostError(f"{self.result} is the job's result, and {fault_of(content)}: the same run does the job again.")
        return result

    def last_result(self) -> JobResult | None:
        """Read the job's result; None if there is none yet, or it cannot be read."""
        return parsed(JobResult, bounded_bytes(self.result))

    def new_progress(self) -> JobProgress | None:
        """Return the last whole line of the progress file; None if the file has not grown since the last call."""
        try:
            size = self.progress.stat().st_size
        except FileNotFoundError:
            return None
        if size == self._progress_size:
            return None
        self._progress_size = size
        return self.last_progress()

    def new_rounds(self) -> list[JobProgress]:
        """Return each round of the progress file that was not returned before, in order; a line that is not whole yet is left."""
        try:
            with self.progress.open("rb") as stream:
                # A shorter file was begun again.
                start = self._rounds_end if stream.seek(0, os.SEEK_END) >= self._rounds_end else 0
                stream.seek(start)
                content = stream.read()
        except FileNotFoundError:
            return []
        whole_lines = content[: content.rfind(b"\n") + 1]
        self._rounds_end = start + len(whole_lines)
        return [progress for line in whole_lines.splitlines() if (progress := parsed(JobProgress, line)) is not None]

    def last_progress(self) -> JobProgress | None:
        """Return the last whole line of the progress file, however long the file is."""
        for line in reversed(self._tail(self.progress, _PROGRESS_TAIL_BYTES)):
            # Else a line that is still being written, or the first one, which the tail has cut.
            if (progress := parsed(JobProgress, line)) is not None:
                return progress
        return None

    def log_tail(self, lines: int = 20) -> list[str]:
        """Return the last lines of the log."""
        return self._tail(self.log, _LOG_TAIL_BYTES)[-lines:]

    def _names(self, field: str) -> list[str]:
        """Return the names of files that the spec has in a field, without anything that is not a name."""
        names = (self.read_json(self.spec) or {}).get(field)
        return [name for name in names if isinstance(name, str) and PurePosixPath(name).name == name] if isinstance(names, list) else []

    def _tail(self, file: Path, size: int) -> list[str]:
        """Return the lines in the last `size` bytes of a file, the first of them perhaps cut."""
        try:
            with file.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
                content = stream.read()
        except FileNotFoundError:
            return []
        self.bytes_passed += len(content)
        return content.decode(errors="replace").splitlines()
