"""RunPod's REST API v2 as typed values: its answers, and the request that creates a pod."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, field_validator

if TYPE_CHECKING:
    from collections.abc import Mapping

# Anything above it, below 0, or not a number is not a price.
_MOST_USD = 1e6
_MOST_SECONDS = 1e9
# How the id of a cluster that stands for a pod begins.
CLUSTER_PREFIX = "cluster/"
# An id becomes part of a URL: with anything else in it, the URL would read, or delete, something other than a pod.
PodId = Annotated[str, Field(pattern=r"\A(cluster/)?[A-Za-z0-9_-]{1,200}\z")]
ClusterId = Annotated[str, Field(pattern=r"\A[A-Za-z0-9_-]{1,200}\z")]
Usd = Annotated[float, Field(ge=0.0, le=_MOST_USD, allow_inf_nan=False)]


class _Answer(BaseModel):
    """An answer. The vendor's contract grows, so unknown fields are ignored.

    A field that has a default only informs: a value that it cannot have leaves it at that, which stands for what is not known. One odd
    machine must not make a list unreadable in which somebody's pods are looked for.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _unknown_where_it_cannot_be(cls, value: object, parse: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        try:
            return parse(value)
        except ValidationError as error:
            if field.is_required():
                raise
            wrong = {finding["loc"][0] for finding in error.errors() if finding["loc"]}
        if isinstance(value, list):
            with contextlib.suppress(ValidationError):
                return parse([each for number, each in enumerate(value) if number not in wrong])
        return field.get_default()


class RuntimeGpu(_Answer):
    """One GPU of a running pod: how busy it is, in percent."""

    util: float = 0.0
    memory_util: float = Field(0.0, alias="memoryUtil")


class PodRuntime(_Answer):
    """A running container; `uptime` is in seconds since its latest start."""

    uptime: Annotated[float, Field(ge=0.0, le=_MOST_SECONDS, allow_inf_nan=False)] = 0.0
    gpus: tuple[RuntimeGpu, ...] = ()


class PodGpu(_Answer):
    """The GPUs of a pod."""

    id: str
    count: int = 1


class PodMembership(_Answer):
    """A pod's place in a cluster; the rank is None until the cluster has given it one."""

    id: ClusterId
    rank: int | None = None


class Pod(_Answer):
    """A pod; its `env`, which the vendor sends in clear text, is not kept.

    Attributes:
        status: PROVISIONING, STARTING, RUNNING, EXITED, ERROR or TERMINATED.
        name: empty if it has none.
        cost: dollars per hour; 0 once the pod has ended, and where RunPod does not say.
        runtime: None until the container runs.
        cluster: the cluster that it is a member of; None for a pod by itself.
        running_members: how many of its members run, where it stands for a cluster.
    """

    id: PodId
    name: str = ""
    status: str = ""
    cost: Usd = 0.0
    data_center: str | None = Field(None, alias="dataCenterId")
    gpu: PodGpu | None = None
    runtime: PodRuntime | None = None
    created_at: str = Field("", alias="createdAt")
    cluster: PodMembership | None = None
    running_members: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it does no more work, though RunPod may still list it."""
        return self.status in ("EXITED", "ERROR", "TERMINATED")

    def age_s(self, now: dt.datetime) -> float | None:
        """Return the seconds since its creation, or since its container's latest start if the creation is not known; else None.

        Args:
            now: the time by the API's own clock, which has written `created_at`.
        """
        with contextlib.suppress(ValueError, OverflowError):
            created = dt.datetime.fromisoformat(self.created_at)
            return max(0.0, (now - created.replace(tzinfo=created.tzinfo or dt.UTC)).total_seconds())
        return self.runtime.uptime if self.runtime is not None else None


class ClusterCompute(_Answer):
    """The machines of a cluster."""

    pod_count: int = Field(0, alias="podCount", ge=0)


class ClusterPrimary(_Answer):
    """The member with rank 0."""

    pod_id: str = Field("", alias="podId")


class Cluster(_Answer):
    """A cluster: pods of one kind that one request has made, and one request ends."""

    id: ClusterId
    name: str = ""
    compute: ClusterCompute = ClusterCompute(pod_count=0)
    data_center: str | None = Field(None, alias="dataCenterId")
    primary: ClusterPrimary | None = None
    created_at: str = Field("", alias="createdAt")


class Stock(_Answer):
    """The stock of one data centre: NONE, LOW, MEDIUM or HIGH."""

    id: str
    availability: str = "NONE"


class _Offer(_Answer):
    """A kind of machine that RunPod rents out."""

    id: str
    name: str = ""
    availability: str = "NONE"
    data_centers: tuple[Stock, ...] = Field((), alias="dataCenters")

    def stock(self, data_center: str | None) -> str | None:
        """Return the stock of a data centre, or of all if that is None; None if the machine is not sold in the data centre."""
        if data_center is None:
            return self.availability
        return next((place.availability for place in self.data_centers if place.id == data_center), None)


class GpuPrice(_Answer):
    """Dollars per hour for one GPU."""

    secure: Usd
    community: Usd = 0.0


class CudaVersion(_Answer):
    """A CUDA version of a GPU type's hosts, and whether one of them is free."""

    version: str
    available: bool = True


