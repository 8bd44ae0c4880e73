"""The environment of a pod with a GPU, made on a pod without one: nobody pays for a GPU that waits for packages."""

from __future__ import annotations

import dataclasses
import logging
import threading
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.claim import client_id
from kedro_cloudtrain.backends.runpod.environments import Environments
from kedro_cloudtrain.backends.runpod.releases import with_releases
from kedro_cloudtrain.errors import CapacityError, JobLostError, JobTimeoutError
from kedro_cloudtrain.jobs.environment_name import environment_name
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.worker_archive import worker_archive
from kedro_cloudtrain.jobs.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_cloudtrain.backends.backend import JobRequest
    from kedro_cloudtrain.storage.s3 import S3Store

logger = logging.getLogger("kedro.cloudtrain")

# The largest environments, TensorFlow's with CUDA, take some ten minutes to download, compile and pack.
_LASTS_AT_MOST_S = 3600.0
# Packages come from a network and are compiled file by file: more cores would wait.
_VCPU_COUNT = 4
_SCRIPT = '''\
"""Does nothing: the pod makes the environment before it starts this script."""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

from cloudtrain_worker.job import Job

with Job(__file__, []):
    print("the environment is made")
'''


class Preparing:
    """Makes environments on CPU pods, each once.

    Args:
        volume: the network volume that keeps the environments.
        rents_gpu: returns whether a job is to get a pod with a GPU.
    """

    def __init__(self, volume: S3Store, rents_gpu: Callable[[JobRequest], bool]) -> None:
        self._volume = volume
        self._rents_gpu = rents_gpu
        self._locks: dict[str, threading.Lock] = {}

    def prepare(self, request: JobRequest, run: Callable[[JobRequest], object]) -> None:
        """Make the environment that a job would make on its GPU, unless the volume has it.

        Where no CPU pod is free, or none lasts, the job's own pod makes it.

        Args:
            request: the job.
            run: runs another job on a pod, on the same account.

        Raises:
            JobFailedError: the packages cannot be installed, which they could not on a GPU either.
            ConfigError: no releases of them meet the requirements.
            BudgetExceededError: the CPU pod could cost more than is allowed.
        """
        settings = request.settings
        if not settings.prepare or settings.gpu == "none" or not self._volume.mounted or not self._rents_gpu(request):
            return
        lines = with_releases(request, on_gpu=True).requirements
        if not lines:
            return
        image = settings.image_for(gpu=True)
        name = environment_name(lines, request.python, image)
        folder = JobFolder(request.folder.path.with_name(f"environment-{name}-{client_id(request.folder)[:4]}"))
        # Jobs of one run that need the same environment wait for the one that makes it.
        with self._locks.setdefault(name, threading.Lock()):
            if Environments(self._volume).has(name):
                return
            logger.info("%s: a CPU pod makes its environment first", request.folder.name, extra={"markup": False})
            with folder.held():
                _write(folder, lines)
                try:
                    run(_on_cpu(request, folder, image))
                except (CapacityError, JobLostError, JobTimeoutError) as error:
                    text = f"{error.message} The pod with the GPU makes its environment itself."
                    logger.warning("%s: %s", request.folder.name, text, extra={"markup": False})


def _write(folder: JobFolder, lines: Sequence[str]) -> None:
    folder.clear()
    folder.write_json(folder.spec, {"name": folder.name, "requirements": list(lines)})
    folder.write(folder.script, _SCRIPT.encode())
    folder.write(folder.archive, worker_archive(), counted=False)


def _on_cpu(request: JobRequest, folder: JobFolder, image: str) -> JobRequest:
    """Return what a CPU pod is asked for: the same packages, in the same image, since an environment fits no other Python."""
    settings = request.settings.model_copy(
        update={
            "gpu": "none",
            "machines": 1,
            "image": image,
            "vcpu_count": _VCPU_COUNT,
            "min_ram_gb": None,
            "min_vcpu": None,
            "timeout_s": min(request.settings.timeout_s, _LASTS_AT_MOST_S),
            "wait_for_capacity_s": 0.0,
            "prepare": False,
        }
    )
    return dataclasses.replace(
        request,
        folder=folder,
        settings=settings,
        workload=Workload(request.workload.library),
        cpu_requirements=request.requirements,
        attach=False,
        members=(),
        kinds=None,
        keep_s=0.0,
        is_wanted=None,
    )
