"""The processor that a fit uses, opened as the library itself opens it, before anything is read."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import re
from typing import TYPE_CHECKING, Any

from .errors import HyperparameterError, MachineError, PackageError
from .gpus import Gpu, find_gpu
from .hyperparameter_devices import chosen_device, refused_on
from .protocol import CORES_VARIABLE, GPU_VARIABLE
from .results import version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# In the order in which they are chosen.
KERAS_BACKENDS = ("jax", "tensorflow", "torch")


@dataclasses.dataclass(frozen=True)
class Device:
    """The processor of a fit.

    Attributes:
        kind: `cuda` or `cpu`.
        name: the GPU's name, or how many cores there are.
        gpu: the GPU that the fit uses; None for a CPU.
    """

    kind: str
    name: str
    gpu: Gpu | None = None

    def __str__(self) -> str:
        return f"{self.kind} ({self.gpu or self.name})"


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why a library has no GPU.

    Attributes:
        reason: what was found, as a clause: `it is built without CUDA`.
        cure: what changes it, as a sentence.
        of_packages: whether it is the library as it is installed, which no other host changes.
    """

    reason: str
    cure: str
    of_packages: bool = False


def choose_device(library: str, hyperparameters: Mapping[str, Any] | None = None, task: str | None = None) -> Device:
    """Return the device of a library's fit: the GPU where the machine has one and the library opens it, otherwise the CPU.

    The hyperparameter `device: cpu` (CatBoost's `task_type: CPU`) chooses the CPU, and so does one that the library has there alone.

    Args:
        library: xgboost, lightgbm, catboost or keras.
        hyperparameters: as they are given.
        task: what the model learns.

    Raises:
        HyperparameterError: one is for the other device than the machine has.
        MachineError: the pod was rented for its GPU, and the library does not open it.
        PackageError: it cannot open any, as it is installed.
    """
    hyperparameters, paid = hyperparameters or {}, os.environ.get(GPU_VARIABLE)
    chosen = chosen_device(library, hyperparameters)
    on_cpu = library not in _OPEN or (chosen is not None and chosen[0] == "cpu")
    gpu = None if on_cpu else find_gpu()
    if on_cpu or (gpu is None and not paid):
        return _cpu_for(library, hyperparameters, task)
    refused = next(refused_on("cuda", library, hyperparameters, task), None)
    if refused is not None:
        if paid:
            raise HyperparameterError(f"{refused}, or take a CPU pod: gpu: none.")
        print(f"{refused.rpartition(': ')[0]}: the fit runs on the CPU.")  # noqa: T201
        return _cpu_for(library, hyperparameters, task)
    fault = _fault(library, gpu)
    if fault is None:
        return Device("cuda", gpu.name if gpu is not None else str(paid), gpu)
    finding = f"{library} {version_of(library)} does not open the GPU ({gpu or 'nvidia-smi shows none'}): {fault.reason}."
    if not paid:
        print(f"{finding} The fit runs on the CPU. {fault.cure}")  # noqa: T201
        return _cpu_for(library, hyperparameters, task)
    if fault.of_packages:
        raise PackageError(f"{finding} The pod was rented for its {paid}. {fault.cure}")
    raise MachineError(f"{finding} {fault.cure}")


def _cpu_for(library: str, hyperparameters: Mapping[str, Any], task: str | None) -> Device:
    """Return the CPU.

    Raises:
        HyperparameterError: a hyperparameter is for a GPU.
    """
    refused = next(refused_on("cpu", library, hyperparameters, task), None)
    if refused is not None:
        chosen = chosen_device(library, hyperparameters)
        why = f"`hyperparameters.{chosen[1]}` chooses the CPU" if chosen is not None else f"The machine has no GPU that {library} can use"
        raise HyperparameterError(f"{refused}. {why}.")
    return cpu()


def cpu() -> Device:
    """Return the CPU, with the cores that this process may use: those of its container where its start has told it."""
    cores = _cores()
    return Device("cpu", f"{cores} CPU core{'' if cores == '1' else 's'}")


def whole_cores() -> int:
    """Return how many cores this process may use, one at least."""
    return max(1, int(float(_cores())))


