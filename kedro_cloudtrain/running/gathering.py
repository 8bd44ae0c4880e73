"""Gathers the jobs of a group that are ready at the same time."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kedro_cloudtrain.running.group_watcher import Member
    from kedro_cloudtrain.running.slots import Slots

# Kedro submits what is ready in a loop, and a job is prepared in milliseconds: after this long without another one, none is coming.
_TOGETHER_S = 0.3


class _ThreadState(threading.local):
    """What a node's own thread knows: whether the node is still counted among those that are expected."""

    expected = False


class Gathering:
    """Gathers the jobs of a group that are ready at the same time.

    A node announces itself before its job is prepared, and its job joins later, or never does. Once every announced node has joined or
    dropped out, the jobs that have joined are a batch.

    Args:
        slots: the run's; while one of the group's jobs waits for another client, they tell when the run is over.
        on_settled: called when no announced node is left whose job may still join.
    """

    def __init__(self, slots: Slots, on_settled: Callable[[], None] | None = None) -> None:
        self._slots = slots
        self._on_settled = on_settled
        self._changed = threading.Condition()
        self._expected = 0
        self._changed_at = 0.0
        self._joined: list[Member] = []
        self._batching = False
        self._thread = _ThreadState()

    def announce(self) -> None:
        """Count one more node whose job may join."""
        self._expect(1)

    def run_announced(self, task: Callable[[], Any]) -> Any:
        """Run an announced node's task in its own thread; a node that ends without having joined drops out."""
        self._thread.expected = True
        try:
            return task()
        finally:
            self.leave()

    def check_open(self, job: str) -> None:
        """Called repeatedly while another client holds the job; the group does not wait for it, since that client may wait for the group.

        Raises:
            NotStartedError: the run is over.
        """
        self._slots.check_open(job)
        self.leave()

    @contextlib.contextmanager
    def hold(self, job: str, *, detached: bool = False) -> Iterator[None]:
        """Let the job pass at once: the machine waits for a slot, for all of its jobs together."""
        del job, detached
        if not self._thread.expected:
            self._thread.expected = True
            self._expect(1)
        yield

    def join(self, member: Member) -> bool:
        """Add a job to the next batch; return whether the caller has to start a thread that takes the batch."""
        self._thread.expected = False
        with self._changed:
            self._joined.append(member)
            first, self._batching = not self._batching, True
        self._expect(-1)
        return first

    def batch(self) -> list[Member]:
        """Wait until every announced node has joined or dropped out, and take those that have joined."""
        with self._changed:
            while True:
                quiet_s = time.monotonic() - self._changed_at
                if self._expected <= 0 and quiet_s >= _TOGETHER_S:
                    batch, self._joined, self._batching = self._joined, [], False
                    return batch
                self._changed.wait(_TOGETHER_S - quiet_s if self._expected <= 0 else None)

    @property
    def is_settled(self) -> bool:
        """Whether no announced node is left whose job may still join."""
        return self._expected <= 0

    def leave(self) -> None:
        """Let the others not wait for the job of this thread's node, which does not join them."""
        if self._thread.expected:
            self._thread.expected = False
            self._expect(-1)

    def _expect(self, more: int) -> None:
        with self._changed:
            self._expected += more
            self._changed_at = time.monotonic()
            self._changed.notify_all()
            is_settled = self._expected <= 0
        if is_settled and self._on_settled is not None:
            self._on_settled()