class GpuMaxCount(_Answer):
    """How many GPUs of a type one pod can have, by the largest machine of RunPod's secure cloud; None where that is not known."""

    secure: Annotated[int, Field(ge=1)] | None = None


class Gpu(_Offer):
    """A GPU type that RunPod offers; `memory` is its VRAM in GB."""

    memory: int = Field(0, ge=0)
    secure: bool = True
    max_count: GpuMaxCount = Field(GpuMaxCount(), alias="maxCount")
    price: GpuPrice
    cuda_versions: tuple[CudaVersion, ...] = Field((), alias="cudaVersions")


class VcpuRange(_Answer):
    """The number of vCPUs that a pod of a flavour may have."""

    min: int = 2
    max: int = 32


class CpuPrice(_Answer):
    """Dollars per hour for one vCPU."""

    per_vcpu: Usd = Field(alias="securePerVcpu")


class Cpu(_Offer):
    """A CPU flavour that RunPod offers."""

    vcpu: VcpuRange = VcpuRange()
    ram_gb_per_vcpu: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = Field(2.0, alias="ramGbPerVcpu")
    price: CpuPrice


class NetworkVolumeInfo(_Answer):
    """A network volume; `size` in GB."""

    id: str
    name: str = ""
    size: int = 0
    data_center: str = Field("", alias="dataCenter")


class PodBill(_Answer):
    """What RunPod has charged for a pod, in dollars, in a part of the time."""

    pod_id: str = Field("", alias="podId")
    total_usd: float = Field(0.0, alias="totalAmount", allow_inf_nan=False)


class ClusterBill(_Answer):
    """What RunPod has charged for a cluster, in dollars, in a part of the time."""

    cluster: str = Field("", alias="clusterId")
    total_usd: float = Field(0.0, alias="totalAmount", allow_inf_nan=False)

    @property
    def pod_id(self) -> str:
        """The id of the pod that it stands for."""
        return f"{CLUSTER_PREFIX}{self.cluster}"


class AccountLimits(_Answer):
    """What an account may have at once.

    RunPod's reference (Get account limits) has `spendRate`, an object, as the hourly cap that is checked when a pod starts. The names
    inside it are not in the snapshot of the contract that this client is written to, so a number is taken for the cap or for what runs
    already only if its name says so and no other number's does.
    """

    spend_rate: Any = Field(None, alias="spendRate")

    @property
    def cap_usd_per_hour(self) -> float | None:
        """The most that the account's machines may cost an hour together, in dollars; None if it cannot be told."""
        return self._number("limit", "max", "cap", "allowed")

    @property
    def running_usd_per_hour(self) -> float:
        """What the account's machines cost an hour at present, in dollars; 0 if it cannot be told."""
        return self._number("current", "usage", "used", "running") or 0.0

    def _number(self, *words: str) -> float | None:
        numbers = self.spend_rate.items() if isinstance(self.spend_rate, dict) else ()
        named = [
            float(value)
            for name, value in numbers
            if any(word in str(name).lower() for word in words)
            and isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and value >= 0
        ]
        return named[0] if len(named) == 1 else None


