"""Launching pods: claim the job, reserve its worst case, create the pod, and leave none that nobody knows of."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.backends.runpod.budget import pod_time_s, worst_usd
from kedro_cloudtrain.backends.runpod.claim import client_id
from kedro_cloudtrain.backends.runpod.clock import now_s
from kedro_cloudtrain.backends.runpod.contract import PodRequest
from kedro_cloudtrain.backends.runpod.environments import Environments
from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry
from kedro_cloudtrain.backends.runpod.offers import CachedOffers, choose, no_capacity
from kedro_cloudtrain.backends.runpod.pace import Pace
from kedro_cloudtrain.backends.runpod.placement import Placement
from kedro_cloudtrain.backends.runpod.pod_names import pod_name, pod_prefix
from kedro_cloudtrain.backends.runpod.releases import with_releases
from kedro_cloudtrain.backends.runpod.spending import CENT_USD, DearPodError
from kedro_cloudtrain.errors import ApiError, CapacityError, CloudTrainError, JobCancelledError
from kedro_cloudtrain.jobs.environment_name import environment_name
from kedro_cloudtrain.jobs.lock import uv_release
from kedro_cloudtrain.secrecy import variables_of
from kedro_cloudtrain.worker.protocol import ATTEMPT_VARIABLE, GPU_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Collection

    from kedro_cloudtrain.backends.backend import JobRequest
    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.claim import Claim
    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.backends.runpod.offers import Candidate
    from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
    from kedro_cloudtrain.backends.runpod.spending import Spending
    from kedro_cloudtrain.backends.runpod.watching import PodWatch
    from kedro_cloudtrain.storage.s3 import S3Store

logger = logging.getLogger("kedro.cloudtrain")

MOUNT = "/workspace"
_FORBIDDEN = 403
# How an API answers that is older than the fields for the host's memory and vCPUs.
_UNKNOWN_FIELD = (400, 422)
# A host has more than this for each GPU: what needs less asks for nothing.
_ANY_HOST_GB = 16.0


class Launcher:
    """Creates pods for jobs whose files are on the volume.

    Args:
        api: the client of RunPod's API.
        volume: the network volume that the pods mount.
        project_id: the project's id, which its pods' names begin with, so that `kedro cloudtrain reap` finds them.
        watch: creates the pods, and ends one that turned out not to be wanted.
        closed: set once the run is over; no pod is created after that.
        pace: how often the offers are asked for.
    """

    def __init__(
        self,
        api: RunPodApi,
        volume: S3Store,
        project_id: str,
        watch: PodWatch,
        closed: threading.Event | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._api = api
        self._volume = volume
        self._prefix = pod_prefix(project_id)
        self._watch = watch
        self._closed = closed if closed is not None else threading.Event()
        self._pace = pace if pace is not None else Pace()
        self._offers = CachedOffers(api, self._pace.offers_cached_s)

    def launch(
        self,
        request: JobRequest,
        claim: Claim,
        spending: Spending,
        faulty: Collection[str] = (),
        dear: dict[str, str] | None = None,
        *,
        give_up_at: float | None = None,
        detached: bool = False,
    ) -> Placement:
        """Create one pod for a job, on the first machine that is free.

        Args:
            request: the job.
            claim: this client's claim on it.
            spending: what its pods cost, or may still cost.
            faulty: the kinds of machines whose hosts could not do the job; they come last.
            dear: the kinds of machines that have turned out to cost more than is allowed, with the reason; they are not taken, and more
                are added to them.
            give_up_at: until when a free machine is waited for, by the monotonic clock; left out, as long as the job's settings say.
            detached: whether the pod is to be left alone, rather than followed.

        Raises:
            CapacityError: no machine is free.
            ConfigError: no releases of the packages meet the requirements.
            BudgetExceededError: the pod could cost more than was allowed.
            ClaimedError: another client has claimed the job.
            BackendError: RunPod refuses.
        """
        settings = request.settings
        give_up_at = give_up_at if give_up_at is not None else time.monotonic() + settings.wait_for_capacity_s
        dear_machines = dear if dear is not None else {}
        locked: dict[bool, JobRequest] = {}
        refusals = dict.fromkeys(dear_machines.items(), 1)
        while True:
            choice = choose(self._offers, settings, self._volume.data_center, request.workload)
            candidates = [candidate for candidate in choice.candidates if str(candidate) not in dear_machines]
            for candidate in sorted(candidates, key=lambda candidate: str(candidate) in faulty):
                try:
                    on_gpu = candidate.gpu is not None
                    if on_gpu not in locked:
                        self.check_open(request)
                        locked[on_gpu] = with_releases(request, on_gpu=on_gpu)
                    self.check_open(request)  # A lock takes its time.
                    return self._create(locked[on_gpu], claim, candidate, spending, detached=detached)
                except CapacityError:
                    refusal = (str(candidate), "no instances")
                except DearPodError as error:
                    logger.warning("%s: %s is %s: its pod is ended", request.folder.name, candidate, error.message, extra={"markup": False})
                    refusal = (str(candidate), error.message)
                    dear_machines[str(candidate)] = error.message
                except ApiError as error:
                    if error.status != _FORBIDDEN:
                        raise
                    refusal = (str(candidate), "not for this account")
                refusals[refusal] = refusals.get(refusal, 0) + 1
            reasons = [f"{name} ({reason}{'' if count == 1 else f', {count} times'})" for (name, reason), count in refusals.items()]
            if time.monotonic() >= give_up_at or not candidates:
                raise no_capacity([*reasons, *choice.refused], settings, self._volume.data_center, request.folder.name)
            logger.info("%s waits for capacity: %s", request.folder.name, ", ".join(reasons), extra={"markup": False})
            self._closed.wait(min(self._pace.capacity_every_s, max(0.1, give_up_at - time.monotonic())))

    def rents_gpu(self, request: JobRequest) -> bool:
        """Return whether the first machine that would be tried for a job has a GPU."""
        candidates = choose(self._offers, request.settings, self._volume.data_center, request.workload).candidates
        return bool(candidates) and candidates[0].gpu is not None

    def check_open(self, request: JobRequest) -> None:
        """Raise a JobCancelledError if the run is over."""
        if self._closed.is_set():
            raise JobCancelledError(f"{request.folder.name} was not started: the run is over.")

    def _create(self, request: JobRequest, claim: Claim, candidate: Candidate, spending: Spending, *, detached: bool = False) -> Placement:
        settings, job = request.settings, request.folder.name
        attempt = secrets.token_hex(4)
        name = pod_name(self._prefix, job, attempt)
        lifetime_s = spending.lifetime_s(name, candidate.usd_per_hour, pod_time_s(settings))
        machine = self._machine(request, candidate, name, attempt, lifetime_s)
        spending.reserve(name, worst_usd(candidate.usd_per_hour, settings.startup_timeout_s, lifetime_s))
        entry = LedgerEntry(
            name=name,
            job=job,
            usd_per_hour=candidate.usd_per_hour,
            lifetime_s=lifetime_s,
            startup_s=settings.startup_timeout_s,
            asked_at=time.time(),
            detached=detached,
        )
        created_at = now_s()
        pod: Pod | None = None
        asked = False

        def ask() -> Pod:
            nonlocal asked
            asked = True
            return self._create_pod(pod_request)

        def settle(existed: bool) -> None:  # as the watch calls it
            spending.release(name, (now_s() - created_at) / 3600 * candidate.usd_per_hour if existed else 0.0)

        try:
            # On the volume before the pod is created: whatever happens then, the volume tells what was asked for.
            claim.make(machine, self._closed, self._pace.claim_s)
            self.check_open(request)
            pod_request = self._pod_request(request, claim.remote, candidate, machine)
            pod = self._watch.create(entry, ask, settle)
        finally:
            if pod is None:
                if not asked:
                    spending.release(name)
                # If a pod was created after all, it must not begin.
                with contextlib.suppress(CloudTrainError):
                    claim.release(attempt)
        offered = candidate.usd_per_hour
        placement = Placement(pod.id, name, attempt, candidate, offered, lifetime_s, created_at, settings.startup_timeout_s)
        try:
            usd_per_hour = self._price(pod, offered)
            if usd_per_hour > offered + CENT_USD:
                spending.bill(placement, usd_per_hour)
            billed = {"usd_per_hour": usd_per_hour, **_deadlines(request, placement.lifetime_s)}
            claim.complete({**machine, **billed, "pod": pod.id, "data_center": pod.data_center, "created_at": time.time()})
        except BaseException as error:
            spending.note_end(placement, error.message if isinstance(error, DearPodError) else "not used")
            if self._watch.terminate(pod.id, lambda: spending.settle(placement)):
                spending.settle(placement)
            with contextlib.suppress(CloudTrainError):
                claim.release(attempt)
            raise
        if machine["environment"] and self._volume.mounted:
            Environments(self._volume).remember(machine["environment"])
        return placement

    def _price(self, pod: Pod, offered: float) -> float:
        """Return a new pod's price in dollars an hour: what RunPod bills, or what it has offered while it does not say."""
        if pod.cost:
            return pod.cost
        with contextlib.suppress(CloudTrainError):  # The lists tell as well, while it is followed.
            looked_up = self._api.pod(pod.id)
            if looked_up is not None and looked_up.cost:
                return looked_up.cost
        logger.warning("RunPod does not say what pod %s costs: it is taken to cost its offer's $%.2f an hour", pod.id, offered)
        return offered

    def _create_pod(self, pod_request: PodRequest) -> Pod:
        """Create a pod, on a host of the wanted memory and vCPUs if there is one, else on any."""
        second = pod_request.without_least
        if second is None:
            return self._api.create_pod(pod_request)
        try:
            return self._api.create_pod(pod_request)
        except CapacityError as error:
            if pod_request.least_is_wanted or error.may_have_created:
                raise  # The pod would find the host too small, and be paid for.
            logger.info("%s: no host with the memory that its table needs is free: any is taken", pod_request.name, extra={"markup": False})
        except ApiError as error:
            if error.status not in _UNKNOWN_FIELD:
                raise
        return self._api.create_pod(second)

    def _machine(self, request: JobRequest, candidate: Candidate, name: str, attempt: str, lifetime_s: float) -> dict[str, Any]:
        """Return the content of `machine.json`: what is asked for, and what the pod has to know."""
        settings = request.settings
        image = settings.image_for(gpu=candidate.gpu is not None)
        return {
            "backend": "runpod",
            "name": name,
            "attempt": attempt,
            "gpu": candidate.gpu,
            "gpu_count": candidate.count if candidate.gpu else 0,
            "machines": candidate.machines,
            "startup_timeout_s": settings.startup_timeout_s,
            "cpu": candidate.cpu,
            "vcpu_count": 0 if candidate.gpu else candidate.count,
            "client": client_id(request.folder),
            "claimed_at": time.time(),
            "min_cuda_version": settings.min_cuda_version,
            "min_ram_gb": settings.min_ram_gb,
            "usd_per_hour": candidate.usd_per_hour,
            **_deadlines(request, lifetime_s),
            "max_price_per_hour_usd": settings.max_price_per_hour_usd,
            "max_cost_usd": settings.max_cost_usd,
            "heartbeat_every_s": self._pace.heartbeat_every_s,
            "requirements": list(request.requirements),
            "environment": environment_name(request.requirements, request.python, image),
            "python": request.python,
            "uv": uv_release(),
        }

    def _pod_request(self, request: JobRequest, remote: RemoteFolder, candidate: Candidate, machine: dict[str, Any]) -> PodRequest:
        settings = request.settings
        api_base_url = os.environ.get("RUNPOD_API_BASE_URL")
        return PodRequest(
            name=machine["name"],
            image=settings.image_for(gpu=candidate.gpu is not None),
            # Everything else is in the job folder, where the volume is mounted.
            args=remote.command(MOUNT),
            gpu=candidate.gpu,
            gpu_count=candidate.count if candidate.gpu else 1,
            machines=candidate.machines,
            min_cuda_version=settings.min_cuda_version,
            min_ram_gb=settings.min_ram_gb or (request.workload.ram_gb if request.workload.ram_gb > _ANY_HOST_GB else None),
            min_vcpu=settings.min_vcpu,
            least_is_wanted=settings.min_ram_gb is not None or settings.min_vcpu is not None,
            cpu=candidate.cpu,
            vcpu_count=candidate.count,
            disk_gb=settings.disk_gb,
            data_center=self._volume.data_center,
            volume_id=self._volume.id if self._volume.mounted else None,
            mount_path=MOUNT,
            env={
                ATTEMPT_VARIABLE: machine["attempt"],
                **({GPU_VARIABLE: candidate.gpu} if candidate.gpu else {}),
                **request.environment,
                **variables_of(request.requirements),
                **remote.environment(settings.startup_timeout_s + machine["lifetime_s"]),
                **({"RUNPOD_API_BASE_URL": api_base_url} if api_base_url else {}),
            },
        )


def _deadlines(request: JobRequest, lifetime_s: float) -> dict[str, float]:
    """Return when a pod ends its job, and when it ends itself, in seconds, as `machine.json` names them."""
    return {"timeout_s": min(request.timeout_s, lifetime_s), "lifetime_s": lifetime_s}