def _cores() -> str:
    return os.environ.get(CORES_VARIABLE) or str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def _fault(library: str, gpu: Gpu | None) -> Fault | None:
    """Return why a library does not open the GPU; None if it does."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        hidden = os.environ["CUDA_VISIBLE_DEVICES"]
        return Fault(f"CUDA_VISIBLE_DEVICES is {hidden!r}, which hides every GPU", "Unset it in the image.", of_packages=True)
    try:
        return _OPEN[library](gpu)
    except ImportError as error:
        return Fault(str(error), "Install it, by `requirements` in cloudtrain.yml.", of_packages=True)
    except Exception as error:  # noqa: BLE001  # whatever a driver or a library does here, it will do in the fit
        text = next(iter(str(error).strip().splitlines()), "")
        return Fault(f"{type(error).__name__}: {text}", _another_host(gpu, ""))


def _another_host(gpu: Gpu | None, built_with: str) -> str:
    """Return what to do on a host whose driver does not serve a library that was built with some CUDA."""
    major = built_with.partition(".")[0]
    if major.isdigit() and gpu is not None and gpu.cuda and int(major) > int(gpu.cuda.partition(".")[0]):
        return f'Its driver is too old for CUDA {built_with}: set min_cuda_version: "{major}.0" in cloudtrain.yml.'
    return "Name another GPU in `gpu`, or take a CPU pod by gpu: none."


def _open_xgboost(gpu: Gpu | None) -> Fault | None:
    import json

    import numpy as np
    import xgboost

    build = xgboost.build_info()
    built_with = ".".join(str(part) for part in build.get("CUDA_VERSION") or ())
    if not build.get("USE_CUDA"):
        return Fault("it is built without CUDA", "Install xgboost, or xgboost-cu12, in place of xgboost-cpu.", of_packages=True)
    # Where no GPU opens, XGBoost warns and computes on the CPU: two rows show it.
    with xgboost.config_context(verbosity=0):
        rows = xgboost.DMatrix(np.eye(2, dtype=np.float32), np.arange(2))
        booster = xgboost.train({"device": "cuda", "tree_method": "hist"}, rows, num_boost_round=1)
    used = json.loads(booster.save_config())["learner"]["generic_param"]["device"]
    if str(used).startswith("cuda"):
        return None
    return Fault(f"it is built with CUDA {built_with or '(of some release)'}, and computes on its {used}", _another_host(gpu, built_with))


def _open_catboost(gpu: Gpu | None) -> Fault | None:
    from catboost.utils import get_gpu_device_count

    return None if get_gpu_device_count() else Fault("it counts no GPU", _another_host(gpu, ""))


def _open_keras(gpu: Gpu | None) -> Fault | None:
    import keras

    return {"jax": _open_jax, "torch": _open_torch, "tensorflow": _open_tensorflow}[str(keras.backend.backend())](gpu)


def _open_jax(gpu: Gpu | None) -> Fault | None:
    import jax

    if jax.default_backend() == "gpu":
        return None
    plugin = _cuda_of_jax()
    if plugin is None:
        return Fault("jax is installed without CUDA", "Install jax[cuda12], by `requirements` in cloudtrain.yml.", of_packages=True)
    return Fault(f"jax has CUDA {plugin}, and its backend is {jax.default_backend()}", _another_host(gpu, plugin))


def _open_torch(gpu: Gpu | None) -> Fault | None:
    import torch

    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return Fault("torch is built without CUDA", "Install a torch that is built with CUDA.", of_packages=True)
    return Fault("torch finds no GPU", _another_host(gpu, str(torch.version.cuda)))


def _open_tensorflow(gpu: Gpu | None) -> Fault | None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return None
    if not tf.test.is_built_with_cuda():
        return Fault("tensorflow is built without CUDA", "Install tensorflow[and-cuda].", of_packages=True)
    built_with = str(tf.sysconfig.get_build_info().get("cuda_version") or "")
    return Fault("tensorflow lists no GPU", _another_host(gpu, built_with))


def _cuda_of_jax() -> str | None:
    """Return the CUDA release of JAX's plugin (`12`); None if it is not installed."""
    from importlib import metadata

    for distribution in metadata.distributions():
        with contextlib.suppress(KeyError, TypeError):
            if plugin := re.fullmatch(r"jax[-_]cuda(\d+)[-_]plugin", distribution.metadata["Name"] or ""):
                return plugin[1]
    return None


# LightGBM's wheel is built without CUDA, and on tables its CPU is faster.
_OPEN: dict[str, Callable[[Gpu | None], Fault | None]] = {"xgboost": _open_xgboost, "catboost": _open_catboost, "keras": _open_keras}


def choose_keras_backend(name: str | None = None) -> str:
    """Choose Keras's backend before Keras is imported: KERAS_BACKEND if it is set, else the one that is named, else an installed one.

    JAX comes first: it is the smallest and the quickest to import.
    """
    if name and os.environ.get("KERAS_BACKEND") not in (None, "", name):
        print(f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']}, which is taken in place of {name}.")  # noqa: T201
    if not os.environ.get("KERAS_BACKEND"):
        installed = [name] if name else [each for each in KERAS_BACKENDS if importlib.util.find_spec(each) is not None]
        os.environ["KERAS_BACKEND"] = installed[0] if installed else KERAS_BACKENDS[0]
    # JAX and TensorFlow log at length about their kernels before they compute anything.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return os.environ["KERAS_BACKEND"]


def import_keras() -> Any:
    """Import Keras with a backend that is installed, and leave the environment to the jobs that this process starts as it was."""
    before = os.environ.get("KERAS_BACKEND")
    choose_keras_backend()
    try:
        import keras
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before
    return keras
