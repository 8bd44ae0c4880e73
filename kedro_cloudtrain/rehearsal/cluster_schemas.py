"""Clusters in RunPod's REST API v2, as far as the stand-in has them; see `schemas`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kedro_cloudtrain.rehearsal.schemas import MOST_VARIABLES, Mounts, PodStatus, RuleError, Schema

ClusterType = Literal["APPLICATION", "TRAINING", "SLURM", "RAY"]


class ClusterCompute(Schema):
    """The machines of a cluster, which are all alike."""

    gpu_type_id: Annotated[str, Field(min_length=1)]
    gpu_count_per_pod: Annotated[int, Field(ge=1)]
    pod_count: Annotated[int, Field(ge=2, le=250)]


class CreateClusterRequest(Schema):
    """The body of `POST /v2/clusters`."""

    name: Annotated[str, Field(min_length=1)]
    type: ClusterType
    compute: ClusterCompute
    image: str
    args: str = ""
    disk: Annotated[int, Field(ge=1)] = 20
    env: dict[str, str] = Field(default_factory=dict)
    ports: list[str] = Field(default_factory=list)
    data_center_ids: list[str] = Field(default_factory=list)
    mounts: Mounts = Field(default_factory=Mounts)

    @model_validator(mode="after")
    def _few_variables(self) -> Self:
        if len(self.env) > MOST_VARIABLES:
            raise RuleError("at most 50 environment variables")
        return self


class ClusterNetwork(Schema):
    """The network that a cluster's machines share."""

    cidr: str


class ClusterPrimary(Schema):
    """The member with rank 0."""

    pod_id: str
    status: PodStatus


class ClusterPodsSummary(Schema):
    """How many members there are, and how many in each state."""

    total: int
    by_status: dict[str, int]


class Cluster(Schema):
    """A cluster, as `GET /v2/clusters` shows it."""

    id: str
    name: str
    type: ClusterType
    compute: ClusterCompute
    pods: ClusterPodsSummary
    created_at: str
    data_center_id: str | None = None
    network: ClusterNetwork | None = None
    primary: ClusterPrimary | None = None


class ListClustersResponse(Schema):
    """The answer to `GET /v2/clusters`."""

    clusters: list[Cluster]


class ClusterBillingAmounts(Schema):
    """Dollars, by what they were charged for."""

    total_amount: float
    gpu_amount: float
    disk_amount: float
    networking_amount: float


class ClusterBillingRecord(ClusterBillingAmounts):
    """What one cluster was charged in a period."""

    start_time: str
    end_time: str
    cluster_id: str


class ClusterBillingQuery(Schema):
    """What a bill was asked for."""

    start_time: str
    end_time: str
    bucket_size: Literal["hour", "day", "week", "month", "year"]
    cluster_id: str | None


class ClusterBillingMetadata(Schema):
    """A bill's totals."""

    query: ClusterBillingQuery
    record_count: int
    unique_cluster_count: int
    totals: ClusterBillingAmounts


class ListClusterBillingResponse(Schema):
    """The answer to `GET /v2/billing/clusters`."""

    records: list[ClusterBillingRecord]
    metadata: ClusterBillingMetadata
