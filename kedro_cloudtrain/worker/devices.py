"""The processor that a fit uses: the GPU if the machine has one and the library can use it, otherwise the CPU."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# In the order in which they are chosen.
KERAS_BACKENDS = ("jax", "tensorflow", "torch")


def gpu_name() -> str | None:
    """Return the first GPU's name from its driver, or None if the machine has no GPU."""
    # An empty list hides all GPUs from CUDA (CUDA C++ Programming Guide, "CUDA Environment Variables").
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    if hidden or shutil.which("nvidia-smi") is None:
        return None
    try:
        names = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],  # noqa: S607  # wherever the driver has put it
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return names.strip().splitlines()[0] if names.strip() else None


def device_for(library: str, hyperparameters: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """Return `cuda` or `cpu` for a library, and the device's name.

    The hyperparameter `device: cpu` (CatBoost's `task_type: CPU`) chooses the CPU. LightGBM's wheel is built without CUDA, and on tables
    its CPU is faster. XGBoost's wheel says whether it was built with CUDA.
    """
    cpu = any(str((hyperparameters or {}).get(name)).lower() == "cpu" for name in ("device", "device_type", "task_type"))
    name = None if cpu else gpu_name()
    if name is None or library == "lightgbm" or not _can_use_cuda(library):
        return "cpu", f"{os.cpu_count()} CPU cores"
    return "cuda", name


def _can_use_cuda(library: str) -> bool:
    if library == "xgboost":
        import xgboost  # loaded already by the script that asks

        return bool(xgboost.build_info().get("USE_CUDA"))
    if library == "catboost":
        from catboost.utils import get_gpu_device_count

        return bool(get_gpu_device_count())
    if library == "keras":
        import keras

        if keras.backend.backend() == "jax":
            import jax

            return bool(jax.default_backend() == "gpu")
        if keras.backend.backend() == "torch":
            import torch

            return bool(torch.cuda.is_available())
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    return False


def choose_keras_backend() -> str:
    """Choose Keras's backend before Keras is imported: KERAS_BACKEND if it is set, else one that is installed.

    JAX comes first: it is the smallest and the quickest to import.
    """
    if not os.environ.get("KERAS_BACKEND"):
        installed = [name for name in KERAS_BACKENDS if importlib.util.find_spec(name) is not None]
        os.environ["KERAS_BACKEND"] = installed[0] if installed else KERAS_BACKENDS[0]
    # JAX and TensorFlow log at length about their kernels before they compute anything.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return os.environ["KERAS_BACKEND"]
