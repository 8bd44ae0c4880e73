"""The deadline of a job that has lost its client."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading

# The client ends a job at its deadline; a job that has lost its client ends itself a little later.
_OWN_DEADLINE_GRACE_S = 5.0


def watch_deadline() -> None:
    """Let a job that has lost its client end at its deadline all the same."""
    timeout_s = float(os.environ.get("CLOUDTRAIN_TIMEOUT_S") or math.inf)
    if math.isinf(timeout_s) or timeout_s > threading.TIMEOUT_MAX:
        return

    def end() -> None:
        print(f"the deadline of {timeout_s:g} s is over", file=sys.stderr, flush=True)  # noqa: T201
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(124)

    timer = threading.Timer(timeout_s + _OWN_DEADLINE_GRACE_S, end)
    timer.daemon = True
    timer.start()
