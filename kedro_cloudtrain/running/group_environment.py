"""What the jobs of a group find in their environment, and whether a machine that is there already has what another job needs."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.signing import signing_environment
from kedro_cloudtrain.worker.protocol import CREDENTIALS_VARIABLE, JOB_KEYS_VARIABLE, PER_JOB_VARIABLES, URL_SECRETS_VARIABLE
from kedro_cloudtrain.worker.signatures import sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kedro_cloudtrain.backends.backend import JobRequest
    from kedro_cloudtrain.config import NodeSettings

# What each node of a group may set for itself; everything else is set for their machine.
PER_NODE_SETTINGS = frozenset({"cache", "machines", "requirements", "upload_warn_mb", "checkpoint_every_s", "checkpoint_every_rounds"})
# These, too, may differ where a machine is kept: each job has its own deadline there.
_OF_A_JOB = PER_NODE_SETTINGS | {"timeout_s", "group"}
_BY_PLACE = (URL_SECRETS_VARIABLE, CREDENTIALS_VARIABLE, JOB_KEYS_VARIABLE)
# Every host has at least this much memory, and so does every GPU.
_ANY_MACHINE_GB = 8.0


def shared_environment(requests: Iterable[JobRequest], more: Mapping[str, str]) -> dict[str, str]:
    """Return what the jobs of a machine find in their environment, all of them, with what the machine itself needs.

    Raises:
        ConfigError: two of them reach the same place with different credentials.
    """
    shared: dict[str, str] = {}
    secrets_by_place: dict[str, dict[str, Any]] = {variable: {} for variable in _BY_PLACE}
    for environment in (*(request.environment for request in requests), more):
        for variable, merged in secrets_by_place.items():
            for place, secret in json.loads(environment.get(variable, "{}")).items():
                if merged.setdefault(place, secret) != secret:
                    raise ConfigError(
                        f"{place} is read by two nodes of a group, each with different credentials: take one of them out of the group."
                    )
        shared |= {name: value for name, value in environment.items() if name not in PER_JOB_VARIABLES}
    return shared | {variable: json.dumps(merged) for variable, merged in secrets_by_place.items() if merged}


def machine_key(name: str) -> dict[str, str]:
    """Return the variable with the key of a machine that is kept, by which the keys of its later jobs are sealed; none without one."""
    with contextlib.suppress(ConfigError):
        return signing_environment(name)
    return {}


def sealed_keys(machine: JobRequest, requests: Iterable[JobRequest], run: str) -> dict[str, str]:
    """Return the keys of jobs that come to a machine later, each sealed by the machine's own: they pass over a volume."""
    own = _keys(machine).get(machine.folder.name)
    keys = {job: key for request in requests for job, key in _keys(request).items()}
    return {} if own is None else {job: sealed(key, own, run, job) for job, key in keys.items()}


def has_machine(machine: JobRequest, request: JobRequest) -> bool:
    """Return whether a machine has what another job needs: the volume, the settings, the packages, the device, and each secret."""
    installs = request.settings.install
    packages = ((machine.requirements, request.requirements), (machine.cpu_requirements, request.cpu_requirements))
    return (
        request.volume == machine.volume
        and request.project == machine.project
        and machine_settings(request.settings) == machine_settings(machine.settings)
        and request.python in ("", machine.python)
        and (not installs or all(set(wanted) <= set(there) for there, wanted in packages))
        and _has_device(machine, request)
        and _has_variables(machine, request)
    )


def machine_settings(settings: NodeSettings) -> dict[str, Any]:
    """Return the settings in which the jobs of a machine that is kept agree."""
    return settings.model_dump(exclude=set(_OF_A_JOB))


def _has_device(machine: JobRequest, request: JobRequest) -> bool:
    """Return whether a machine that was chosen for one workload suits another one."""
    first, workload = machine.workload, request.workload
    if request.settings.gpu == "auto" and workload.is_worth_a_gpu != first.is_worth_a_gpu:
        return False
    return workload.memory_gb <= max(first.memory_gb, _ANY_MACHINE_GB) and workload.ram_gb <= max(first.ram_gb, _ANY_MACHINE_GB)


def _has_variables(machine: JobRequest, request: JobRequest) -> bool:
    """Return whether each variable of a job is in the environment of a machine; a key of its own can follow it there."""
    if _keys(request) and machine.folder.name not in _keys(machine):
        return False
    for name, value in request.environment.items():
        if name in PER_JOB_VARIABLES or name == JOB_KEYS_VARIABLE:
            continue
        there = machine.environment.get(name)
        if name in _BY_PLACE:
            places = json.loads(there or "{}")
            if any(places.get(place) != secret for place, secret in json.loads(value).items()):
                return False
        elif there != value:
            return False
    return True


def _keys(request: JobRequest) -> dict[str, str]:
    keys: dict[str, str] = json.loads(request.environment.get(JOB_KEYS_VARIABLE, "{}"))
    return keys
