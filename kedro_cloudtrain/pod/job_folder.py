"""The job folder as the pod's first program sees it: what the client has asked for, and the result where the script leaves none."""

from __future__ import annotations

import contextlib
import json
import math
import os
from pathlib import Path
from time import sleep, time
from typing import Any

# <volume>/.cloudtrain/jobs/<job>/pod.zip/cloudtrain_pod/job_folder.py
FOLDER = Path(__file__).resolve().parents[2]
VOLUME = FOLDER.parent.parent.parent
# The ids of the job's processes, on the pod's own disk: the watchdog, a process of its own, reads it.
CHILD = Path(f"/tmp/cloudtrain-{os.environ.get('RUNPOD_POD_ID', 'pod')}.pid")  # noqa: S108
READ_AGAIN_S = 0.25
_MACHINE_READS = 20
_MOST_BYTES = 8_000_000
# The fields of `machine.json` that are numbers; `requirements` is a list of texts, and each other one is a text.
_NUMBERS = ("gpu_count", "machines", "startup_timeout_s", "vcpu_count", "min_ram_gb", "timeout_s", "lifetime_s", "heartbeat_every_s")


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
    """Read `machine.json`; without what is not of its kind, and empty where it cannot be read.

    A watchdog that fails on a malformed number would leave a pod without its deadline.
    """
    machine: Any = None
    with contextlib.suppress(OSError, ValueError, RecursionError), (FOLDER / "machine.json").open("rb") as stream:
        machine = json.loads(stream.read(_MOST_BYTES))
    return {name: value for name, value in machine.items() if _is_valid(name, value)} if isinstance(machine, dict) else {}


def _is_valid(name: str, value: object) -> bool:
    """Return whether a field of `machine.json` has a value of its kind; a null is as good as no field, and others are not read."""
    if name in _NUMBERS:
        return type(value) in (int, float) and math.isfinite(value) and value >= 0  # type: ignore[arg-type,operator]  # a number
    if name == "requirements":
        return isinstance(value, list) and all(isinstance(line, str) for line in value)
    return isinstance(value, str)


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
