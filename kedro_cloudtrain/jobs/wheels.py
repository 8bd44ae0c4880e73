"""The wheels of the training libraries: which one a pod with a GPU installs, which one without, and the CUDA that a wheel needs.

| library | with a GPU | without | CUDA |
|---|---|---|---|
| XGBoost before 3.4 | `xgboost` | `xgboost-cpu` | 12 |
| XGBoost from 3.4 on | `xgboost-cu12` | `xgboost-cpu` | 12 (the wheel named `xgboost` needs 13) |
| LightGBM | `lightgbm` | `lightgbm` | none: its wheel computes on the CPU |
| CatBoost | `catboost` | `catboost` | its own, for drivers from 11.8 on |
| Keras on JAX | `keras`, `jax[cuda12]` | `keras`, `jax` | 12 |
| Keras on TensorFlow | `keras`, `tensorflow[and-cuda]` | `keras`, `tensorflow-cpu` | 12 |
| Keras on PyTorch | `keras`, `torch` | `keras`, `torch` | 12 to 2.9, 13 in the newest: the lock has it, and the host's driver follows |

Read off the wheels' metadata (`Requires-Dist: nvidia-…`), with which tests/jobs/test_wheels.py compares it. A wheel without CUDA is a tenth
of the size, and holds the same module; PyTorch's are on an index of its own, so that a pod without a GPU has the one with CUDA, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGES = {"xgboost": ("xgboost",), "lightgbm": ("lightgbm",), "catboost": ("catboost",), "keras": ("keras",)}
DEFAULT_BACKEND = "jax"
# Distributions that hold the same module, in the same releases: two of them in one environment overwrite each other.
_SAME_MODULE = (frozenset({"xgboost", "xgboost-cpu", "xgboost-cu12"}), frozenset({"tensorflow", "tensorflow-cpu"}))
_FIRST_XGBOOST_FOR_CUDA_13 = Version("3.4")
_CUDA_PACKAGE = re.compile(r"nvidia-[a-z0-9-]+-cu(\d+)\b|nvidia-cuda-runtime==(\d+)\.")


def packages(library: str, backend: str | None = None) -> tuple[str, ...]:
    """Return the packages of a training library; empty for any other name.

    Args:
        library: one of `PACKAGES`, or the name of a template of the project's own.
        backend: what Keras computes with; None for JAX.
    """
    return (*PACKAGES.get(library, ()), *((backend or DEFAULT_BACKEND,) if library == "keras" else ()))


def distribution(package: str, release: str | None, *, gpu: bool) -> str:
    """Return the distribution of a training library's package that a pod installs, with its extra.

    Args:
        package: one of `packages`.
        release: its release; None for the newest.
        gpu: whether the pod has a GPU.
    """
    if package == "jax":
        return "jax[cuda12]" if gpu else "jax"
    if package == "tensorflow":
        return "tensorflow[and-cuda]" if gpu else "tensorflow-cpu"
    if package != "xgboost":
        return package
    if not gpu:
        return "xgboost-cpu"
    return "xgboost-cu12" if release is None or Version(release) >= _FIRST_XGBOOST_FOR_CUDA_13 else "xgboost"


def same_module(name: str) -> frozenset[str]:
    """Return the distributions that hold the same module as one of a canonical name, itself among them."""
    return next((names for names in _SAME_MODULE if name in names), frozenset({name}))


def least_cuda(lines: Iterable[str], least: str) -> str:
    """Return the lowest CUDA version of a host's driver that some locked packages work with.

    Args:
        lines: a lock.
        least: what is needed without them.
    """
    majors = [int(match[1] or match[2]) for line in lines if (match := _CUDA_PACKAGE.match(line))]
    # Within a major release of CUDA, a wheel runs on every driver of it (NVIDIA, "CUDA Compatibility", minor version compatibility).
    return f"{max(majors)}.0" if majors and max(majors) > int(least.partition(".")[0]) else least
