"""How many jobs are at work at once, and that none is begun once one of them has failed."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import NotStartedError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Slots:
    """As many turns at once as a run may have machines.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)
        self._closed = threading.Event()

    @contextlib.contextmanager
    def one(self, job: str) -> Iterator[None]:
        """Wait for a turn, and have it; whoever fails in it takes the last one: the run fails with it.

        Raises:
            NotStartedError: the run was over before it came.
        """
        with self._free:
            if self._closed.is_set():
                raise NotStartedError(f"{job} was not started: the run is over.")
            try:
                yield
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Give nobody a turn any more; who has one keeps it."""
        self._closed.set()
