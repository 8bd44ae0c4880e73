"""The job folder: the names of a job's files, each written beside and renamed, so that what is there is whole."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kedro_cloudtrain.errors import JobLostError
from kedro_cloudtrain.jobs.result import JobProgress, JobResult, JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOBS = ".cloudtrain/jobs"
INPUTS = ".cloudtrain/inputs"
# Enough for the last two lines of progress.jsonl, whose metrics are a handful of numbers.
_PROGRESS_TAIL_BYTES = 512
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
        self._progress_size = 0

    def __repr__(self) -> str:
        return f"JobFolder({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The job's name."""
        return self.path.name

    @property
    def script(self) -> Path:
        """`train.py`: rendered, readable, complete."""
        return self.path / "train.py"

    @property
    def spec(self) -> Path:
        """`job.json`: the whole spec."""
        return self.path / "job.json"

    @property
    def archive(self) -> Path:
        """`worker.zip`: what the script imports."""
        return self.path / "worker.zip"

    @property
    def machine(self) -> Path:
        """`machine.json`: what runs the job."""
        return self.path / "machine.json"

    @property
    def log(self) -> Path:
        """`log.txt`: stdout and stderr, line by line."""
        return self.path / "log.txt"

    @property
    def progress(self) -> Path:
        """`progress.jsonl`: a line an iteration."""
        return self.path / "progress.jsonl"

    @property
    def outputs(self) -> Path:
        """`outputs/`: what the script leaves."""
        return self.path / "outputs"

    @property
    def result(self) -> Path:
        """`result.json`: its presence means done."""
        return self.path / "result.json"

    @property
    def fingerprint(self) -> Path:
        """`fingerprint.json`: what the job's name stands for."""
        return self.path / "fingerprint.json"

    @property
    def why(self) -> Path:
        """`why.json`: whether it ran or was reused the last time, and why."""
        return self.path / "why.json"

    @property
    def code(self) -> Path:
        """`code.zip`: the project's own code, where the script imports it."""
        return self.path / "code.zip"

    @property
    def members(self) -> Path:
        """`members.zip`: the folders of a group's jobs, where its machine is elsewhere."""
        return self.path / "members.zip"

    @property
    def needed(self) -> list[Path]:
        """The files that the machine needs, beside `machine.json` and what is sent along."""
        return [file for file in (self.spec, self.script, self.archive, self.code, self.members) if file.is_file()]

    def input(self, name: str) -> Path:
        """Give the place of an input that exists nowhere but here: beside the jobs of a volume, which may share it."""
        shared = self.path.parent.name == PurePosixPath(JOBS).name
        return (self.path.parents[1] if shared else self.path) / "inputs" / name

    @property
    def sent(self) -> list[Path]:
        """The inputs that exist nowhere but here, those that `job.json` names."""
        return [self.input(name) for name in (self.read_json(self.spec) or {}).get("sent", ())]

    @contextlib.contextmanager
    def held(self, waiting: Callable[[], None] | None = None, poll_s: float = 0.1) -> Iterator[None]:
        """Hold the job while it runs from here; another client of the same job waits until this one is through.

        The lock is the kernel's (flock), so a killed client holds nothing; a child process that is given `lock_fd` holds it on.

        Args:
            waiting: is called over and over while another one has it.
            poll_s: between two looks, in seconds.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as handle:
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
            try:
                yield
            finally:
                self.lock_fd = None

    @property
    def touched_at(self) -> float:
        """When the job was last asked for, in seconds since 1970: run, or taken as it was."""
        return max(file.stat().st_mtime for file in (self.spec, self.why) if file.is_file())

    def is_running(self) -> bool:
        """Tell whether some client holds the job."""
        try:
            with (self.path / "lock").open("r") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def state(self) -> JobState:
        """Say where the job stands, by its files alone."""
        if self.is_running():
            return JobState.RUNNING
        result = self.read_result()
        if result is not None:
            return JobState(result.state)
        return JobState.LOST if self.machine.is_file() else JobState.WAITING

    @property
    def saved(self) -> Path:
        """`saved.json`: by what the outputs that the machine has saved on a network volume are known to be the same."""
        return self.path / "saved.json"

    def clear(self) -> None:
        """Take away what an earlier attempt left, the result first, so that no half of it is taken for this one's.

        Its checkpoint stays: the work itself knows whether it is its own.
        """
        self.result.unlink(missing_ok=True)
        for file in (self.log, self.progress, self.machine, self.saved):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.outputs, ignore_errors=True)

    def write(self, file: Path, content: bytes, *, counted: bool = True) -> None:
        """Write a file whole or not at all.

        Args:
            file: where.
            content: what.
            counted: whether it is of the job itself; what is of this package is counted only where it is sent.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self.bytes_passed += len(content) if counted else 0

    def write_json(self, file: Path, value: Any) -> None:
        """Write JSON that a person can read."""
        self.write(file, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")

    def read_json(self, file: Path) -> Any:
        """Read JSON, or give None where the file is not there."""
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            return None
        self.bytes_passed += len(content)
        return json.loads(content)

    def read_result(self) -> JobResult | None:
        """Give the job's result, or None while there is none.

        Raises:
            JobLostError: `result.json` is there and is no result.
        """
        try:
            value = self.read_json(self.result)
            return None if value is None else JobResult.model_validate(value)
        except (ValidationError, ValueError) as error:
            raise JobLostError(f"{self.result} is not a result: {error}") from error

    def new_progress(self) -> JobProgress | None:
        """Give the last whole line of the progress file, where there is more of it than the last time."""
        try:
            size = self.progress.stat().st_size
        except FileNotFoundError:
            return None
        if size == self._progress_size:
            return None
        self._progress_size = size
        return self.last_progress()

    def last_progress(self) -> JobProgress | None:
        """Give the last whole line of the progress file, however long the file is."""
        for line in reversed(self._tail(self.progress, _PROGRESS_TAIL_BYTES)):
            try:
                return JobProgress.model_validate_json(line)
            except ValidationError:
                continue  # A line that is still being written, or the cut first one.
        return None

    def log_tail(self, lines: int = 20) -> list[str]:
        """Give the last lines of the log."""
        return self._tail(self.log, _LOG_TAIL_BYTES)[-lines:]

    def _tail(self, file: Path, size: int) -> list[str]:
        try:
            with file.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
                content = stream.read()
        except FileNotFoundError:
            return []
        self.bytes_passed += len(content)
        return content.decode(errors="replace").splitlines()
