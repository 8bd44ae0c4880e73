"""RunPod's REST v2 as typed values: what it answers, and what a pod is created with."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Answer(BaseModel):
    """The contract grows: what is not known here is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class GpuUse(_Answer):
    """How busy one GPU is, in percent."""

    util: int = 0
    memory_util: int = Field(0, alias="memoryUtil")


class PodRuntime(_Answer):
    """A running container: `uptime` in seconds since its (latest) start."""

    uptime: int = 0
    gpus: tuple[GpuUse, ...] = ()


class PodGpu(_Answer):
    """Which GPUs a pod has."""

    id: str
    count: int = 1


class Pod(_Answer):
    """A pod; its `env`, which the vendor gives in clear, is not kept.

    Attributes:
        status: PROVISIONING, STARTING, RUNNING, EXITED, ERROR or TERMINATED.
        cost: dollars an hour; 0 when it has ended.
        runtime: None until the container runs.
    """

    id: str
    name: str = ""
    status: str = ""
    cost: float = 0.0
    data_center: str | None = Field(None, alias="dataCenterId")
    gpu: PodGpu | None = None
    runtime: PodRuntime | None = None
    created_at: str = Field("", alias="createdAt")


class Stock(_Answer):
    """How many there are in one data centre: NONE, LOW, MEDIUM or HIGH."""

    id: str
    availability: str = "NONE"


class GpuPrice(_Answer):
    """Dollars an hour for one GPU."""

    secure: float
    community: float = 0.0


class CudaVersion(_Answer):
    """A CUDA version that hosts of a GPU type have, and whether one of them is free."""

    version: str
    available: bool = True


class Gpu(_Answer):
    """A GPU type of the catalogue; `memory` is its VRAM in GB."""

    id: str
    name: str = ""
    memory: int = 0
    secure: bool = True
    price: GpuPrice
    availability: str = "NONE"
    data_centers: tuple[Stock, ...] = Field((), alias="dataCenters")
    cuda_versions: tuple[CudaVersion, ...] = Field((), alias="cudaVersions")

    def stock(self, data_center: str | None) -> str | None:
        """Say how many there are in a data centre, or anywhere; None where it is not sold."""
        if data_center is None:
            return self.availability
        return next((place.availability for place in self.data_centers if place.id == data_center), None)


class VcpuRange(_Answer):
    """How many vCPUs a pod of a flavour may have."""

    min: int = 2
    max: int = 32


class CpuPrice(_Answer):
    """Dollars an hour for one vCPU."""

    per_vcpu: float = Field(alias="securePerVcpu")


class Cpu(_Answer):
    """A CPU flavour of the catalogue."""

    id: str
    name: str = ""
    vcpu: VcpuRange = VcpuRange()
    ram_gb_per_vcpu: float = Field(2.0, alias="ramGbPerVcpu")
    price: CpuPrice
    availability: str = "NONE"
    data_centers: tuple[Stock, ...] = Field((), alias="dataCenters")

    def stock(self, data_center: str | None) -> str | None:
        """Say how many there are in a data centre, or anywhere; None where it is not sold."""
        if data_center is None:
            return self.availability
        return next((place.availability for place in self.data_centers if place.id == data_center), None)


class NetworkVolumeInfo(_Answer):
    """A network volume; `size` in GB."""

    id: str
    name: str = ""
    size: int = 0
    data_center: str = Field("", alias="dataCenter")


@dataclasses.dataclass(frozen=True)
class PodRequest:
    """What a pod is created with.

    Attributes:
        name: unique, so that a pod whose answer was lost is found again.
        image: the container's image.
        args: the container's command, one line that is split as a shell would.
        gpu: the GPU type; None for a CPU pod.
        gpu_count: how many of them.
        min_cuda_version: the lowest that the host's driver may have, `12.8` say.
        cpu: the CPU flavour, for a CPU pod.
        vcpu_count: how many, a power of two.
        disk_gb: the container's own disk; 10 finds no instance (reported).
        data_center: where it has to be.
        volume_id: the network volume that is mounted.
        mount_path: where.
        env: its environment; values can be read through the API.
    """

    name: str
    image: str
    args: str
    gpu: str | None = None
    gpu_count: int = 1
    min_cuda_version: str = "12.8"
    cpu: str | None = None
    vcpu_count: int = 4
    disk_gb: int = 20
    data_center: str | None = None
    volume_id: str | None = None
    mount_path: str = "/workspace"
    env: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    def body(self) -> dict[str, Any]:
        """Write it as the contract's CreatePodRequest."""
        machine: dict[str, Any] = (
            # Left out, `count` reads as no capacity (reported).
            {"gpu": {"id": self.gpu, "count": self.gpu_count, "minCudaVersion": self.min_cuda_version}}
            if self.gpu is not None
            else {"cpu": {"id": self.cpu, "vcpuCount": self.vcpu_count}}
        )
        return {
            "name": self.name,
            "image": self.image,
            "args": self.args,
            "disk": self.disk_gb,
            "env": dict(self.env),
            # Network volumes are mounted on the secure cloud alone.
            "cloud": "SECURE",
            **machine,
            **({"dataCenterIds": [self.data_center]} if self.data_center else {}),
            **({"mounts": {"network": [{"volumeId": self.volume_id, "path": self.mount_path}]}} if self.volume_id else {}),
        }


@dataclasses.dataclass(frozen=True)
class LogLine:
    """A line of a pod's log; `id` is where the stream is resumed."""

    id: str
    ts: str
    source: str
    line: str
