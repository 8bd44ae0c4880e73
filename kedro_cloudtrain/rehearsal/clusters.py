"""Clusters that really run: each member is a pod of its own, with its own address on the loopback network."""

from __future__ import annotations

import datetime as dt
import os
import secrets
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.rehearsal import cluster_schemas, schemas

if TYPE_CHECKING:
    from kedro_cloudtrain.rehearsal.pods import RunningPod

_PORT = 29400
# These befall a machine, rather than what all of them do.
OF_A_MACHINE = ("vanishes", "never starts", "loops", "errors")


@dataclass
class RunningCluster:
    """One cluster, from its creation until it is deleted.

    Attributes:
        request: what was asked for.
        members: its pods by rank; those that have vanished are gone.
        is_over: whether it was deleted.
    """

    request: cluster_schemas.CreateClusterRequest
    place: str
    members: list[RunningPod] = field(default_factory=list)
    is_over: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(4))
    created_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def end(self) -> None:
        """End all members."""
        self.is_over = True
        ends = [threading.Thread(target=pod.end) for pod in self.members]
        for end in ends:
            end.start()
        for end in ends:
            end.join()

    @property
    def living(self) -> list[RunningPod]:
        """The members that exist."""
        return [pod for pod in self.members if not pod.gone]

    def view(self) -> cluster_schemas.Cluster:
        """Return the cluster as the API shows it."""
        living = self.living
        first = next((pod for pod in living if pod.rank == 0), None)
        primary: dict[str, Any] = {"primary": {"pod_id": first.id, "status": first.status}} if first is not None else {}
        return cluster_schemas.Cluster(
            id=self.id,
            name=self.request.name,
            type=self.request.type,
            compute=self.request.compute,
            pods=cluster_schemas.ClusterPodsSummary(total=len(living), by_status=dict(Counter(pod.status for pod in living))),
            created_at=self.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            data_center_id=self.place,
            network=cluster_schemas.ClusterNetwork(cidr="127.0.0.0/8"),
            **primary,
        )


def member_request(request: cluster_schemas.CreateClusterRequest, rank: int) -> schemas.CreatePodRequest:
    """Return what a member is asked for."""
    gpu = schemas.CreateGpuConfig(id=request.compute.gpu_type_id, count=request.compute.gpu_count_per_pod)
    shared = ("image", "args", "disk", "env", "ports", "data_center_ids", "mounts")
    return schemas.CreatePodRequest(name=f"{request.name}-node-{rank}", gpu=gpu, **{name: getattr(request, name) for name in shared})


def addresses(number: int, count: int) -> list[str]:
    """Return an address for each member of the account's Nth cluster; one for all where the system has a single loopback address."""
    own = [f"127.{64 + number % 64}.{rank // 250}.{rank % 250 + 1}" for rank in range(count)]
    with socket.socket() as probe:
        try:
            probe.bind((own[0], 0))
        except OSError:
            return ["127.0.0.1"] * count
    return own


def cores_of(rank: int, count: int) -> tuple[int, ...]:
    """Return the cores of this computer that a member has: each of it has its part of them, as another machine would have its own."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return tuple(cores[rank::count] or cores[rank % len(cores) :][:1]) if cores else ()


def variables(addresses: list[str], rank: int, gpu_count: int) -> dict[str, str]:
    """Return what a member finds in its environment (the vendor's pages on Instant Clusters: Configuration reference)."""
    return {
        "PRIMARY_ADDR": addresses[0],
        "MASTER_ADDR": addresses[0],
        "PRIMARY_PORT": str(_PORT),
        "MASTER_PORT": str(_PORT),
        "HOST_NODE_ADDR": f"{addresses[0]}:{_PORT}",
        "NODE_ADDR": addresses[rank],
        "NODE_RANK": str(rank),
        "NUM_NODES": str(len(addresses)),
        "NUM_TRAINERS": str(gpu_count),
        "WORLD_SIZE": str(len(addresses) * gpu_count),
    }
