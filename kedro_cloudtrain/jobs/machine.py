"""`machine.json`: what runs a job, as its client has noted it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kedro_cloudtrain.jobs.volume_file import Count, Moment, Name, PodName, Seconds, VolumeRecord


class Machine(VolumeRecord):
    """The machine of a job: a process on this computer, a pod, or a group's; every field has its default where none is known.

    Attributes:
        backend: `local` or `runpod`.
        attempt: which try of the job it is; empty where the job was taken from its pod, None where no pod has had it.
        name: the pod's name.
        pod: the pod's id, once it is known.
        group: the name of the group whose machine runs the job.
        client: the id of the client that asked for the pod.
        gpu: the GPU's name.
        gpu_count: how many GPUs each machine has.
        machines: how many machines there are.
        cpu: the CPU's kind, of a pod without a GPU.
        vcpu_count: how many vCPUs that pod has.
        claimed_at: when the pod was asked for, in seconds since 1970.
        created_at: when RunPod had created it.
        started_at: when a process on this computer began.
        usd_per_hour: its price.
        lifetime_s: after how many seconds it ends itself.
        max_price_per_hour_usd: the node's limit on the price, which no client enforces once the run has left the pod; None without one.
        max_cost_usd: the node's limit on the cost, likewise.
    """

    backend: str = ""
    attempt: Annotated[str, Field(pattern=r"\A[A-Za-z0-9_-]{0,64}\z")] | None = None
    name: Name | None = None
    pod: PodName | None = None
    group: Name | None = None
    client: str = ""
    gpu: str | None = None
    gpu_count: Count = 0
    machines: Annotated[int, Field(ge=1, le=250)] = 1
    cpu: str | None = None
    vcpu_count: Count = 0
    claimed_at: Moment = 0.0
    created_at: Moment | None = None
    started_at: Moment | None = None
    usd_per_hour: Annotated[float, Field(ge=0.0, le=1e6)] = 0.0
    lifetime_s: Seconds = 0.0
    max_price_per_hour_usd: Annotated[float, Field(ge=0.0)] | None = None
    max_cost_usd: Annotated[float, Field(ge=0.0)] | None = None
