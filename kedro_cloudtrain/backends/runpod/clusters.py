"""RunPod's clusters, each of which stands for one pod: it is created, listed, paid for and ended as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from kedro_cloudtrain.backends.runpod.contract import CLUSTER_PREFIX, Cluster, Pod

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class ClusterPod(Pod):
    """A cluster as one pod.

    Attributes:
        machines: how many members it is to have.
        primary: the id of the member with rank 0, whose log is the job's; empty until it has a place.
    """

    machines: int = 0
    primary: str = ""


def pod_id_of(cluster_id: str) -> str:
    """Return the id by which a cluster is known where it stands for a pod."""
    return f"{CLUSTER_PREFIX}{cluster_id}"


def is_cluster(pod_id: str) -> bool:
    """Return whether an id is that of a cluster which stands for a pod."""
    return pod_id.startswith(CLUSTER_PREFIX)


def path_of(pod_id: str) -> str:
    """Return where the API has a pod, or the cluster that stands for one."""
    if is_cluster(pod_id):
        return f"/v2/clusters/{quote(pod_id.removeprefix(CLUSTER_PREFIX), safe='')}"
    return f"/v2/pods/{quote(pod_id, safe='')}"


def primary_of(pod: Pod | None) -> str:
    """Return the id of a cluster's member with rank 0; empty where there is none."""
    return pod.primary if isinstance(pod, ClusterPod) else ""


def as_pod(cluster: Cluster, members: Sequence[Pod]) -> ClusterPod:
    """Return a cluster as one pod.

    Its price is that of all its machines, also while RunPod has not placed them all; its state is that of the member that is worst off.

    Args:
        cluster: the cluster.
        members: those of its pods that exist.
    """
    primary = next((pod for pod in members if pod.cluster is not None and pod.cluster.rank == 0), None)
    priced = [pod.cost for pod in members if pod.cost]
    machines = cluster.compute.pod_count or len(members)
    running = sum(pod.status == "RUNNING" for pod in members)
    waiting = next((pod.status for pod in members if pod.status != "RUNNING"), "PROVISIONING")
    ended = next((pod.status for pod in members if pod.has_ended), None)
    # What is not terminated altogether is still paid for.
    state = "ERROR" if ended == "TERMINATED" else ended
    return ClusterPod(
        id=pod_id_of(cluster.id),
        name=cluster.name,
        status=state or ("RUNNING" if members and running >= machines else waiting),
        cost=sum(priced) / len(priced) * machines if priced else 0.0,
        data_center=cluster.data_center,
        gpu=primary.gpu if primary is not None else None,
        runtime=primary.runtime if primary is not None else None,
        created_at=cluster.created_at,
        machines=machines,
        running_members=running,
        primary=primary.id if primary is not None else (cluster.primary.pod_id if cluster.primary is not None else ""),
    )


def joined(pods: Iterable[Pod], clusters: Iterable[Cluster]) -> list[Pod]:
    """Return pods with those of each cluster as one.

    Args:
        pods: the account's, members of clusters among them.
        clusters: the account's. One that is not there, or cannot be read, is known by its members: they are paid for.
    """
    alone: list[Pod] = []
    members: dict[str, list[Pod]] = {}
    for pod in pods:
        if pod.cluster is None:
            alone.append(pod)
        else:
            members.setdefault(pod.cluster.id, []).append(pod)
    listed = {cluster.id: cluster for cluster in clusters}
    listed |= {each: Cluster(id=each, created_at=members[each][0].created_at) for each in members.keys() - listed.keys()}
    return [*alone, *(as_pod(cluster, members.get(each, [])) for each, cluster in listed.items())]
