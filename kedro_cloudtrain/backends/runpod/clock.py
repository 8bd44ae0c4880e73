"""The clock by which pods are paid for, which goes on while this computer sleeps; and how far its wall clock is ahead of the API's."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

# Linux's monotonic clock stands still in a suspend, its boot-time clock does not (clock_gettime(2)); macOS's CLOCK_MONOTONIC goes on,
# while Python's time.monotonic reads another one there, which stands still.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_s() -> float:
    """Return the seconds since an arbitrary moment, those in which this computer was asleep included."""
    return time.clock_gettime(_CLOCK)


def clock_ahead_s(date: str | None) -> float | None:
    """Return how far this computer's clock is ahead of the one that has written a Date header, in seconds; None where it is not a date."""
    try:
        return time.time() - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
