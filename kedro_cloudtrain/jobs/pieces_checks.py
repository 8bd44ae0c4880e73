"""What a training whose table is read in pieces cannot have, and when a table is read so unasked."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from kedro_cloudtrain.jobs.parameters import library_of
from kedro_cloudtrain.worker.parquet_copy import unreadable_in_pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource

# How a problem begins.
ASKED = "`in_pieces` is true, and "
# A smaller file holds no table that is larger than a memory.
LOOKED_AT_BYTES = 16 * 1024 * 1024
# The libraries whose recipes fit a table in pieces.
PIECE_LIBRARIES = ("xgboost", "lightgbm", "keras")
# The first release with ExtMemQuantileDMatrix.
_XGBOOST = "3.0"
_OF_XGBOOST = {"tree_method": ("exact", "approx"), "booster": ("gblinear",)}
_LARGER = "choose an xgboost or a lightgbm recipe in model_type"
_WHOLE = {
    "catboost": "CatBoost makes its bins of all rows at once",
}
# A cgroup's limit, which a container has; `max` where there is none.
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def pieces_problems(parameters: TrainingParameters) -> Iterator[str]:
    """Yield what a shipped recipe's parameters have that goes with no table in pieces, a sentence each."""
    yield from (f"{ASKED}{problem}" for problem in _problems(parameters))


def _problems(parameters: TrainingParameters) -> Iterator[str]:
    library, hyperparameters = library_of(parameters.model_type), parameters.hyperparameters
    if library in _WHOLE:
        yield f"{_WHOLE[library]}: take it out, or {_LARGER}."
        return
    if parameters.partitioned is not None:
        yield "`partitioned` trains on the rows of one group at a time, in memory: take one of the two out."
    if parameters.validation.folds is not None:
        yield ("`validation.folds` encodes rows in memory, once a fold: hold out a `validation.fraction` instead, or take `in_pieces` out.")
    if library == "xgboost":
        for name in (name for name, refused in _OF_XGBOOST.items() if hyperparameters.get(name) in refused):
            yield f"`hyperparameters.{name}` is {hyperparameters[name]!r}, which needs all rows at once: take one of the two out."
        if str(hyperparameters.get("device", "cpu")).partition(":")[0] in ("cuda", "gpu"):
            yield f"`hyperparameters.device` is {hyperparameters['device']!r}, while pieces are fitted on the CPU: take one of the two out."
        installed = _release("xgboost")  # A pod installs the same one.
        if installed is not None and Version(installed) < Version(_XGBOOST):
            yield (
                f"this environment has XGBoost {installed}, while pieces need {_XGBOOST}: pip install --upgrade xgboost, or take it out."
            )
    elif library == "keras" and parameters.backend not in (None, "jax"):
        yield f"`backend` is {parameters.backend!r}, while pieces are loaded for JAX: take one of the two out."
    elif hyperparameters.get("linear_tree"):
        yield "`hyperparameters.linear_tree` keeps all numbers in memory: take one of the two out."


def source_problems(sources: Iterable[tuple[str, UrlSource | VolumeSource]]) -> Iterator[str]:
    """Yield which tables cannot be read in pieces, by their names and their sources."""
    for name, source in sources:
        problem = unreadable_in_pieces(source.file_format, source.load_args)
        if problem is not None:
            yield f"{ASKED}`{name}` {problem}"


def larger_than_memory(workload: Workload) -> str | None:
    """Return, as a clause, that a table would take more than half of this computer's memory; None where it does not."""
    memory_gb = host_memory_gb()
    if workload.size_bytes is not None and workload.size_bytes < LOOKED_AT_BYTES:
        return None
    if workload.cells is None or workload.ram_gb <= memory_gb / 2:
        return None
    return (
        f"in memory its table's {workload.cells / 1e6:,.0f} million numbers would take about {workload.ram_gb:.0f} GB, more than half of "
        f"this computer's {memory_gb:.0f} GB"
    )


def host_memory_gb() -> float:
    """Return this computer's memory in GB; in a container, its share."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    try:
        limit = int(_CONTAINER_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        limit = total
    memory_bytes = min(total, limit) if total else limit
    return memory_bytes / 1e9 if memory_bytes else float("inf")


def _release(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
