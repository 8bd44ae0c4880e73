"""The releases of the packages that a pod installs."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import LockError
from kedro_cloudtrain.jobs.lock import lock, unlocked
from kedro_cloudtrain.jobs.wheels import least_cuda

if TYPE_CHECKING:
    from kedro_cloudtrain.backends.backend import JobRequest

logger = logging.getLogger("kedro.cloudtrain")


def with_releases(request: JobRequest, *, on_gpu: bool) -> JobRequest:
    """Return a request with what its pod is to install, each package in one release, and with the CUDA that this needs.

    Raises:
        ConfigError: no releases meet the requirements.
    """
    settings, asked = request.settings, request.requirements if on_gpu else request.cpu_requirements
    if not settings.install:
        return dataclasses.replace(request, requirements=())
    try:
        lines = lock(asked, python=request.python, project=request.project)
    except LockError as error:
        logger.warning("%s: %s The pod resolves them itself.", request.folder.name, error.message, extra={"markup": False})
        lines = unlocked(asked)
    if "min_cuda_version" not in settings.model_fields_set:
        settings = settings.model_copy(update={"min_cuda_version": least_cuda(lines, settings.min_cuda_version)})
    return dataclasses.replace(request, requirements=lines, settings=settings)
