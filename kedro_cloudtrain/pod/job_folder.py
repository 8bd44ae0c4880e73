"""The job folder as the pod's first program sees it: what the client has asked for, and the result where the script leaves none."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from time import sleep, time
from typing import Any

# <volume>/.cloudtrain/jobs/<job>/pod.zip/cloudtrain_pod/job_folder.py
FOLDER = Path(__file__).resolve().parents[2]
VOLUME = FOLDER.parent.parent.parent
# The id of the job's process, on the pod's own disk: the watchdog, a process of its own, reads it.
CHILD = Path(f"/tmp/cloudtrain-{os.environ.get('RUNPOD_POD_ID', 'pod')}.pid")  # noqa: S108
READ_AGAIN_S = 0.25
_MACHINE_READS = 20


def read_own_machine() -> dict[str, Any]:
    """Read `machine.json`, again and again while it is not this attempt's.

    The client writes it anew as soon as it knows the pod's id, and the volume may show it late or half written.
    """
    for _ in range(_MACHINE_READS):
        machine = read_machine()
        if machine.get("attempt") == os.environ.get("CLOUDTRAIN_ATTEMPT", ""):
            break
        sleep(READ_AGAIN_S)
    return machine


def read_machine() -> dict[str, Any]:
    """Read `machine.json`; empty where it cannot be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return dict(json.loads((FOLDER / "machine.json").read_text(encoding="utf-8")))
    return {}


def write_failure(state: str, kind: str, message: str, stage: str, began: float) -> None:
    """Write `result.json`, unless the script has left one."""
    if not (FOLDER / "result.json").is_file():
        error = {"type": kind, "message": message, "traceback": "", "stage": stage, "input_error": False}
        times = {"started_at": began, "finished_at": time()}
        write_json(FOLDER / "result.json", {"state": state, "error": error, **times, "attempt": os.environ.get("CLOUDTRAIN_ATTEMPT")})


def write_json(file: Path, value: object) -> None:
    """Write a file by rename."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(file)
