"""The vendor's quota of calls, for each key by itself, as the headers of every answer tell it."""

from __future__ import annotations

import math
import threading
import time


class Quota:
    """A number of calls per window of seconds; None sets no limit."""

    def __init__(self, calls: int | None, window_s: float = 60.0) -> None:
        self.calls = calls
        self.window_s = window_s
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, key: str) -> tuple[bool, dict[str, str]]:
        """Count a call; return whether it is allowed, and the headers that tell what is left."""
        if self.calls is None:
            return True, {}
        with self._lock:
            now = time.monotonic()
            began, used = self._windows.get(key, (now, 0))
            if now - began >= self.window_s:
                began, used = now, 0
            used += 1
            self._windows[key] = began, used
            left_s = max(1, math.ceil(self.window_s - (now - began)))
            headers = {
                "RateLimit": f'"minute";r={max(0, self.calls - used)};t={left_s}',
                "RateLimit-Policy": f'"minute";q={self.calls};w={self.window_s:.0f}',
            }
            if used <= self.calls:
                return True, headers
            return False, {**headers, "Retry-After": str(left_s)}
