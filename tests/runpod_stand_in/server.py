"""RunPod's REST v2 on loopback, held to the vendor's contract in both directions."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from . import schemas
from .answers import Server
from .calls import Call, RefusalError
from .catalogue import Catalogue
from .faults import NO_CAPACITY, CallFault, Faults
from .pods import RunningPod, namespaces_work
from .quota import Quota

_BODY_BYTES = 102_400


@dataclass
class RunPodStandIn:
    """`with RunPodStandIn(root) as runpod: runpod.base_url`.

    Attributes:
        root: each folder in it is a network volume.
        volumes: their data centres, by id.
        secrets: what the account has under Secrets, by name.
        quota_per_minute: of calls; None is without end.
        start_delay_s: how long a host needs to start a container.
        clock_behind_s: by how much its clock is late.
        calls: every request that was made.
        pods: every pod that was ever made, by id.
    """

    root: Path
    volumes: dict[str, str] = field(default_factory=lambda: {"abc123xyz": "EU-RO-1"})
    secrets: dict[str, str] = field(default_factory=dict)
    quota_per_minute: int | None = None
    start_delay_s: float = 0.0
    clock_behind_s: float = 0.0
    isolated: bool | None = None
    bills: bool = False
    catalogue: Catalogue = field(default_factory=Catalogue)
    faults: Faults = field(default_factory=Faults)
    calls: list[Call] = field(default_factory=list)
    pods: dict[str, RunningPod] = field(default_factory=dict)

    def __enter__(self) -> Self:
        if self.isolated is None:
            self.isolated = namespaces_work()
        for volume_id, place in self.volumes.items():
            (self.root / volume_id).mkdir(parents=True, exist_ok=True)
            self.catalogue.add_volume(volume_id, place)
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
        """Where the API is."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def living(self) -> list[RunningPod]:
        """The pods that are, and cost money."""
        return [pod for pod in list(self.pods.values()) if not pod.gone]

    def end_pods(self) -> None:
        """End every pod."""
        for pod in self.living:
            pod.end()

    def put(self, name: str, minutes: float = 30, gpu: str = "NVIDIA L4", usd_per_hour: float | None = None) -> RunningPod:
        """Have a pod that was made a while ago, and that does nothing."""
        body = {"name": name, "image": "any", "args": "sleep 600", "gpu": {"id": gpu, "count": 1}, "dataCenterIds": ["EU-RO-1"]}
        pod = self.create(body)
        pod.age(minutes * 60)
        pod.usd_per_hour = usd_per_hour if usd_per_hour is not None else pod.usd_per_hour
        return pod

    def requests(self, call: str) -> list[Call]:
        """Give the requests of a method and a path: `GET /v2/pods`; a path's `*` stands for one part."""
        return [one for one in list(self.calls) if CallFault(call).matches(one.method, one.path, None)]

    def create(self, body: Any) -> RunningPod:
        """Make a pod of a request's body.

        Raises:
            RefusalError: it breaks the contract or a rule, or there is no capacity.
        """
        request = _parsed(body)
        self._check_place(request)
        machine = self.catalogue.gpu(request.gpu.id) if request.gpu is not None else None
        count = request.gpu.count if request.gpu is not None else 0
        cpu = self.catalogue.cpu(request.cpu.id) if request.cpu is not None else None
        price = machine.price.secure * count if machine is not None else 0.0
        if cpu is not None and request.cpu is not None:
            price = cpu.price.secure_per_vcpu * request.cpu.vcpu_count
        mount = next(iter(request.mounts.network), None)
        pod = RunningPod(
            request,
            place=request.data_center_ids[0] if request.data_center_ids else "EU-RO-1",
            volume=self.root / mount.volume_id if mount is not None else None,
            usd_per_hour=price,
            secrets=self.secrets,
            scratch=Path(self._scratch.name),
            memory_gb=machine.memory if machine is not None else 0,
            start_delay_s=self.start_delay_s,
            fault=self.faults.of_pod(),
            isolated=bool(self.isolated),
        )
        with self._lock:
            self.pods[pod.id] = pod
        pod.start()
        return pod

    def _check_place(self, request: schemas.CreatePodRequest) -> None:
        for mount in request.mounts.network:
            volume = self.catalogue.volumes.get(mount.volume_id)
            if volume is None:
                raise RefusalError(400, f"network volume {mount.volume_id} not found")
            if request.data_center_ids and volume.data_center not in request.data_center_ids:
                raise RefusalError(400, f"network volume {mount.volume_id} is in {volume.data_center}")
        chosen: schemas.GpuType | schemas.CpuType | None
        chosen = self.catalogue.gpu(request.gpu.id) if request.gpu else self.catalogue.cpu(request.cpu.id if request.cpu else "")
        if chosen is None:
            raise RefusalError(400, f"unknown machine {request.gpu.id if request.gpu else request.cpu}")
        places = {place.id: place.availability for place in chosen.data_centers or ()}
        if all(places.get(place, "NONE") == "NONE" for place in request.data_center_ids or places):
            raise RefusalError(400, NO_CAPACITY)

    def view(self, pod: RunningPod) -> schemas.Pod:
        """Show a pod as the API does, its environment in clear."""
        request, running = pod.request, pod.running_since is not None and not pod.gone
        gpus = [schemas.PodGpuUtilization(util=87, memory_util=40)] * (request.gpu.count if request.gpu else 0)
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
        )

    def bill(self, pod_id: str | None) -> schemas.ListPodBillingResponse:
        """Bill the pods that have ended, or one; nothing where the bill is not there yet."""
        now = _time(dt.datetime.now(dt.UTC))
        billed = [pod for pod in self.pods.values() if self.bills and pod.gone and pod_id in (None, pod.id)]
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


def _parsed(body: Any) -> schemas.CreatePodRequest:
    if len(json.dumps(body)) > _BODY_BYTES:
        raise RefusalError(413, "request body too large")
    try:
        return schemas.CreatePodRequest.model_validate(body)
    except ValidationError as error:
        said = [f"$.{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
        rules = [one for one in error.errors() if isinstance(one.get("ctx", {}).get("error"), schemas.RuleError)]
        if rules:
            raise RefusalError(400, str(rules[0]["msg"])) from None
        raise RefusalError(422, "request validation failed", said) from None


def _time(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
