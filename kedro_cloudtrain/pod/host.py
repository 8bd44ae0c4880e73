"""The host that a pod has got: its GPUs, its driver and its disks, checked before the job spends time on it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from . import job_folder

_LEAST_DISK_BYTES = 1_000_000_000
_MEMORY = Path("/proc/meminfo")
# A container's limit, by version 2 and version 1 of control groups (cgroups(7)).
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# A host that is sold with 32 GB shows a little less.
_ROUNDED = 0.93


class MachineError(Exception):
    """This host cannot do the job; another host may."""


def check_machine(machine: dict[str, Any]) -> str:
    """Check the host before the job spends time on it, and return a line about it.

    Raises:
        MachineError: its GPUs, its driver or its disks are not as the job needs them.
    """
    lines = []
    if machine.get("gpu"):
        gpus = nvidia_smi("name,driver_version,memory.total")
        if len(gpus) < int(machine.get("gpu_count", 1)):
            raise MachineError(f"nvidia-smi shows {len(gpus)} GPUs on this host, which is billed for {machine.get('gpu_count', 1)}")
        lines += [" · ".join(cells) for cells in gpus]
        # The host's own version of CUDA is in the heading of nvidia-smi.
        least = str(machine.get("min_cuda_version", "0"))
        cuda = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", _output("nvidia-smi"))
        if cuda and (int(cuda[1]), int(cuda[2])) < tuple(int(part) for part in least.split(".")):
            raise MachineError(f"this host's driver has CUDA {cuda[1]}.{cuda[2]}, and the job needs {least}")
    memory_gb, least_gb = _memory_gb(), float(machine.get("min_ram_gb") or 0.0)
    if memory_gb is not None and memory_gb < least_gb * _ROUNDED:
        raise MachineError(
            f"this host has {memory_gb:.0f} GB of memory for the job, which needs {least_gb:g} GB: lower min_ram_gb, or name another GPU"
        )
    lines.append(f"{os.cpu_count()} CPU cores" + ("" if memory_gb is None else f" · {memory_gb:.0f} GB of memory"))
    for place in (job_folder.FOLDER, Path("/tmp")):  # noqa: S108
        free = shutil.disk_usage(place).free
        if free < _LEAST_DISK_BYTES:
            raise MachineError(f"{place} has {free / 1e9:.1f} GB left, and a job needs {_LEAST_DISK_BYTES / 1e9:g} GB")
    return " · ".join(lines)


def nvidia_smi(fields: str) -> list[list[str]]:
    """Return a list of cells for each GPU, an empty one if the host has no driver."""
    lines = _output("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits").strip().splitlines()
    return [[cell.strip() for cell in line.split(",")] for line in lines]


def _memory_gb() -> float | None:
    """Return the memory that this pod may use, in GB: its container's limit, or the host's; None where neither is known."""
    sizes = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        sizes.append(int(_MEMORY.read_text(encoding="utf-8").split()[1]) * 1024)  # `MemTotal: 24529912 kB`, the first line (proc(5))
    for limit in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # `max` means that there is no limit
            sizes.append(int(limit.read_text(encoding="utf-8")))
    return min(sizes) / 1e9 if sizes else None


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
