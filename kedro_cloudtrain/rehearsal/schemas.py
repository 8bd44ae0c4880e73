"""The part of RunPod's REST API v2 that the stand-in has: it reads every request as one of these, and writes every answer from one.

From the vendor's contract of August 2026 (openapi-v2.json); tests/backends/runpod/test_vendor_contract.py compares them with it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

Availability = Literal["NONE", "LOW", "MEDIUM", "HIGH"]
Cloud = Literal["SECURE", "COMMUNITY"]
PodStatus = Literal["PROVISIONING", "STARTING", "RUNNING", "EXITED", "ERROR", "TERMINATED"]
PodAction = Literal["start", "stop", "restart", "terminate"]
CudaRelease = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")]

MOST_VARIABLES = 50


class Schema(BaseModel):
    """JSON in camelCase; undeclared fields are refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)

    def json_object(self) -> dict[str, Any]:
        """Return it as the API writes it: without the fields that were not set, with those that are null."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class RuleError(ValueError):
    """A body that matches the contract and breaks a rule across its fields: 400, not 422."""


class GpuConfig(Schema):
    """A type of GPU, and how many."""

    id: str
    count: Annotated[int, Field(ge=1)] = 1


class CreateGpuConfig(GpuConfig):
    """The GPUs that a request asks for; the CUDA releases limit the hosts."""

    allowed_cuda_versions: list[CudaRelease] | None = None
    min_cuda_version: CudaRelease | None = None


class NewerCreateGpuConfig(CreateGpuConfig):
    """With the fields that are newer than the contract's file (vendor's pages, November 2026)."""

    min_ram_per_gpu: Annotated[int, Field(ge=1)] | None = None
    min_vcpu_count_per_gpu: Annotated[int, Field(ge=1)] | None = None


class CreateCpuConfig(Schema):
    """The CPU flavour that a request asks for."""

    id: Annotated[str, Field(min_length=1)]
    vcpu_count: Annotated[int, Field(ge=2)]


class CpuConfig(CreateCpuConfig):
    """The CPU flavour of a pod; `memory` is in GB."""

    memory: Annotated[int, Field(ge=1)]


class NetworkMount(Schema):
    """A network volume, and where the pod sees it."""

    volume_id: str
    path: str


class PersistentMount(Schema):
    """A disk of the pod's own; `size` is in GB."""

    size: Annotated[int, Field(ge=10)]
    path: str


class Mounts(Schema):
    """What a pod mounts."""

    persistent: PersistentMount | None = None
    network: Annotated[list[NetworkMount], Field(max_length=1)] = Field(default_factory=list)


class CreatePodRequest(Schema):
    """The body of `POST /v2/pods`."""

    name: Annotated[str, Field(min_length=1)]
    image: str
    args: str = ""
    disk: Annotated[int, Field(ge=1)] = 20
    env: dict[str, str] = Field(default_factory=dict)
    ports: list[str] = Field(default_factory=list)
    registry: str | None = None
    cloud: Cloud = "SECURE"
    data_center_ids: list[str] = Field(default_factory=list)
    gpu: CreateGpuConfig | None = None
    cpu: CreateCpuConfig | None = None
    mounts: Mounts = Field(default_factory=Mounts)

    @model_validator(mode="after")
    def _one_kind_of_machine(self) -> Self:
        if (self.gpu is None) == (self.cpu is None):
            raise RuleError("exactly one of gpu or cpu must be set")
        if self.cpu is not None and self.mounts.persistent is not None:
            raise RuleError("mounts.persistent is invalid for CPU pods")
        if self.cpu is not None and self.cpu.vcpu_count & (self.cpu.vcpu_count - 1):
            raise RuleError("vcpuCount must be a power of two")
        if self.gpu is not None and self.gpu.allowed_cuda_versions and self.gpu.min_cuda_version:
            raise RuleError("allowedCudaVersions and minCudaVersion are mutually exclusive")
        if len(self.env) > MOST_VARIABLES:
            raise RuleError("at most 50 environment variables")
        if self.mounts.network and self.cloud != "SECURE":
            raise RuleError("only the secure cloud mounts network volumes")
        return self


class NewerCreatePodRequest(CreatePodRequest):
    """The same, with the fields that are newer than the contract's file."""

    gpu: NewerCreateGpuConfig | None = None


class PodActionRequest(Schema):
    """The body of `POST /v2/pods/ID/action`."""

    action: PodAction


class Utilization(Schema):
    """How busy a device is, in percent."""

    util: int = 0


class PodGpuUtilization(Schema):
    """How busy a GPU and its memory are, in percent."""

    util: int = 0
    memory_util: int = 0


