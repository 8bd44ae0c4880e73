"""Waiting for what another thread or process does."""

from __future__ import annotations

import time


def wait_until(true: object, seconds: float = 10.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
