"""The quota of RunPod's API, as the headers of its answers tell it."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LONGEST_PAUSE_S = 30.0


class Quota:
    """The calls that the `RateLimit` headers leave: a call waits while its window has none left.

    Args:
        pause: waits for a number of seconds.
    """

    def __init__(self, pause: Callable[[float], None]) -> None:
        self._pause = pause
        self._lock = threading.Lock()
        self._calls_left: float = float("inf")
        self._in_flight = 0
        self._renewed_at = 0.0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Take one call of the window, and count it as in flight until it is over; wait for the next window if none is left."""
        self._acquire()
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def _acquire(self) -> None:
        while True:
            with self._lock:
                wait_s = self._renewed_at - time.monotonic()
                if wait_s <= 0 or self._calls_left >= 1:
                    self._calls_left -= 1
                    self._in_flight += 1
                    return
            self._pause(min(wait_s, _LONGEST_PAUSE_S))

    def call_interval_s(self, share: float) -> float:
        """Return the interval, in seconds, at which repeated calls use no more than a share of the calls that are left."""
        with self._lock:
            return max(0.0, self._renewed_at - time.monotonic()) / max(1.0, self._calls_left * share)

    def update(self, headers: Mapping[str, str]) -> float | None:
        """Take the calls that are left from an answer's headers; return the seconds that a 429 asks to wait.

        The field's form is `"minute";r=0;t=12, "hour";r=2800;t=1812`: the calls left, and the seconds until the window is renewed.
        """
        windows = [(int(left), float(renewed_s)) for left, renewed_s in re.findall(r"r=(\d+);\s*t=(\d+)", headers.get("RateLimit", ""))]
        retry_after = headers.get("Retry-After", "")
        wait_s = float(retry_after) if retry_after.isdigit() else None
        if wait_s is not None:
            windows.append((0, wait_s))
        if windows:
            calls_left, renewed_s = min(windows)
            now = time.monotonic()
            with self._lock:
                renewed_at = now + renewed_s
                # An answer does not count all calls that are in flight: within one window the number only falls, and from a new one
                # they are subtracted, though some of them may be counted already.
                same_window = now < self._renewed_at and abs(renewed_at - self._renewed_at) < max(2.0, renewed_s * 0.1)
                self._calls_left = min(self._calls_left, calls_left) if same_window else calls_left - self._in_flight
                self._renewed_at = renewed_at
        return wait_s
