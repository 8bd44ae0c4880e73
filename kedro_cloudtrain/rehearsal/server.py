"""RunPod's REST API v2 on loopback, held to the vendor's contract in both directions."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from kedro_cloudtrain.rehearsal import cluster_schemas, schemas
from kedro_cloudtrain.rehearsal.answers import Server
from kedro_cloudtrain.rehearsal.calls import Call, RefusalError
from kedro_cloudtrain.rehearsal.clusters import OF_A_MACHINE, RunningCluster, addresses, cores_of, member_request, variables
from kedro_cloudtrain.rehearsal.faults import NO_CAPACITY, CallFault, Faults, PodFault
from kedro_cloudtrain.rehearsal.offers import Offers
from kedro_cloudtrain.rehearsal.pods import RunningPod, namespaces_work
from kedro_cloudtrain.rehearsal.quota import Quota

_BODY_BYTES = 102_400

Request = TypeVar("Request", bound=schemas.Schema)


@dataclass
class RunPodStandIn:
    """`with RunPodStandIn(root) as runpod: runpod.base_url`.

    Attributes:
        root: each folder in it is a network volume.
        volumes: their data centres, by id.
        secrets: the account's secrets, by name.
        quota_per_minute: the calls per minute; None sets no limit.
        start_delay_s: how long a host takes to start a container.
        clock_behind_s: how far its clock is behind.
        isolated: whether pods run in namespaces of their own; None uses them if this user may.
        hidden: folders that its pods do not see, beside the home, the temporary and the current one.
        newer: whether it has the fields that are newer than the contract's file.
        host_ram_gb: the memory of its hosts for each GPU.
        account_limits: the answer to a question for the account's limits, which are not in the contract; None: 404.
        bills: whether the bill has the pods that have ended.
        offers: the machines and network volumes that it offers.
        faults: the faults to come.
        calls: every request that has arrived.
        pods: every pod that was created, by id; members of clusters among them.
        clusters: every cluster that was created, by id.
        odd_pods: entries of each list of pods that break the contract.
    """

    root: Path
    volumes: dict[str, str] = field(default_factory=lambda: {"abc123xyz": "EU-RO-1"})
    secrets: dict[str, str] = field(default_factory=dict)
    quota_per_minute: int | None = None
    start_delay_s: float = 0.0
    clock_behind_s: float = 0.0
    isolated: bool | None = None
    hidden: tuple[Path, ...] = ()
    newer: bool = True
    host_ram_gb: int = 64
    account_limits: dict[str, Any] | None = None
    bills: bool = False
    offers: Offers = field(default_factory=Offers)
    faults: Faults = field(default_factory=Faults)
    calls: list[Call] = field(default_factory=list)
    pods: dict[str, RunningPod] = field(default_factory=dict)
    clusters: dict[str, RunningCluster] = field(default_factory=dict)
    odd_pods: list[Any] = field(default_factory=list)

    def __enter__(self) -> Self:
        if self.isolated is None:
            self.isolated = namespaces_work()
        for volume_id, place in self.volumes.items():
            (self.root / volume_id).mkdir(parents=True, exist_ok=True)
            self.offers.add_volume(volume_id, place)
        self.quota = Quota(self.quota_per_minute)
        self._lock = threading.Lock()
        self._scratch = tempfile.TemporaryDirectory(prefix="runpod-")
        self._http = Server(self)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self.end_pods()
        self._scratch.cleanup()

    @property
    def base_url(self) -> str:
        """The URL of the API."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def living(self) -> list[RunningPod]:
        """The pods that exist and cost money."""
        return [pod for pod in list(self.pods.values()) if not pod.gone]

    def end_pods(self) -> None:
        """Terminate all pods."""
        for pod in self.living:
            pod.end()

    def put(self, name: str, minutes: float = 30, gpu: str = "NVIDIA L4", usd_per_hour: float | None = None) -> RunningPod:
        """Add a pod that was created a while ago and does nothing."""
        body = {"name": name, "image": "any", "args": "sleep 600", "gpu": {"id": gpu, "count": 1}, "dataCenterIds": ["EU-RO-1"]}
        pod = self.create(body)
        pod.age(minutes * 60)
        pod.usd_per_hour = usd_per_hour if usd_per_hour is not None else pod.usd_per_hour
        return pod

    @property
    def living_clusters(self) -> list[RunningCluster]:
        """The clusters that were not deleted."""
        return [cluster for cluster in list(self.clusters.values()) if not cluster.is_over]

    def requests(self, call: str) -> list[Call]:
        """Return the requests of a method and a path, such as `GET /v2/pods`; a `*` stands for one part of the path."""
        return [request for request in list(self.calls) if CallFault(call).matches(request.method, request.path, None)]

    def create(self, body: Any) -> RunningPod:
        """Create a pod from a request's body.

        Raises:
            RefusalError: the body breaks the contract or a rule, or no machine is free.
        """
        request = _parse(body, schemas.NewerCreatePodRequest if self.newer else schemas.CreatePodRequest)
        self._check_place(request)
        if isinstance(request.gpu, schemas.NewerCreateGpuConfig) and (request.gpu.min_ram_per_gpu or 0) > self.host_ram_gb:
            raise RefusalError(400, NO_CAPACITY)
        return self._start(request, self.faults.take_pod_fault(has_gpu=request.gpu is not None))

    def create_cluster(self, body: Any) -> RunningCluster:
        """Create a cluster from a request's body.

        Raises:
            RefusalError: the body breaks the contract or a rule, or no machines are free.
        """
        request = _parse(body, cluster_schemas.CreateClusterRequest)
        requests = [member_request(request, rank) for rank in range(request.compute.pod_count)]
        self._check_place(requests[0])
        machine = self.offers.gpu(request.compute.gpu_type_id)
        if machine is None or machine.id in self.offers.single or request.compute.gpu_count_per_pod > machine.max_count.secure:
            raise RefusalError(400, NO_CAPACITY)
        cluster = RunningCluster(request, request.data_center_ids[0] if request.data_center_ids else "EU-RO-1")
        fault = self.faults.take_pod_fault()
        hosts = addresses(len(self.clusters), len(requests))
        befallen = len(requests) - 1 if fault is not None and fault.kind in OF_A_MACHINE else 0
        for rank, member in enumerate(requests):
            cluster.members.append(
                self._start(
                    member,
                    fault if rank == befallen or (fault is not None and fault.kind == "dear") else None,
                    cluster=cluster.id,
                    rank=rank,
                    cores=cores_of(rank, len(requests)),
                    variables=variables(hosts, rank, request.compute.gpu_count_per_pod),
                )
            )
        self.clusters[cluster.id] = cluster
        return cluster

    def _start(self, request: schemas.CreatePodRequest, fault: PodFault | None, **membership: Any) -> RunningPod:
        machine = self.offers.gpu(request.gpu.id) if request.gpu is not None else None
        count = request.gpu.count if request.gpu is not None else 0
        cpu = self.offers.cpu(request.cpu.id) if request.cpu is not None else None
        price = machine.price.secure * count if machine is not None else 0.0
        if cpu is not None and request.cpu is not None:
            price = cpu.price.secure_per_vcpu * request.cpu.vcpu_count
        mount = next(iter(request.mounts.network), None)
        pod = RunningPod(
            request,
            place=request.data_center_ids[0] if request.data_center_ids else "EU-RO-1",
            volume=self.root / mount.volume_id if mount is not None else None,
            usd_per_hour=price * (10 if fault is not None and fault.kind == "dear" else 1),
            secrets=self.secrets,
            scratch=Path(self._scratch.name),
            memory_gb=machine.memory if machine is not None else 0,
            start_delay_s=self.start_delay_s,
            fault=fault,
            isolated=bool(self.isolated),
            hidden=self.hidden,
            **membership,
        )
        if fault is not None and fault.kind == "dear":
            fault.happened = True
        with self._lock:
            self.pods[pod.id] = pod
        pod.start()
        return pod

    def _check_place(self, request: schemas.CreatePodRequest) -> None:
        for mount in request.mounts.network:
            volume = self.offers.volumes.get(mount.volume_id)
            if volume is None:
                raise RefusalError(400, f"network volume {mount.volume_id} not found")
            if request.data_center_ids and volume.data_center not in request.data_center_ids:
                raise RefusalError(400, f"network volume {mount.volume_id} is in {volume.data_center}")
        machine: schemas.GpuType | schemas.CpuType | None
        machine = self.offers.gpu(request.gpu.id) if request.gpu else self.offers.cpu(request.cpu.id if request.cpu else "")
        if machine is None:
            raise RefusalError(400, f"unknown machine {request.gpu.id if request.gpu else request.cpu}")
        places = {place.id: place.availability for place in machine.data_centers or ()}
        if all(places.get(place, "NONE") == "NONE" for place in request.data_center_ids or places):
            raise RefusalError(400, NO_CAPACITY)

    def view(self, pod: RunningPod) -> schemas.Pod:
        """Return a pod as the API shows it, its environment in clear text."""
        request, running = pod.request, pod.running_since is not None and not pod.gone
        gpus = [schemas.PodGpuUtilization(util=87, memory_util=40)] * (request.gpu.count if request.gpu else 0)
        member: dict[str, Any] = (
            {"cluster": schemas.PodCluster(id=pod.cluster, rank=pod.rank, ip=pod.variables["NODE_ADDR"])} if pod.cluster else {}
        )
        machine: dict[str, Any] = {"gpu": schemas.GpuConfig(id=request.gpu.id, count=request.gpu.count)} if request.gpu else {}
        if request.cpu is not None:
            machine = {"cpu": schemas.CpuConfig(id=request.cpu.id, vcpu_count=request.cpu.vcpu_count, memory=2 * request.cpu.vcpu_count)}
        return schemas.Pod(
            id=pod.id,
            name=request.name,
            status=pod.status,  # type: ignore[arg-type]
            actions=["restart", "stop", "terminate"],
            image=request.image,
            args=request.args,
            disk=request.disk,
            mounts=request.mounts,
            ports=request.ports,
            env=request.env,
            registry=request.registry,
            cloud=request.cloud,
            data_center_id=pod.place,
            cuda_version="12.8" if request.gpu else None,
            ssh=schemas.PodSsh(proxy=None, direct=None),
            template=None,
            cost=0.0 if pod.gone else pod.usd_per_hour,
            locked=False,
            global_networking=schemas.PodGlobalNetworking(enabled=False),
            runtime=schemas.PodRuntime(uptime=pod.uptime_s, gpus=gpus) if running else None,
            created_at=_time(pod.created_at),
            started_at=_time(pod.created_at) if running else None,
            **machine,
            **member,
        )

    def bill(self, pod_id: str | None) -> schemas.ListPodBillingResponse:
        """Return the bill of the pods that have ended, or of one; it is empty while `bills` is false."""
        now = _time(dt.datetime.now(dt.UTC))
        billed = [pod for pod in self.pods.values() if self.bills and pod.gone and not pod.cluster and pod_id in (None, pod.id)]
        records = [
            schemas.PodBillingRecord(
                total_amount=pod.cost_usd,
                gpu_amount=pod.cost_usd,
                cpu_amount=0.0,
                disk_amount=0.0,
                start_time=now,
                end_time=now,
                pod_id=pod.id,
            )
            for pod in billed
        ]
        total = sum(record.total_amount for record in records)
        totals = schemas.PodBillingAmounts(total_amount=total, gpu_amount=total, cpu_amount=0.0, disk_amount=0.0)
        query = schemas.PodBillingQuery(start_time=now, end_time=now, bucket_size="day", pod_id=pod_id)
        metadata = schemas.PodBillingMetadata(query=query, record_count=len(records), unique_pod_count=len(records), totals=totals)
        return schemas.ListPodBillingResponse(records=records, metadata=metadata)

    def bill_clusters(self, cluster_id: str | None) -> cluster_schemas.ListClusterBillingResponse:
        """Return the bill of the clusters that have ended, or of one; it is empty while `bills` is false."""
        now = _time(dt.datetime.now(dt.UTC))
        billed = [each for each in self.clusters.values() if self.bills and each.is_over and cluster_id in (None, each.id)]
        records = []
        for cluster in billed:
            cost_usd = sum(pod.cost_usd for pod in cluster.members)
            amounts = {"total_amount": cost_usd, "gpu_amount": cost_usd, "disk_amount": 0.0, "networking_amount": 0.0}
            records.append(cluster_schemas.ClusterBillingRecord(start_time=now, end_time=now, cluster_id=cluster.id, **amounts))
        total = sum(record.total_amount for record in records)
        totals = cluster_schemas.ClusterBillingAmounts(total_amount=total, gpu_amount=total, disk_amount=0.0, networking_amount=0.0)
        query = cluster_schemas.ClusterBillingQuery(start_time=now, end_time=now, bucket_size="day", cluster_id=cluster_id)
        counted = {"record_count": len(records), "unique_cluster_count": len(records)}
        metadata = cluster_schemas.ClusterBillingMetadata(query=query, totals=totals, **counted)
        return cluster_schemas.ListClusterBillingResponse(records=records, metadata=metadata)


def _parse(body: Any, schema: type[Request]) -> Request:
    if len(json.dumps(body)) > _BODY_BYTES:
        raise RefusalError(413, "request body too large")
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        details = [f"$.{'.'.join(str(part) for part in finding['loc'])}: {finding['msg']}" for finding in error.errors()]
        rules = [finding for finding in error.errors() if isinstance(finding.get("ctx", {}).get("error"), schemas.RuleError)]
        if rules:
            raise RefusalError(400, str(rules[0]["msg"])) from None
        raise RefusalError(422, "request validation failed", details) from None


def _time(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
