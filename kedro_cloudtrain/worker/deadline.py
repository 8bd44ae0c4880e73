"""A job's own deadline, for when its client is gone."""

from __future__ import annotations

import math
import os
import signal
import sys
from threading import TIMEOUT_MAX, Timer

from .protocol import TIMEOUT_VARIABLE

# The client ends a job at its deadline; a job whose client is gone ends itself a little later.
_OWN_DEADLINE_GRACE_S = 5.0


def watch_deadline() -> None:
    """End this process at the job's deadline, in case its client is gone."""
    timeout_s = float(os.environ.get(TIMEOUT_VARIABLE) or math.inf)
    if math.isinf(timeout_s) or timeout_s > TIMEOUT_MAX:
        return

    def end() -> None:
        print(f"the deadline of {timeout_s:g} s has passed", file=sys.stderr, flush=True)  # noqa: T201
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(124)

    timer = Timer(timeout_s + _OWN_DEADLINE_GRACE_S, end)
    timer.daemon = True
    timer.start()
