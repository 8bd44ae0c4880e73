"""Servers that do not answer: one log line for all threads, and a limit on the wait."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("kedro.cloudtrain")

DEFAULT_LIMIT_S = 600.0
_FIRST_LINE_S = 30.0
_NEXT_LINE_S = 60.0
_LOOK_EVERY_S = 1.0


@dataclasses.dataclass(eq=False)
class Wait:
    """A thread's wait for one answer, however often it asks.

    Attributes:
        what: what is waited for, as a line of the log has it.
        moved_at: when it began, or when bytes have last passed.
    """

    what: str
    moved_at: float = dataclasses.field(default_factory=time.monotonic)


class Silence:
    """How long one server has been silent, to all threads of this process together.

    A thread may hang where no timeout reaches, in a look-up of a name for example: another one watches, and logs a line after half a minute
    and then one each minute.

    Args:
        who: the server, as a line of the log begins with it.
        limit_s: how long a silence is tolerated, in seconds.

    Attributes:
        who: the server.
        limit_s: how long a silence is tolerated.
    """

    _of: dict[str, Silence] = {}  # noqa: RUF012  # the process has one of each server
    _of_lock = threading.Lock()

    def __init__(self, who: str, limit_s: float = DEFAULT_LIMIT_S) -> None:
        self.who = who
        self.limit_s = limit_s
        self._lock = threading.Condition()
        self._waits: list[Wait] = []
        self._since: float | None = None
        self._next_line_at = 0.0
        self._logged = False
        self._watched = False
        self._local = threading.local()

    @classmethod
    def of(cls, who: str) -> Silence:
        """Return the silence of a server: one for all clients of it in this process."""
        with cls._of_lock:
            return cls._of.setdefault(who, cls(who))

    @property
    def line(self) -> str:
        """Return what hangs, as one line; empty if nothing does."""
        with self._lock:
            oldest = min(self._waits, key=lambda wait: wait.moved_at, default=None)
            return "" if oldest is None else f"{self.who} does not answer: {oldest.what} was abandoned."

    def begin(self, limit_s: float) -> None:
        """Start over with a new limit: another run may find the server answering."""
        with self._lock:
            self.limit_s, self._since = limit_s, None

    @contextlib.contextmanager
    def wait(self, what: str) -> Iterator[Wait]:
        """Count the block as a wait of this thread."""
        wait = Wait(what)
        outer = getattr(self._local, "wait", None)
        with self._lock:
            self._waits.append(wait)
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, name="cloudtrain-silence", daemon=True).start()
            self._lock.notify_all()
        self._local.wait = wait
        try:
            yield wait
        finally:
            self._local.wait = outer
            with self._lock:
                self._waits.remove(wait)

    def moved(self) -> None:
        """Note that bytes have passed for this thread's wait."""
        wait: Wait | None = getattr(self._local, "wait", None)
        with self._lock:
            self._since = None
            if wait is not None:
                wait.moved_at = time.monotonic()

    def failed(self) -> None:
        """Note that a try has had no answer."""
        with self._lock:
            self._since = self._since if self._since is not None else time.monotonic()

    def answered(self) -> None:
        """Note an answer, whatever it says."""
        with self._lock:
            self._since = None
            logged, self._logged = self._logged, False
        if logged:
            logger.info("%s answers again.", self.who, extra={"markup": False})

    def is_over(self, wait: Wait | None = None) -> bool:
        """Return whether the server, to any thread or to this wait, has been silent for longer than the limit."""
        now = time.monotonic()
        with self._lock:
            since = [moment for moment in (self._since, wait.moved_at if wait is not None else None) if moment is not None]
        return any(now - moment > self.limit_s for moment in since)

    def _watch(self) -> None:
        while True:
            with self._lock:
                while not self._waits:
                    self._lock.wait()
                line = self._line(time.monotonic())
            if line:
                logger.warning("%s", line, extra={"markup": False})
            time.sleep(_LOOK_EVERY_S)

    def _line(self, now: float) -> str:
        """Return the line that is due; empty if none is."""
        oldest = min(self._waits, key=lambda wait: wait.moved_at)
        silent_s = now - min(oldest.moved_at, self._since if self._since is not None else now)
        if silent_s < _FIRST_LINE_S:
            self._next_line_at = 0.0
            return ""
        if now < self._next_line_at:
            return ""
        self._next_line_at, self._logged = now + _NEXT_LINE_S, True
        more = f" (and {len(self._waits) - 1} more)" if len(self._waits) > 1 else ""
        until = time.strftime("%H:%M:%S", time.localtime(time.time() + max(0.0, self.limit_s - silent_s)))
        return f"{self.who} has not answered for {silent_s:.0f} s: waiting for {oldest.what}{more}, until {until} at most."


def silent_servers() -> list[str]:
    """Return a line for each server that something is waiting for now."""
    return [line for silence in list(Silence._of.values()) if (line := silence.line)]  # noqa: SLF001  # of this module
