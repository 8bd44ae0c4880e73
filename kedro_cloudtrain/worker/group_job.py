"""One job of a group: its process, its output, its deadline, and how far it is."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from .protocol import END, PROGRESS, SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import TextIO

    from .warm import WarmJob, WarmProcess

# A client reads as often, or less often.
_LOOK_EVERY_S = 0.1
# Enough for the last two lines of a progress file.
_TAIL_BYTES = 4096
# For what a job has written that was killed; a process that it has left behind keeps its output open.
_LAST_OUTPUT_S = 1.0


class GroupJob:
    """A job of a group, which runs from the moment that this is made.

    Args:
        place: the job's folder.
        run: the name of the machine's run, by which its client ends the job.
        environment: its environment variables.
        warm: forks it; None starts a fresh Python.
        log: takes what it writes, beside the group's own log.

    Attributes:
        has_timed_out: whether it was killed at its deadline.
        was_ended: whether it was killed because its client wanted that.
    """

    def __init__(self, place: Path, run: str, environment: Mapping[str, str], warm: WarmProcess | None, log: TextIO) -> None:
        self.has_timed_out = self.was_ended = False
        self._place, self._run, self._log = place, run, log
        self._process: WarmJob | subprocess.Popen[str] = (warm.start(place, environment) if warm is not None else None) or subprocess.Popen(
            [sys.executable, SCRIPT],
            cwd=place,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._progress_size = 0
        self._over = Event()

    def wait(self, timeout_s: float, report: Callable[[Mapping[str, Any]], None]) -> int:
        """Wait until the job has ended and return its exit status, or minus the signal that has ended it.

        Args:
            timeout_s: its deadline, in seconds from now.
            report: is called with each new progress of it.
        """
        watching = Thread(target=self._watch, args=(monotonic() + timeout_s, report), daemon=True)
        copying = Thread(target=self._copy_output, daemon=True)
        copying.start()
        watching.start()
        returncode = self._process.wait()
        copying.join(_LAST_OUTPUT_S if self.has_timed_out or self.was_ended else None)
        self._over.set()
        watching.join()
        return returncode

    def _copy_output(self) -> None:
        for line in self._process.stdout or ():
            with contextlib.suppress(ValueError):  # The log is closed: the job is over.
                self._log.write(line)
            print(line, end="", flush=True)  # noqa: T201  # the group's log

    def _watch(self, ends_at: float, report: Callable[[Mapping[str, Any]], None]) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            member = self._new_progress()
            if member is not None:
                report(member)
            if monotonic() >= ends_at and not self.has_timed_out:
                self.has_timed_out = True
                self._kill()
            elif not self.was_ended and self._is_unwanted():
                self.was_ended = True
                self._kill()

    def _is_unwanted(self) -> bool:
        """Return whether the client of this run of the machine wants the job to end."""
        with contextlib.suppress(OSError, ValueError):
            return self._run in (self._place / END).read_text(encoding="utf-8")
        return False

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)

    def _new_progress(self) -> Mapping[str, Any] | None:
        """Return the last whole line of the job's progress; None where it is not new."""
        with contextlib.suppress(OSError, ValueError), (self._place / PROGRESS).open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size != self._progress_size:
                self._progress_size = size
                stream.seek(max(0, size - _TAIL_BYTES))
                *whole, _ = stream.read().split(b"\n")
                line = json.loads(whole[-1]) if whole else None
                return line if isinstance(line, dict) else None
        return None
