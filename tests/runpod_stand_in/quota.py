"""The vendor's quota of calls, told in the headers of every answer."""

from __future__ import annotations

import threading
import time


class Quota:
    """So many calls in a window of seconds; None counts and never refuses."""

    def __init__(self, calls: int | None, window_s: float = 60.0) -> None:
        self.calls = calls
        self.window_s = window_s
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._used = 0

    def take(self) -> tuple[bool, dict[str, str]]:
        """Count a call; give whether it is allowed, and the headers that say what is left."""
        if self.calls is None:
            return True, {}
        with self._lock:
            now = time.monotonic()
            if now - self._began >= self.window_s:
                self._began, self._used = now, 0
            self._used += 1
            left_s = max(1, round(self.window_s - (now - self._began) + 0.5))
            headers = {
                "RateLimit": f'"minute";r={max(0, self.calls - self._used)};t={left_s}',
                "RateLimit-Policy": f'"minute";q={self.calls};w={self.window_s:.0f}',
            }
            if self._used <= self.calls:
                return True, headers
            return False, {**headers, "Retry-After": str(left_s)}