class PodRuntime(Schema):
    """The running container; `uptime` is in seconds."""

    uptime: int = 0
    gpus: list[PodGpuUtilization] = Field(default_factory=list)
    cpu: Utilization | None = None
    memory: Utilization | None = None


class PodSshEndpoint(Schema):
    """Where a pod is reached by SSH."""

    host: str
    port: int
    username: str
    command: str


class PodSsh(Schema):
    """Both ways to reach a pod by SSH."""

    proxy: PodSshEndpoint | None
    direct: PodSshEndpoint | None


class PodGlobalNetworking(Schema):
    """Whether a pod has an address in the account's own network."""

    enabled: bool


class PodCluster(Schema):
    """A pod's place in a cluster, and its address in the cluster's network."""

    id: str
    rank: int | None
    ip: str | None = None


class Pod(Schema):
    """A pod, as `GET /v2/pods` shows it; `cost` is in dollars per hour, `disk` in GB."""

    id: str
    name: str
    status: PodStatus
    actions: list[PodAction]
    image: str
    args: str
    disk: int
    mounts: Mounts
    ports: list[str]
    env: dict[str, str]
    registry: str | None
    cloud: Cloud
    data_center_id: str | None
    cuda_version: str | None
    ssh: PodSsh
    template: str | None
    cost: float
    locked: bool
    global_networking: PodGlobalNetworking
    runtime: PodRuntime | None
    created_at: str
    started_at: str | None
    gpu: GpuConfig | None = None
    cpu: CpuConfig | None = None
    cluster: PodCluster | None = None


class ListPodsResponse(Schema):
    """The answer to `GET /v2/pods`."""

    pods: list[Pod]


class DataCenterAvailability(Schema):
    """The stock of a machine in one data centre."""

    id: str
    name: str
    availability: Availability


class CudaVersionAvailability(Schema):
    """Whether hosts with a CUDA release are there."""

    version: CudaRelease
    available: bool


class GpuTypePrice(Schema):
    """Dollars per hour of one GPU, by cloud."""

    secure: float
    community: float


class GpuTypeMaxCount(Schema):
    """How many GPUs of a type one pod may have, by cloud."""

    secure: int
    community: int


class GpuType(Schema):
    """A type of GPU in the catalogue; `memory` is in GB."""

    id: str
    name: str
    pool: str | None
    manufacturer: Literal["NVIDIA", "AMD", "UNKNOWN"]
    memory: int
    secure: bool
    community: bool
    price: GpuTypePrice
    max_count: GpuTypeMaxCount
    availability: Availability | None = None
    data_centers: list[DataCenterAvailability] | None = None
    cuda_versions: list[CudaVersionAvailability] | None = None


class ListGpuTypesResponse(Schema):
    """The answer to `GET /v2/catalog/gpus`."""

    gpus: list[GpuType]


class CpuTypeVcpu(Schema):
    """How many vCPUs a pod of a flavour may have."""

    min: int
    max: int


class CpuTypePrice(Schema):
    """Dollars per hour of one vCPU, by product."""

    secure_per_vcpu: float
    serverless_per_vcpu: float


class CpuType(Schema):
    """A CPU flavour in the catalogue."""

    id: str
    name: str
    group: str
    vcpu: CpuTypeVcpu
    ram_gb_per_vcpu: float
    price: CpuTypePrice
    availability: Availability | None = None
    data_centers: list[DataCenterAvailability] | None = None


class ListCpuTypesResponse(Schema):
    """The answer to `GET /v2/catalog/cpus`."""

    cpus: list[CpuType]


class NetworkVolume(Schema):
    """A network volume; `size` is in GB."""

    id: str
    name: str
    size: Annotated[int, Field(ge=10, le=4096)]
    data_center: str
    type: Literal["STANDARD", "HIGH_PERFORMANCE"]


class PodBillingAmounts(Schema):
    """Dollars, by what they were charged for."""

    total_amount: float
    gpu_amount: float
    cpu_amount: float
    disk_amount: float


class PodBillingRecord(PodBillingAmounts):
    """What one pod was charged in a period."""

    start_time: str
    end_time: str
    pod_id: str


class PodBillingQuery(Schema):
    """What a bill was asked for."""

    start_time: str
    end_time: str
    bucket_size: Literal["hour", "day", "week", "month", "year"]
    pod_id: str | None


class PodBillingMetadata(Schema):
    """A bill's totals."""

    query: PodBillingQuery
    record_count: int
    unique_pod_count: int
    totals: PodBillingAmounts


class ListPodBillingResponse(Schema):
    """The answer to `GET /v2/billing/pods`."""

    records: list[PodBillingRecord]
    metadata: PodBillingMetadata


class ErrorResponse(Schema):
    """A problem, as every refusal describes it."""

    title: str
    status: int
    detail: str
    errors: list[str] | None = None
