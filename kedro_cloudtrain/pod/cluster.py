"""A machine's place among those that share a job, and what the first one, which runs it, tells the job of the others."""

from __future__ import annotations

import os
import shutil
import socket
from typing import TYPE_CHECKING, Any

from . import job_folder

if TYPE_CHECKING:
    from pathlib import Path

# The most that an environment takes; the first machine waits this much longer than a machine may take to start.
_ENVIRONMENT_S = 900.0


def machines_of(machine: dict[str, Any]) -> int:
    """Return how many machines share the job."""
    return int(machine.get("machines") or 1)


def rank_of(machine: dict[str, Any]) -> int:
    """Return this machine's number among those of the job; RunPod gives the members of a cluster theirs as NODE_RANK."""
    return int(os.environ.get("NODE_RANK") or 0) if machines_of(machine) > 1 else 0


def folder_of(machine: dict[str, Any]) -> Path:
    """Return the folder by which the machines of an attempt find one another."""
    return job_folder.FOLDER / f"cluster-{machine.get('attempt')}"


def clear(machine: dict[str, Any]) -> None:
    """Remove what earlier attempts have left."""
    for folder in job_folder.FOLDER.iterdir():
        if folder.name.startswith("cluster-") and folder != folder_of(machine):
            shutil.rmtree(folder, ignore_errors=True)


def variables(machine: dict[str, Any]) -> dict[str, str]:
    """Return the environment variables by which the job finds the other machines; none where there are none."""
    if machines_of(machine) == 1:
        return {}
    folder_of(machine).mkdir(exist_ok=True)
    return {
        "CLOUDTRAIN_CLUSTER": str(folder_of(machine)),
        "CLOUDTRAIN_MACHINES": str(machines_of(machine)),
        "CLOUDTRAIN_ADDRESS": own_address(),
        "CLOUDTRAIN_MACHINES_WITHIN_S": str(float(machine.get("startup_timeout_s") or 0.0) + _ENVIRONMENT_S),
    }


def own_address() -> str:
    """Return this machine's address in the cluster's own network: NODE_ADDR, or that from which the first machine is reached."""
    if os.environ.get("NODE_ADDR"):
        return os.environ["NODE_ADDR"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((os.environ.get("PRIMARY_ADDR") or os.environ.get("MASTER_ADDR") or "127.0.0.1", 9))  # nothing is sent
        return str(probe.getsockname()[0])
