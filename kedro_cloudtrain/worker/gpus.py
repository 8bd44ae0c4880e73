"""The GPUs of a machine, as their driver describes them, and how busy they were."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import threading
from typing import Any

_DRIVER_S = 30.0
# A sample soon, for a fit that is short; then seldom, for each starts a process.
_SAMPLE_AFTER_S = (0.2, 1.0, 2.0, 5.0)


@dataclasses.dataclass(frozen=True)
class Gpu:
    """The GPUs of a machine, of which a job sees the first or all.

    Attributes:
        name: the first one's name.
        driver: the driver's version.
        cuda: the newest CUDA that the driver works with; empty where it does not say.
        count: how many there are.
    """

    name: str
    driver: str = ""
    cuda: str = ""
    count: int = 1

    def __str__(self) -> str:
        shown = f"{self.count} × {self.name}" if self.count > 1 else self.name
        return ", ".join(filter(None, [shown, self.driver and f"driver {self.driver}", self.cuda and f"CUDA {self.cuda}"]))


def find_gpu() -> Gpu | None:
    """Return the machine's GPUs as `nvidia-smi` has them; None where there is none, or CUDA_VISIBLE_DEVICES hides all."""
    # An empty list hides all GPUs from CUDA (CUDA C++ Programming Guide, "CUDA Environment Variables").
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return None
    lines = [[cell.strip() for cell in line.split(",")] for line in _query("name,driver_version")]
    if not lines:
        return None
    heading = re.search(r"CUDA Version:\s*(\d+\.\d+)", _output("nvidia-smi"))
    return Gpu(lines[0][0], lines[0][1] if len(lines[0]) > 1 else "", heading[1] if heading else "", len(lines))


def _query(fields: str) -> list[str]:
    return _output("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits").strip().splitlines()


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_DRIVER_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


class GpuUse:
    """How busy the GPUs are, sampled in the background until it is closed."""

    def __init__(self) -> None:
        self._samples: list[float] = []
        self._over = threading.Event()
        threading.Thread(target=self._sample, name="cloudtrain-gpu", daemon=True).start()

    def close(self) -> float | None:
        """Stop, and return the mean use in percent, of all GPUs; None where the driver has not answered."""
        self._over.set()
        return round(sum(self._samples) / len(self._samples), 1) if self._samples else None

    def _sample(self) -> None:
        pauses = iter(_SAMPLE_AFTER_S)
        while not self._over.wait(next(pauses, _SAMPLE_AFTER_S[-1])):
            percents = []
            for cell in _query("utilization.gpu"):
                with contextlib.suppress(ValueError):  # `[N/A]` of a part of a GPU
                    percents.append(float(cell))
            if percents:
                self._samples.append(sum(percents) / len(percents))


def described(gpu: Gpu, use_percent: float | None) -> dict[str, Any]:
    """Return the GPUs and their use, as `result.json` has them."""
    return {**dataclasses.asdict(gpu), "use_percent": use_percent}
