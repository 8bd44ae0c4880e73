"""The clock by which money is spent goes on while this computer is asleep."""

from __future__ import annotations

import sys
import time

from support.waiting import wait_until

from kedro_cloudtrain.backends.runpod.clock import now_s


def test_the_clock_is_the_one_that_counts_a_suspend() -> None:
    # Linux's CLOCK_BOOTTIME (clock_gettime(2)); macOS has no such clock, and its CLOCK_MONOTONIC goes on.
    clock = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC
    assert abs(now_s() - time.clock_gettime(clock)) < 1
    before = now_s()
    wait_until(lambda: now_s() > before)
