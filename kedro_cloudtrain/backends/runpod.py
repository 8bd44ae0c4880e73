"""The RunPod backend: a job's folder on a network volume, a pod that works through it, and never a pod without a deadline."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.budget import Budget, lifetime_s, pod_time_s, worst_usd
from kedro_cloudtrain.backends.carried_folder import CarriedFolder
from kedro_cloudtrain.backends.catalogue import KnownCatalogue
from kedro_cloudtrain.backends.following import Following, Placement, PodLostError
from kedro_cloudtrain.backends.pace import Pace
from kedro_cloudtrain.backends.placing import choose, no_capacity
from kedro_cloudtrain.backends.remote_folder import RemoteFolder
from kedro_cloudtrain.backends.runpod_api import PodRequest
from kedro_cloudtrain.backends.watching import PodWatch
from kedro_cloudtrain.buckets import Bucket
from kedro_cloudtrain.errors import ApiError, CapacityError, CloudTrainError, JobCancelledError, JobLostError
from kedro_cloudtrain.jobs import JobState
from kedro_cloudtrain.receipts import MachineUse

if TYPE_CHECKING:
    from kedro_cloudtrain.backends import JobRequest, Watcher
    from kedro_cloudtrain.backends.placing import Candidate
    from kedro_cloudtrain.backends.runpod_api import Pod, RunPodApi
    from kedro_cloudtrain.folder import JobFolder
    from kedro_cloudtrain.jobs import JobResult
    from kedro_cloudtrain.network_volumes import NetworkVolume

logger = logging.getLogger("kedro.cloudtrain")

MOUNT = "/workspace"
NAME_PREFIX = "cloudtrain"
_FORBIDDEN = 403


class RunPodBackend:
    """Runs jobs on pods.

    Args:
        api: the client of RunPod's API.
        volume: the network volume that the pods mount.
        project: names the pods, so that `kedro cloudtrain reap` finds what this project has left.
        budget: what the run may cost.
        jobs: how many jobs are run at once.
        pace: how often they are looked at.
    """

    name = "runpod"

    def __init__(
        self,
        api: RunPodApi,
        volume: NetworkVolume,
        project: str,
        budget: Budget | None = None,
        jobs: int = 1,
        pace: Pace | None = None,
    ) -> None:
        self._api = api
        self._volume = volume
        self._prefix = pod_prefix(project)
        self._budget = budget if budget is not None else Budget()
        pace = pace if pace is not None else Pace()
        # Fifty jobs ask the volume not much more often than twenty.
        often = {"result_every_s": max(pace.result_every_s, jobs / 40), "progress_every_s": max(pace.progress_every_s, jobs / 10)}
        self._pace = dataclasses.replace(pace, **often)
        self._catalogue = KnownCatalogue(api, pace.catalogue_known_s)
        self._watch = PodWatch(api, self._pace)
        self._closed = threading.Event()

    def run(self, request: JobRequest, watcher: Watcher) -> JobResult:
        """Run a job to its result, on another pod where one is lost."""
        remote = self.remote(request.folder)
        watcher.moved(request.folder.name, JobState.STARTING)
        remote.send()
        spent_usd, lost = 0.0, []
        for _ in range(request.settings.retries + 1):
            placement = self.launch(request, remote, spent_usd)
            ended = "cancelled"
            remote.begin_attempt()
            try:
                watcher.placed(request.folder.name, str(placement.candidate), placement.usd_per_hour)
                sighting = self._watch.add(placement.pod_id, placement.name)
                result = Following(request, remote, placement, sighting, watcher, self._pace).result(self._closed)
                ended = "done"
            except PodLostError as error:
                ended = error.message
                lost.append(f"{placement.pod_id} ({placement.candidate}): {error.message}")
                logger.warning("%s: pod %s %s", request.folder.name, placement.pod_id, error.message)
                watcher.moved(request.folder.name, JobState.STARTING)
            except CloudTrainError as error:
                ended = type(error).__name__.removesuffix("Error").lower()
                raise
            finally:
                spent_usd += self._end(request, remote, placement, watcher, ended)
            if ended == "done":
                return result
        raise JobLostError(
            f"{request.folder.name} was lost on {len(lost)} pods: {'; '.join(lost)}.\n"
            f"What they wrote: kedro cloudtrain logs {request.folder.name}"
        )

    def close(self) -> None:
        """End every pod that still is, and refuse new ones."""
        self._closed.set()
        self._api.hurry()
        self._watch.close()

    def remote(self, folder: JobFolder) -> RemoteFolder:
        """Give a job's folder on the volume, or in the bucket that stands for one."""
        return CarriedFolder(folder, self._volume) if isinstance(self._volume, Bucket) else RemoteFolder(folder, self._volume)

    def launch(self, request: JobRequest, remote: RemoteFolder, spent_usd: float = 0.0) -> Placement:
        """Place one pod for a job whose files are on the volume.

        Args:
            request: the job.
            remote: its folder.
            spent_usd: what its earlier pods have cost.

        Raises:
            CapacityError: no machine is free.
            BudgetExceededError: it could cost more than was allowed.
            BackendError: RunPod refuses.
        """
        settings = request.settings
        give_up_at = time.monotonic() + settings.wait_for_capacity_s
        tried: dict[str, int] = {}
        while True:
            choice = choose(self._catalogue, settings, self._volume.data_center, request.work)
            for candidate in choice.candidates:
                if self._closed.is_set():
                    raise JobCancelledError(f"{request.folder.name} was not started: the run is over.")
                try:
                    return self._create(request, remote, candidate, spent_usd)
                except CapacityError:
                    why = "no instances"
                except ApiError as error:
                    if error.status != _FORBIDDEN:
                        raise
                    why = "not for this account"
                tried[f"{candidate} ({why})"] = tried.get(f"{candidate} ({why})", 0) + 1
            if time.monotonic() >= give_up_at:
                said = [name if count == 1 else f"{name[:-1]}, {count} times)" for name, count in tried.items()]
                raise no_capacity([*said, *choice.refused], settings, self._volume.data_center, request.folder.name)
            logger.info("%s waits for capacity: %s", request.folder.name, ", ".join(tried), extra={"markup": False})
            self._closed.wait(min(self._pace.capacity_every_s, max(0.1, give_up_at - time.monotonic())))

    def _create(self, request: JobRequest, remote: RemoteFolder, candidate: Candidate, spent_usd: float) -> Placement:
        settings, job = request.settings, request.folder.name
        attempt = secrets.token_hex(4)
        name = f"{self._prefix}{job[:80]}-{attempt}"
        left_usd = None if settings.max_cost_usd is None else settings.max_cost_usd - spent_usd
        lives_s = lifetime_s(job, candidate.usd_per_hour, pod_time_s(settings), settings.startup_timeout_s, left_usd)
        machine = {
            "backend": self.name,
            "name": name,
            "attempt": attempt,
            "gpu": candidate.gpu,
            "gpu_count": candidate.count if candidate.gpu else 0,
            "min_cuda_version": settings.min_cuda_version,
            "usd_per_hour": candidate.usd_per_hour,
            "timeout_s": min(request.timeout_s, lives_s),
            "lifetime_s": lives_s,
            "heartbeat_every_s": self._pace.heartbeat_every_s,
            "requirements": list(request.requirements) if settings.install else [],
        }
        self._budget.reserve(name, job, worst_usd(candidate.usd_per_hour, settings.startup_timeout_s, lives_s))
        created_at = time.monotonic()
        pod: Pod | None = None
        try:
            # On the volume before the pod is asked for: whatever happens then, it is known what was asked.
            remote.say_machine(machine)
            pod = self._api.create_pod(self._pod_request(request, remote, candidate, name, attempt, lives_s))
        finally:
            if pod is None:
                self._budget.settle(name, 0.0)
                # Should there be one after all, it must not begin.
                with contextlib.suppress(CloudTrainError):
                    remote.revoke()
        placement = Placement(
            pod.id, name, attempt, candidate, pod.cost or candidate.usd_per_hour, lives_s, created_at, settings.startup_timeout_s
        )
        try:
            remote.say_machine({**machine, "pod": pod.id, "data_center": pod.data_center, "created_at": time.time()})
        except BaseException:
            self._watch.terminate(pod.id)
            self._budget.settle(name, placement.cost_usd)
            raise
        return placement

    def _pod_request(
        self, request: JobRequest, remote: RemoteFolder, candidate: Candidate, name: str, attempt: str, lives_s: float
    ) -> PodRequest:
        settings = request.settings
        elsewhere = os.environ.get("RUNPOD_API_BASE_URL")
        return PodRequest(
            name=name,
            image=settings.image,
            # Everything else is in the job folder at the mount.
            args=remote.command(MOUNT),
            gpu=candidate.gpu,
            gpu_count=candidate.count if candidate.gpu else 1,
            min_cuda_version=settings.min_cuda_version,
            cpu=candidate.cpu,
            vcpu_count=candidate.count,
            disk_gb=settings.disk_gb,
            data_center=self._volume.data_center,
            volume_id=self._volume.id if self._volume.mounted else None,
            mount_path=MOUNT,
            env={
                "CLOUDTRAIN_ATTEMPT": attempt,
                **request.environment,
                **remote.environment(settings.startup_timeout_s + lives_s),
                **({"RUNPOD_API_BASE_URL": elsewhere} if elsewhere else {}),
            },
        )

    def _end(self, request: JobRequest, remote: RemoteFolder, placement: Placement, watcher: Watcher, ended: str) -> float:
        """See to it that the pod goes, and account for it; give its dollars."""
        if ended == "done":
            self._watch.bid_farewell(placement.pod_id)
        else:
            self._watch.terminate(placement.pod_id)
            with contextlib.suppress(CloudTrainError):
                remote.revoke()
        cost_usd = placement.cost_usd
        self._budget.settle(placement.name, cost_usd)
        seconds = time.monotonic() - placement.created_at
        use = MachineUse(placement.pod_id, str(placement.candidate), placement.usd_per_hour, seconds, cost_usd, ended)
        watcher.used(request.folder.name, use)
        return cost_usd


def pod_prefix(project: str) -> str:
    """Give the beginning of the names of a project's pods; it is not the beginning of those of any other name."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", project).lower()[:40].strip("-")
    # Two hyphens, which no slug has: the pods of `shop` are not those of `shop-2`.
    return f"{NAME_PREFIX}-{slug or 'project'}--"
