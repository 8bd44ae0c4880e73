"""The quota of RunPod's API, as the headers of its answers tell it."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
        self._unanswered = 0
        self._renewed_at = 0.0

    def acquire(self) -> None:
        """Take one call of the window; wait for the next window if none is left."""
        while True:
            with self._lock:
                wait_s = self._renewed_at - time.monotonic()
                if wait_s <= 0 or self._calls_left >= 1:
                    self._calls_left -= 1
                    self._unanswered += 1
                    return
            self._pause(min(wait_s, _LONGEST_PAUSE_S))

    def release(self) -> None:
        """Count a call that ended without an answer as one that is no longer on its way."""
        with self._lock:
            self._unanswered -= 1

    def call_interval_s(self, share: float) -> float:
        """Return the interval, in seconds, at which repeated calls use no more than a share of the calls that are left."""
        with self._lock:
            return max(0.0, self._renewed_at - time.monotonic()) / max(1.0, self._calls_left * share)

    def update(self, headers: Mapping[str, str]) -> float | None:
        """Take the calls that are left from an answer's headers; return the seconds that a 429 asks to wait.

        The field's form is `"minute";r=0;t=12, "hour";r=2800;t=1812`: the calls left, and the seconds until the window is renewed.
        """
        self.release()
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
                # No answer counts the calls that are still on their way: within one window the number only falls, and a new one begins
                # with what those will leave of it.
                same_window = now < self._renewed_at and abs(renewed_at - self._renewed_at) < max(2.0, renewed_s * 0.1)
                self._calls_left = min(self._calls_left, calls_left) if same_window else calls_left - self._unanswered
                self._renewed_at = renewed_at
        return wait_s
