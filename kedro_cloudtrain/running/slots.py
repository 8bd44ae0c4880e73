"""The right to have a machine now: as many jobs at once as a run may have, and none any more once one of them has failed."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Protocol

from kedro_cloudtrain.errors import NotStartedError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Between a job's end and the error that explains it: its outputs are read, its log is looked through.
_EXPLAINED_S = 5.0


class SlotSource(Protocol):
    """What a job gets its slot from."""

    def check_open(self, job: str) -> None:
        """Called repeatedly while another client holds the job; raises once the run is over.

        Raises:
            NotStartedError: the run is over.
        """
        ...

    def hold(self, job: str, *, detached: bool = False) -> contextlib.AbstractContextManager[None]:
        """Wait for a slot and hold it for the block."""
        ...


class Slots:
    """As many slots as a run may have machines at once.

    Args:
        count: how many.

    Attributes:
        count: how many.
        postponed: the jobs that were to be left running, and found no slot.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.postponed: list[str] = []
        self._free = threading.Semaphore(count)
        self._closed = threading.Event()
        self._explained = threading.Event()
        self._failure: Exception | None = None

    def check_open(self, job: str) -> None:
        """Called repeatedly while another client holds the job; raises once the run is over.

        Raises:
            NotStartedError: the run is over.
        """
        if self._closed.is_set():
            raise NotStartedError(f"{job} was not started: the run is over.")

    @contextlib.contextmanager
    def hold(self, job: str, *, detached: bool = False) -> Iterator[None]:
        """Hold a slot for the block. An error inside it closes all slots: the run has failed.

        Args:
            job: the job's name.
            detached: whether the job is left running, and keeps its slot; it does not wait for one.

        Raises:
            NotStartedError: the run was over before a slot was free; or the job was to be left running, and none is free.
        """
        if not self._free.acquire(blocking=not detached):
            self.postponed.append(job)
            raise NotStartedError(f"{job} was not started: {self.count} jobs are running, as many as run.max_pods allows.")
        kept = False
        try:
            self.check_open(job)
            yield
            kept = detached
        except BaseException:
            self._closed.set()
            raise
        finally:
            if not kept:
                self._free.release()

    def fail(self, error: Exception) -> None:
        """Hand out no more slots, because of an error; the first one is the run's."""
        self._closed.set()
        self._failure = self._failure or error
        self._explained.set()

    def close(self) -> None:
        """Hand out no more slots; jobs that hold one keep it."""
        self._closed.set()
        self._explained.set()

    def failure(self) -> Exception | None:
        """Return the error by which the run has failed; None where the client ended it."""
        if self._closed.is_set():
            self._explained.wait(_EXPLAINED_S)
        return self._failure
