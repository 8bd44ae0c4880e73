"""What a pod writes of itself and of the processes that it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from threading import Event, Timer
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import unquote

from . import job_folder

if TYPE_CHECKING:
    from collections.abc import Sequence


# What is shorter stands in ordinary words, too.
_SHORTEST = 6


class Log:
    """`log.txt` on the volume, and the pod's own log beside it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        # Those of package indexes: an installer repeats an address with all that it has.
        given = [value for name, value in os.environ.items() if name.startswith("CLOUDTRAIN_INDEX_")]
        pieces = {piece for value in given for piece in (value, *value.split("&"))}
        parts = {part for piece in pieces for part in (piece, piece.partition("=")[2], piece.rpartition(":")[2])}
        parts |= {unquote(part) for part in parts}
        self._secrets = sorted((part for part in parts if len(part) >= _SHORTEST), key=len, reverse=True)

    def hidden(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def write(self, line: str) -> None:
        """Write a line of the job."""
        line = self.hidden(line)
        print(line, end="", flush=True)  # noqa: T201  # a pod's log is its stdout
        # A full volume must not stop the job: the pod's own log still has the line.
        with contextlib.suppress(OSError, ValueError):
            self._file.write(line)

    def note(self, line: str) -> None:
        """Write a line of this program."""
        self.write(f"cloudtrain: {line}\n")


def print_line(line: str) -> None:
    """Write a line to the pod's own log alone."""
    print(f"cloudtrain: {line}", flush=True)  # noqa: T201  # a pod's log is its stdout


def run_logged(command: Sequence[str], log: Log, variables: dict[str, str], timeout_s: float | None = None) -> int | None:
    """Run a command in a process group of its own, with its output in the log, and return its exit code; None if its time was over."""
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=job_folder.FOLDER, env=variables, text=True, errors="replace", start_new_session=True, **pipes)
    job_folder.CHILD.write_text(str(process.pid))
    timed_out = Event()

    def end() -> None:
        timed_out.set()
        _kill_group(process.pid)

    timer = Timer(timeout_s or 0.0, end)
    timer.daemon = True
    if timeout_s is not None:
        timer.start()
    try:
        for line in process.stdout or ():
            log.write(line)
        returncode = process.wait()
    finally:
        timer.cancel()
        _kill_group(process.pid)
    return None if timed_out.is_set() else returncode


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def kill_job() -> None:
    """Kill the job's processes, with everything that they have started."""
    with contextlib.suppress(OSError, ValueError):
        for pid in job_folder.CHILD.read_text().split():
            _kill_group(int(pid))