@dataclasses.dataclass(frozen=True)
class PodRequest:
    """The request that creates a pod.

    Attributes:
        name: unique, so that the pod is found again if the answer to its creation is lost.
        image: the container's image.
        args: the container's command, one line that is split as a shell splits it.
        gpu: the GPU type; None for a CPU pod.
        gpu_count: the number of GPUs of each machine.
        machines: the number of machines; more than one are a cluster.
        min_cuda_version: the lowest CUDA version of the host's driver, such as `12.8`.
        min_ram_gb: the least memory of the host that a GPU pod is to have; None asks for none.
        min_vcpu: the least number of vCPUs that it is to have.
        least_is_wanted: whether a user asks for the two, rather than an estimate.
        cpu: the CPU flavour, for a CPU pod.
        vcpu_count: the number of vCPUs, a power of two.
        disk_gb: the size of the container's own disk; with 10, RunPod finds no instance (reported).
        data_center: the only data centre that is allowed; None allows all of them.
        volume_id: the network volume that the pod mounts.
        mount_path: the path at which it is mounted.
        env: the container's environment; its values can be read through the API.
    """

    name: str
    image: str
    args: str
    gpu: str | None = None
    gpu_count: int = 1
    machines: int = 1
    min_cuda_version: str = "12.8"
    min_ram_gb: float | None = None
    min_vcpu: int | None = None
    least_is_wanted: bool = False
    cpu: str | None = None
    vcpu_count: int = 4
    disk_gb: int = 20
    data_center: str | None = None
    volume_id: str | None = None
    mount_path: str = "/workspace"
    env: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def without_least(self) -> PodRequest | None:
        """The request without the least memory and vCPUs of the host; None if it asks for none, or is for a cluster, which has none."""
        if self.gpu is None or self.machines > 1 or (self.min_ram_gb is None and self.min_vcpu is None):
            return None
        return dataclasses.replace(self, min_ram_gb=None, min_vcpu=None)

    @property
    def path(self) -> str:
        """What creates it."""
        return "/v2/pods" if self.machines == 1 else "/v2/clusters"

    def body(self) -> dict[str, Any]:
        """Return the request as the contract's CreatePodRequest, or as its CreateClusterRequest, which names no CUDA and no least host."""
        place: dict[str, Any] = {"dataCenterIds": [self.data_center]} if self.data_center else {}
        if self.volume_id:
            place["mounts"] = {"network": [{"volumeId": self.volume_id, "path": self.mount_path}]}
        container = {"name": self.name, "image": self.image, "args": self.args, "disk": self.disk_gb, "env": dict(self.env)}
        if self.machines > 1:
            compute = {"gpuTypeId": self.gpu, "gpuCountPerPod": self.gpu_count, "podCount": self.machines}
            return {**container, "type": "TRAINING", "compute": compute, **place}
        machine: dict[str, Any] = {"cpu": {"id": self.cpu, "vcpuCount": self.vcpu_count}}
        if self.gpu is not None:
            # Without `count`, RunPod answers that it has no capacity (reported).
            gpu: dict[str, Any] = {"id": self.gpu, "count": self.gpu_count, "minCudaVersion": self.min_cuda_version}
            # Newer than the contract's snapshot of August 2026; each is for one GPU.
            for name, least in (("minRamPerGpu", self.min_ram_gb), ("minVcpuCountPerGpu", self.min_vcpu)):
                gpu |= {name: math.ceil(least / self.gpu_count)} if least is not None else {}
            machine = {"gpu": gpu}
        # Only the secure cloud mounts network volumes.
        return {**container, "cloud": "SECURE", **machine, **place}


@dataclasses.dataclass(frozen=True)
class LogLine:
    """A line of a pod's log; the stream is resumed after its `id`."""

    id: str
    ts: str
    source: str
    line: str
