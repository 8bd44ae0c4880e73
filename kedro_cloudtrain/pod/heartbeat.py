"""The sign of life that a pod leaves on the volume."""

from __future__ import annotations

import contextlib
import itertools
from threading import Event, Thread
from time import monotonic
from typing import Any

from . import job_folder
from .ending import end_pod
from .host import nvidia_smi
from .log import kill_job, print_line


class Heartbeat:
    """`heartbeat.json`, written anew every few seconds: a number that grows, the stage, how busy the GPU is.

    It ends the pod once `machine.json` has a newer attempt: the client has given this one up.
    """

    def __init__(self, machine: dict[str, Any]) -> None:
        self.stage = "machine"
        self._machine = machine
        self._over = Event()
        self._file = job_folder.FOLDER / "heartbeat.json"
        Thread(target=self._beat, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._over.set()

    def _beat(self) -> None:
        attempt, began = self._machine["attempt"], monotonic()
        for number in itertools.count(1):
            beat: dict[str, Any] = {"attempt": attempt, "number": number, "stage": self.stage, "uptime_s": round(monotonic() - began, 1)}
            gpus = nvidia_smi("utilization.gpu,memory.used") if self._machine.get("gpu") else []
            with contextlib.suppress(ValueError, IndexError):
                beat |= {"gpu_percent": float(gpus[0][0]), "gpu_memory_mb": float(gpus[0][1])}
            with contextlib.suppress(OSError):
                job_folder.write_json(self._file, beat)
            if job_folder.read_machine().get("attempt", attempt) != attempt:
                print_line("the job now belongs to another pod")
                kill_job()
                end_pod()
            if self._over.wait(float(self._machine.get("heartbeat_every_s", 10.0))):
                break
