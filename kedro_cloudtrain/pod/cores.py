"""The CPU cores that a process really has, and the variables that bound each library's threads to them."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

# Read by OpenMP (LightGBM, XGBoost, OpenBLAS, MKL), XLA (JAX), TensorFlow and Polars. CatBoost reads the quota itself.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "NPROC", "TF_NUM_INTRAOP_THREADS", "POLARS_MAX_THREADS")


def usable_cores(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return the cores that this process may use: those of its affinity, or fewer where its container has a quota (0.5: half a core).

    LightGBM and OpenMP see the affinity alone, which in a container with a quota is all of the host's cores.

    Args:
        root: where the kernel shows the control groups (cgroups(7)): version 2 in one tree, version 1 in a tree for each controller.
        own: the file that names this process's groups.
    """
    # macOS has no affinity.
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for controllers, path in _groups(own):
        trees = ["."] if not controllers else [controllers, "cpu"] if "cpu" in controllers.split(",") else []
        for tree in trees:
            # A parent's quota bounds its children. In a container, the path may be the host's: then only the root is there.
            for group in (path, *path.parents):
                cores = min(cores, _quota(root / tree / str(group).lstrip("/")) or cores)
    return cores


def thread_variables(cores: float, taken: Collection[str] = ()) -> dict[str, str]:
    """Return the environment variables that bound a job's threads to some cores, and tell it how many it has.

    Args:
        cores: the cores; of less than one, a thread uses what there is.
        taken: the names of variables that are set already, which stay as they are.
    """
    bounds = {name: str(max(1, int(cores))) for name in _THREAD_VARIABLES if name not in taken}
    return {**bounds, "CLOUDTRAIN_CORES": f"{cores:g}"}


def _groups(own: Path) -> list[tuple[str, Path]]:
    """Return the controllers and the path of each control group that the process is in; version 2 has no controllers in its line."""
    lines = []
    with contextlib.suppress(OSError):
        lines = own.read_text(encoding="utf-8").splitlines()
    matches = [re.fullmatch(r"\d+:([^:]*):(/.*)", line) for line in lines]
    return [(match[1], Path(match[2])) for match in matches if match] or [("", Path("/")), ("cpu", Path("/"))]


def _quota(group: Path) -> float | None:
    """Return a control group's quota in cores; None where it has none."""
    texts = []
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with contextlib.suppress(OSError):
            texts = " ".join((group / name).read_text(encoding="utf-8").strip() for name in names).split()
    # `max 100000` and `-1 100000` mean that there is no quota.
    if len(texts) != 2 or not texts[0].isdigit() or not texts[1].isdigit() or int(texts[1]) == 0:  # noqa: PLR2004  # microseconds of a period
        return None
    return int(texts[0]) / int(texts[1]) or None
