"""The clock by which money is spent: it goes on while this computer is asleep, as the pods do."""

from __future__ import annotations

import time

# Linux's monotonic clock stands still in a suspend, its boot-time clock does not (clock_gettime(2)); macOS's CLOCK_MONOTONIC goes on,
# while Python's time.monotonic reads another one there, which stands still.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_s() -> float:
    """Return the seconds since an arbitrary moment, those in which this computer was asleep included."""
    return time.clock_gettime(_CLOCK)
