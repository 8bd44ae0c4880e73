"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

# Far beyond what anything takes on a busy computer; a test that waits for less fails there without a fault.
_GIVE_UP_S = 120.0


def wait_until(true: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    give_up_at = time.monotonic() + _GIVE_UP_S
    while not true():
        assert time.monotonic() < give_up_at, f"after {_GIVE_UP_S:g} s the condition does not hold yet"
        time.sleep(0.05)
