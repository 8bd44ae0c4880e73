"""Threads that keep no process alive: one that hangs is left behind."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_Item = tuple["Future[Any]", "Callable[..., Any]", tuple[Any, ...], dict[str, Any]]


class DaemonExecutor(Executor):
    """A `ThreadPoolExecutor` of daemon threads: that one's threads are joined at the process's end, however long they hang.

    Args:
        threads: how many tasks run at once.
        name: how the threads' names begin.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._count = threads
        self._name = name
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._over = False

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a task in a thread.

        Raises:
            RuntimeError: the executor has been shut down.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._over:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._queue.put((future, task, args, kwargs))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._count:
                thread = threading.Thread(target=self._work, name=f"{self._name}_{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and wait for those that run."""
        self.close(None if wait else 0.0, cancel_futures=cancel_futures)

    def close(self, wait_s: float | None, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and wait for those that run.

        Args:
            wait_s: for how many seconds; a thread that is not done then is left behind. None waits for all.
            cancel_futures: whether tasks that have not begun are cancelled.
        """
        with self._lock:
            self._over = True
            while cancel_futures:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is not None:
                    item[0].cancel()
            for _ in self._threads:
                self._queue.put(None)
        ends_at = None if wait_s is None else time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(None if ends_at is None else max(0.0, ends_at - time.monotonic()))

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            future, task, args, kwargs = item
            if future.set_running_or_notify_cancel():
                try:
                    result = task(*args, **kwargs)
                except BaseException as error:  # noqa: BLE001  # the thread that waits for the task gets it
                    future.set_exception(error)
                else:
                    future.set_result(result)
            # Or the thread keeps the last task's result alive while it waits.
            del item, future, task, args, kwargs
            result = None
            self._idle.release()
