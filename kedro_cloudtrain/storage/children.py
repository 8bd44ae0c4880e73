"""Programs that this process waits for: none of them outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

# Without a lock, which a signal's handler would wait for in the thread that holds it.
_running: dict[int, subprocess.Popen[str]] = {}
# The threads that are starting a program not yet in `_running`, and the signals that reached the main thread meanwhile.
_starting: set[int] = set()
_deferred: list[int] = []
# A program is started in milliseconds.
_STARTED_S = 2.0


class ChildEndedError(Exception):
    """A program was ended before its time, since this process ends."""


def run_child(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], text: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with a text as its input, and return what it has written; it is ended with all that it has started.

    Raises:
        TimeoutExpired: it takes longer; it has been ended.
        ChildEndedError: `end_children` has ended it.
    """
    with _ended_by_signals():
        return _run(command, folder, environment, text, timeout_s)


def _run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], text: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    process = _start(command, folder, environment)
    try:
        output, errors = process.communicate(text, timeout=timeout_s)
    except BaseException:
        _end(process)
        with contextlib.suppress(OSError, ValueError):
            process.communicate()
        raise
    finally:
        was_ended = _running.pop(process.pid, None) is None
    if was_ended:
        raise ChildEndedError(command[0])
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _start(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a program; a signal that comes while nothing knows of it yet is answered once it is known."""
    thread = threading.get_ident()
    _starting.add(thread)
    try:
        # A group of its own: what it starts, such as a build of a package, is ended with it.
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        _running[process.pid] = process
    finally:
        _starting.discard(thread)
        # Handlers run in the main thread.
        while _deferred and threading.current_thread() is threading.main_thread():
            _end_all(_deferred.pop(), None)
    return process


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let what ends this process at once, without a handler of its own, end the programs first.

    Ctrl-C raises, and passes through whatever waits for a program. A run has a handler for each of these signals; a `plan`, or a script
    that uses this package, has none.
    """
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    unhandled = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in unhandled:
        signal.signal(number, _end_all)
    try:
        yield
    finally:
        for number in unhandled:
            signal.signal(number, signal.SIG_DFL)


def _end_all(number: int, _: FrameType | None) -> None:
    """End the programs, and then this process as it would have ended."""
    if threading.get_ident() in _starting:
        _deferred.append(number)
        return
    end_children()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def end_children() -> None:
    """End every program that is still running, as the process itself ends."""
    # One that another thread has asked for is known in a moment.
    deadline = time.monotonic() + _STARTED_S
    while _starting - {threading.get_ident()} and time.monotonic() < deadline:
        time.sleep(0.001)
    for pid in list(_running):
        process = _running.pop(pid, None)
        if process is not None:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
