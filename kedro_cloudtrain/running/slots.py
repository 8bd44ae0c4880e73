"""How many jobs are at work at once, and that none is begun once one of them has failed."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Protocol

from kedro_cloudtrain.errors import NotStartedError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Between a job's end and the word of what became of it: reading its outputs, explaining its error.
_EXPLAINED_S = 5.0


class Turns(Protocol):
    """What a job waits for before it is begun."""

    def waiting(self, job: str) -> None:
        """Hear, over and over, that a job waits until another client is through with it.

        Raises:
            NotStartedError: the run is over.
        """
        ...

    def one(self, job: str, *, leaves: bool = False) -> contextlib.AbstractContextManager[None]:
        """Wait for a turn, and have it."""
        ...


class Slots:
    """As many turns at once as a run may have machines.

    Args:
        count: how many.

    Attributes:
        postponed: the jobs that were to be left at work, and had no turn.
    """

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)
        self._closed = threading.Event()
        self._explained = threading.Event()
        self._failure: Exception | None = None
        self.postponed: list[str] = []

    def waiting(self, job: str) -> None:
        """Hear, over and over, that a job waits until another client is through with it.

        Raises:
            NotStartedError: the run is over.
        """
        if self._closed.is_set():
            raise NotStartedError(f"{job} was not started: the run is over.")

    @contextlib.contextmanager
    def one(self, job: str, *, leaves: bool = False) -> Iterator[None]:
        """Wait for a turn, and have it; whoever fails in it takes the last one: the run fails with it.

        Args:
            job: whose turn it is.
            leaves: whether the job is left at work, with its turn; it waits for none then.

        Raises:
            NotStartedError: the run was over before it came; or nobody waits, and there is none.
        """
        if not self._free.acquire(blocking=not leaves):
            self.postponed.append(job)
            raise NotStartedError(f"{job} was not started: as many as may be are at work.")
        left = False
        try:
            self.waiting(job)
            yield
            left = leaves
        except BaseException:
            self._closed.set()
            raise
        finally:
            if not left:
                self._free.release()

    def fail(self, error: Exception) -> None:
        """Give nobody a turn any more, because of an error; the first one is the run's."""
        self._closed.set()
        self._failure = self._failure or error
        self._explained.set()

    def close(self) -> None:
        """Give nobody a turn any more; who has one keeps it."""
        self._closed.set()
        self._explained.set()

    def failure(self) -> Exception | None:
        """Give the error by which the run has failed; None where it was ended from here."""
        if self._closed.is_set():
            self._explained.wait(_EXPLAINED_S)
        return self._failure
