"""What other programs rely on: the JSON of `plan`, `jobs`, `gpus` and `doctor`, key by key.

A key that is added needs a line here; one that is removed, or changes its type, needs another `version`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, RootModel, StringConstraints


class _Exactly(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False, protected_namespaces=())


Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]


class PlannedInput(_Exactly):
    """An input, by digests."""

    entry: Digest | None
    content: Digest | None


class PlannedWork(_Exactly):
    """What a node would do, by digests."""

    where: Digest
    settings: dict[str, Digest]
    work: dict[Literal["function", "arguments", "returns", "script"], Digest | None]
    parameters: dict[str, Digest | None]
    code: Digest | None
    requirements: Digest | None
    inputs: dict[str, PlannedInput]
    outputs: dict[str, Digest | None]


class PlannedNode(_Exactly):
    """A node: what runs where, what it reads, what it may cost, and what is wrong with it."""

    name: str
    where: Literal["here", "local", "runpod"]
    group: str | None
    keep_s: float
    trains: str | None
    machine: str | None
    stock: str | None
    usd_per_hour: float | None
    reason: str | None
    reads: str | None
    bytes: int | None
    timeout_s: float | None
    estimate_usd: tuple[float, float] | None
    worst_usd: float | None
    notes: list[str]
    problems: list[str]
    doubts: list[str]
    planned: PlannedWork


class PlannedRun(_Exactly):
    """The run as a whole."""

    backend: Literal["local", "runpod"]
    max_pods: int
    max_cost_usd: float | None
    estimate_usd: tuple[float, float] | None
    notes: list[str]
    problems: list[str]
    doubts: list[str]
    planned: dict[str, Digest]


class Plan(_Exactly):
    """`plan --json`."""

    version: Literal[1]
    nodes: list[PlannedNode]
    run: PlannedRun


class Progress(_Exactly):
    """How far a fit is, in rounds; or a prediction, in pieces of its table."""

    step: int
    of: int
    unit: str
    metrics: dict[str, float | None]
    seconds: float


class Failure(_Exactly):
    """Why a job has failed."""

    type: str
    message: str
    stage: str


class Why(_Exactly):
    """Why the latest run ran a job, or reused it."""

    state: Literal["ran", "reused"]
    reason: str


class Pod(_Exactly):
    """A pod, and what it has cost so far."""

    id: str
    name: str
    state: str
    machine: str
    age_s: float
    usd_per_hour: float
    cost_usd: float


class UsedGpu(_Exactly):
    """The GPU that a job has used."""

    name: str
    driver: str
    cuda: str
    count: int
    use_percent: float | None


class Job(_Exactly):
    """A job that this computer has started or reused."""

    name: str
    node: str | None
    state: Literal["waiting", "running", "succeeded", "failed", "timed out", "lost", "cancelled", "pruned"]
    model_type: str | None
    function: str | None
    predicts_by: str | None
    rendered_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    seconds: dict[str, float]
    rows: dict[str, int]
    rows_per_s: float | None
    bytes_read: int | None
    device: str | None
    gpu: UsedGpu | None
    progress: Progress | None
    error: Failure | None
    why: Why | None
    pod: Pod | None
    billed_usd: float | None
    cost_usd: float | None
    folder: str


class Jobs(_Exactly):
    """`jobs --json`: the latest job first, and the pods whose jobs this computer does not have."""

    version: Literal[1]
    jobs: list[Job]
    pods: list[Pod]


class Finding(_Exactly):
    """What was found about one thing that a run needs."""

    name: str
    ok: bool
    message: str
    fix: str
    outage: bool


class Doctor(_Exactly):
    """`doctor --json`."""

    version: Literal[1]
    ok: bool
    findings: list[Finding]


class Gpu(_Exactly):
    """A GPU that RunPod rents out."""

    id: str
    memory_gb: int
    usd_per_hour: float
    stock: str | None
    data_center: str | None
    data_centers: dict[str, str]
    cuda_versions: list[str]


class Gpus(RootModel[list[Gpu]]):
    """`gpus --json`: a list, without a version, as it has always been."""


SCHEMAS: dict[str, Any] = {"plan": Plan, "jobs": Jobs, "doctor": Doctor, "gpus": Gpus}
