"""The slots of a run: one for each machine that it may have at once, and none is handed out after a job has failed."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Protocol

from kedro_cloudtrain.errors import NotStartedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How long `failure` waits for the error: the failed job's outputs and log are still being read.
_EXPLAINED_S = 5.0


class SlotUnneededError(NotStartedError):
    """A job that waited for a slot needs none any more."""


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
        self._changed = threading.Condition()
        self._free = count
        # The `unless` of each waiting job: see `hold`.
        self._waiting: list[Callable[[], bool] | None] = []
        self._makes_room: list[Callable[[], None]] = []
        self._closed = threading.Event()
        self._explained = threading.Event()
        self._failure: Exception | None = None

    @property
    def are_wanted(self) -> bool:
        """Whether any waiting job still wants a slot; one that no longer does may not have woken up to notice."""
        with self._changed:
            return any(unless is None or not unless() for unless in self._waiting)

    def on_wait(self, make_room: Callable[[], None]) -> None:
        """Let a function be called when a job has to wait for a slot: a machine that is kept without a job gives its slot back."""
        self._makes_room.append(make_room)

    def look_again(self) -> None:
        """Wake the waiting jobs, which check whether they still want a slot."""
        with self._changed:
            self._changed.notify_all()

    def check_open(self, job: str) -> None:
        """Called repeatedly while another client holds the job; raises once the run is over.

        Raises:
            NotStartedError: the run is over.
        """
        if self._closed.is_set():
            raise NotStartedError(f"{job} was not started: the run is over.")

    @contextlib.contextmanager
    def hold(self, job: str, *, detached: bool = False, unless: Callable[[], bool] | None = None) -> Iterator[None]:
        """Hold a slot for the block. An error inside it closes all slots: the run has failed.

        Args:
            job: the job's name.
            detached: whether the job is left running, and keeps its slot; it does not wait for one.
            unless: returns whether no slot is wanted any more; it is asked again after `look_again`.

        Raises:
            SlotUnneededError: none is wanted any more.
            NotStartedError: the run was over before a slot was free; or the job was to be left running, and none is free.
        """
        if not self._acquire(wait=not detached, unless=unless):
            if not detached:
                raise SlotUnneededError(f"{job} needs no machine of its own.")
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
                self._release()

    def _acquire(self, *, wait: bool, unless: Callable[[], bool] | None) -> bool:
        with self._changed:
            if self._free or not wait:
                taken = self._free > 0
                self._free -= taken
                return taken
            self._waiting.append(unless)
        try:
            for make_room in self._makes_room:
                make_room()
            with self._changed:
                while not self._free:
                    if unless is not None and unless():
                        return False
                    self._changed.wait()
                self._free -= 1
                return True
        finally:
            with self._changed:
                self._waiting.remove(unless)

    def _release(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()

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
