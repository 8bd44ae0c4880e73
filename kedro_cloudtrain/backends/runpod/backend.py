"""The RunPod backend: a job's folder on a network volume, a pod that works through it, and never a pod without a deadline."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import re
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.backends.runpod.bucket_folder import BucketFolder
from kedro_cloudtrain.backends.runpod.budget import Budget, lifetime_s, pod_time_s, worst_usd
from kedro_cloudtrain.backends.runpod.contract import PodRequest
from kedro_cloudtrain.backends.runpod.following import Following, Placement, PodLostError
from kedro_cloudtrain.backends.runpod.offers import Candidate, KnownOffers, choose, no_capacity
from kedro_cloudtrain.backends.runpod.pace import Pace
from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
from kedro_cloudtrain.backends.runpod.watching import PodWatch
from kedro_cloudtrain.errors import ApiError, CapacityError, CloudTrainError, JobCancelledError, JobLostError, SourceError
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.receipt import MachineUse
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.storage.bucket import Bucket

if TYPE_CHECKING:
    from kedro_cloudtrain.backends import JobRequest, Watcher
    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.storage.network_volume import NetworkVolume

logger = logging.getLogger("kedro.cloudtrain")

MOUNT = "/workspace"
NAME_PREFIX = "cloudtrain"
_FORBIDDEN = 403


_CLOCKS_S = 300.0


class _TakenError(CloudTrainError):
    """Another client has the job."""


class _DoneError(CloudTrainError):
    """The job was finished by another client's pod a moment ago."""

    def __init__(self, result: JobResult) -> None:
        super().__init__("done already")
        self.result = result


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
        self._catalogue = KnownOffers(api, pace.offers_known_s)
        self._watch = PodWatch(api, self._pace)
        self._closed = threading.Event()

    def run(self, request: JobRequest, watcher: Watcher) -> JobResult:
        """Run a job to its result, on another pod where one is lost."""
        remote = self.remote(request.folder)
        watcher.moved(request.folder.name, JobState.STARTING)
        lost: list[str] = []
        spent_usd, sent = 0.0, False
        while len(lost) <= request.settings.retries:
            try:
                placement = self._attached(request, remote) if request.attach else None
            except _DoneError as done:
                remote.fetch(done.result)
                return done.result
            if placement is None:
                if not sent:
                    remote.send()
                    sent = True
                try:
                    placement = self.launch(request, remote, spent_usd)
                except _TakenError:
                    continue
            ended = "cancelled"
            remote.rewind()
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

    def submit(self, request: JobRequest) -> None:
        """Start a job on a pod, and leave it to itself; where one is at it already, that one is left alone."""
        remote = self.remote(request.folder)
        with contextlib.suppress(_TakenError, _DoneError):
            if request.attach and self._attached(request, remote) is not None:
                return
            remote.send()
            self.launch(request, remote)

    def earlier(self, folder: JobFolder) -> JobResult | None:
        """Give what an earlier run of the job has left on the volume, with its outputs brought here."""
        remote = self.remote(folder)
        result = remote.result()
        if result is not None and result.state == "succeeded":
            try:
                remote.fetch(result)
            except SourceError as error:
                self.discard(folder, result)
                raise JobLostError(f"an output of {folder.name} is gone: {error.message}") from error
        return result

    def discard(self, folder: JobFolder, result: JobResult) -> None:
        """Take a result away whose outputs are not what it says, unless another client has begun anew meanwhile."""
        remote = self.remote(folder)
        if remote.machine().get("attempt", result.attempt) == result.attempt:
            remote.revoke()
            remote.delete([folder.result.name])
        folder.result.unlink(missing_ok=True)

    def collect(self, folder: JobFolder) -> JobResult | None:
        """Give what a job of a group has left on the volume, with its outputs and its log brought here."""
        result = self.earlier(folder)
        self.remote(folder).follow()
        return result

    def group_at_work(self, folder: JobFolder) -> JobFolder | None:
        """Give the group whose pod works on a job, as the job's folder on the volume says."""
        name = self.remote(folder).machine().get("group")
        if not name:
            return None
        group = JobFolder(folder.path.with_name(str(name)))
        return group if self._pod_of(self.remote(group).machine()) is not None else None

    def _pod_of(self, said: dict[str, Any]) -> Pod | None:
        """Give the pod that a job's `machine.json` speaks of, where it is alive."""
        if not said.get("attempt") or not said.get("name"):
            return None
        pod = self._api.pod(str(said["pod"])) if said.get("pod") else self._api.find_pod(str(said["name"]))
        return pod if pod is not None and pod.status not in ("EXITED", "ERROR", "TERMINATED") else None

    def close(self) -> None:
        """End every pod that still is, and refuse new ones."""
        self._closed.set()
        self._api.shorten_waits()
        self._watch.close()

    def remote(self, folder: JobFolder) -> RemoteFolder:
        """Give a job's folder on the volume, or in the bucket that stands for one."""
        return BucketFolder(folder, self._volume) if isinstance(self._volume, Bucket) else RemoteFolder(folder, self._volume)

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

    def _attached(self, request: JobRequest, remote: RemoteFolder) -> Placement | None:
        """Give the pod that works on the job already, for a client that is gone or for one elsewhere; None where there is none.

        Raises:
            _DoneError: it has just finished.
        """
        while not self._closed.is_set():
            said = remote.machine()
            attempt = said.get("attempt")
            if not attempt or not said.get("name"):
                return None
            pod = self._pod_of(said)
            if pod is not None:
                return self._attach(request, said, pod)
            # After the pod was asked for: one that is gone by then has written its result, or never will.
            result = remote.result(attempt)
            if result is not None and result.state == "succeeded":
                raise _DoneError(result)
            if result is not None:
                return None
            # A claim without a pod: of a client that had this job's lock, and so is gone, or of one elsewhere.
            age_s = time.time() - float(said.get("claimed_at", 0.0))
            if said.get("pod") or said.get("client") == _client(request.folder) or not -_CLOCKS_S < age_s < self._pace.claim_holds_s:
                return None
            logger.info("%s is claimed by another client: waiting for its pod", request.folder.name)
            self._closed.wait(1.0)
        return None

    def _attach(self, request: JobRequest, said: dict[str, Any], pod: Pod) -> Placement:
        usd_per_hour = pod.cost or float(said.get("usd_per_hour", 0.0))
        lives_s = float(said.get("lifetime_s", 0.0))
        began_s = max(0.0, time.time() - float(said.get("created_at") or said.get("claimed_at") or time.time()))
        count = int(said.get("gpu_count") or said.get("vcpu_count") or 1)
        candidate = Candidate(said.get("gpu"), None if said.get("gpu") else str(said.get("cpu")), count, usd_per_hour, "", 0.0)
        startup_s = request.settings.startup_timeout_s
        self._budget.reserve(said["name"], request.folder.name, worst_usd(usd_per_hour, startup_s, lives_s))
        request.folder.write_json(request.folder.machine, {**said, "pod": pod.id})
        logger.info("%s is at work on pod %s already: it is taken from there", request.folder.name, pod.id)
        return Placement(
            pod.id, said["name"], said["attempt"], candidate, usd_per_hour, lives_s, time.monotonic() - began_s, startup_s + began_s
        )

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
            "cpu": candidate.cpu,
            "vcpu_count": 0 if candidate.gpu else candidate.count,
            "client": _client(request.folder),
            "claimed_at": time.time(),
            "min_cuda_version": settings.min_cuda_version,
            "usd_per_hour": candidate.usd_per_hour,
            "timeout_s": min(request.timeout_s, lives_s),
            "lifetime_s": lives_s,
            "heartbeat_every_s": self._pace.heartbeat_every_s,
            "requirements": list(request.requirements) if settings.install else [],
            "python": request.python,
        }
        self._budget.reserve(name, job, worst_usd(candidate.usd_per_hour, settings.startup_timeout_s, lives_s))
        created_at = time.monotonic()
        pod: Pod | None = None
        try:
            # On the volume before the pod is asked for: whatever happens then, it is known what was asked.
            remote.write_machine(machine)
            self._check_claim(request, remote, attempt)
            pod = self._api.create_pod(self._pod_request(request, remote, candidate, name, attempt, lives_s))
        finally:
            if pod is None:
                self._budget.settle(name, 0.0)
                # Should there be one after all, it must not begin.
                with contextlib.suppress(CloudTrainError):
                    self._revoke(remote, attempt)
        placement = Placement(
            pod.id, name, attempt, candidate, pod.cost or candidate.usd_per_hour, lives_s, created_at, settings.startup_timeout_s
        )
        try:
            remote.write_machine({**machine, "pod": pod.id, "data_center": pod.data_center, "created_at": time.time()})
        except BaseException:
            self._watch.terminate(pod.id)
            self._budget.settle(name, placement.cost_usd)
            raise
        return placement

    def _check_claim(self, request: JobRequest, remote: RemoteFolder, attempt: str) -> None:
        """Make sure that of two clients that begin the same job at the same moment one alone goes on: the one that wrote last."""
        if not request.attach:
            return
        self._closed.wait(self._pace.claim_s)
        if remote.machine().get("attempt", attempt) != attempt:
            raise _TakenError(f"{request.folder.name} was claimed by another client at the same moment.")

    def _revoke(self, remote: RemoteFolder, attempt: str) -> None:
        """Take the job from an attempt, unless another client has it by now."""
        if remote.machine().get("attempt") == attempt:
            remote.revoke()

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
            self._watch.release(placement.pod_id)
        else:
            self._watch.terminate(placement.pod_id)
            with contextlib.suppress(CloudTrainError):
                self._revoke(remote, placement.attempt)
        cost_usd = placement.cost_usd
        self._budget.settle(placement.name, cost_usd)
        seconds = time.monotonic() - placement.created_at
        use = MachineUse(placement.pod_id, str(placement.candidate), placement.usd_per_hour, seconds, cost_usd, ended)
        watcher.used(request.folder.name, use)
        return cost_usd


def _client(folder: JobFolder) -> str:
    """Name who claims a job, by the place of the lock that they hold on it."""
    place = f"{socket.gethostname()} {folder.path.resolve()}"
    return hashlib.sha256(place.encode()).hexdigest()[:12]


def pod_prefix(project: str) -> str:
    """Give the beginning of the names of a project's pods; it is not the beginning of those of any other name."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", project).lower()[:40].strip("-")
    # Two hyphens, which no slug has: the pods of `shop` are not those of `shop-2`.
    return f"{NAME_PREFIX}-{slug or 'project'}--"
