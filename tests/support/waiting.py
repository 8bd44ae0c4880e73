"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition holds; `seconds` is when to give up, far beyond what it takes on a busy computer."""
    give_up_at = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up_at, f"after {seconds:g} s the condition does not hold yet"
        time.sleep(0.05)
