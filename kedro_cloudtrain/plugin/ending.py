"""The end of a run by Ctrl-C, SIGTERM or the SIGHUP of a closed terminal: orderly if it can be, and soon in any case."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.storage.children import end_children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

# From the signal to the end of the process; what is orderly takes a fraction of it.
_WITHIN_S = 4.0
# To end the machines, if the command did not get to that.
_MACHINES_S = 2.0
# To flush the streams, whose reader may be gone.
_FLUSH_S = 0.3
_SHOW_CURSOR = "\x1b[?25h"


class Ending:
    """Ends a run at a signal.

    The first signal raises in the main thread, so that every `finally` runs: pods are ended, and the last lines are printed. A command
    that has not ended some seconds later, or that gets a second signal, ends at once, whatever hangs, even if the main thread has lost the
    exception, as Python loses one raised in a `__del__`. A process that is not one of our commands, such as a notebook's, is never ended
    this way, nor is one that goes on after the command, such as a service that has called it.

    Attributes:
        last_lines: returns the lines to print if the command did not get to print them.
        end_machines: ends what costs money, unless that has begun.
    """

    def __init__(self) -> None:
        self.last_lines: Callable[[], Sequence[str]] = tuple
        self.end_machines: Callable[[], object] = tuple
        self._number = 0

    @property
    def has_begun(self) -> bool:
        """Whether a signal has come."""
        return self._number != 0

    @contextlib.contextmanager
    def by_signals(self) -> Iterator[None]:
        """Let signals end the block."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        # A run under nohup ignores SIGHUP, and goes on doing so; one in the background ignores Ctrl-C.
        numbers = [number for number, handler in previous.items() if handler is not signal.SIG_IGN]
        command = click.get_current_context(silent=True) is not None
        # A program with its own handler for Ctrl-C wants to go on after it.
        ours = [each for each in numbers if each != signal.SIGINT or (command and previous[each] is signal.default_int_handler)]
        try:
            for number in ours:
                signal.signal(number, self._raise)
            with self._watched(ours) if command else contextlib.nullcontext():
                yield
        finally:
            for number in ours:
                signal.signal(number, previous[number])

    def _raise(self, number: int, _: FrameType | None) -> None:
        if self._number:
            return  # The watching thread ends the process.
        self._number = number
        end_children()  # A thread that waits for one goes on at once.
        raise SystemExit(128 + number)

    @contextlib.contextmanager
    def _watched(self, numbers: Sequence[int]) -> Iterator[None]:
        """Watch for signals in a thread of its own: the main one may be within a call that no signal interrupts."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reader, frozenset(numbers)), name="cloudtrain-signals", daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            os.close(writer)

    def _watch(self, reader: int, numbers: frozenset[int]) -> None:
        number, ends_at = 0, math.inf
        while (left_s := ends_at - time.monotonic()) > 0:
            # Other signals, such as the ticks of a timer, are not a reason to wait longer.
            if not select.select([reader], [], [], left_s if number else None)[0]:
                continue
            content = os.read(reader, 64)
            if not content:
                os.close(reader)
                if number:
                    time.sleep(max(0.0, ends_at - time.monotonic()))
                    if _is_interpreter_ending():
                        break
                return
            signals = [each for each in content if each in numbers]
            if signals and (number or len(signals) > 1):
                number = number or signals[0]
                break
            if signals:
                number, ends_at = signals[0], time.monotonic() + _WITHIN_S
        self._leave(number)

    def _leave(self, number: int) -> None:
        """End the process now, with the programs that it waits for."""
        end_children()
        ending = threading.Thread(target=self.end_machines, name="cloudtrain-ending", daemon=True)
        ending.start()
        ending.join(_MACHINES_S)
        lines = []
        with contextlib.suppress(Exception):
            lines = list(self.last_lines())
        flushing = threading.Thread(target=_flush, args=(lines,), daemon=True)
        flushing.start()
        flushing.join(_FLUSH_S)
        os._exit(128 + number)


def _is_interpreter_ending() -> bool:
    """Return whether the program is over, and Python waits for threads, which may hang; a service that has called a command goes on."""
    # Python has no public name for it: `sys.is_finalizing` is false until no thread is left.
    return bool(getattr(threading, "_SHUTTING_DOWN", False)) or not threading.main_thread().is_alive()


def _flush(lines: Sequence[str]) -> None:
    # Not by the log, whose lock the main thread may hold.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr.isatty():
            sys.stderr.write(_SHOW_CURSOR)
        sys.stderr.writelines(f"{line}\n" for line in lines)
        sys.stderr.flush()
