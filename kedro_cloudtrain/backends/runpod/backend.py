"""The RunPod backend: a job's folder on a network volume, a pod that works through it, and never a pod without a deadline."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.bucket_folder import remote_folder
from kedro_cloudtrain.backends.runpod.budget import Budget, worst_usd
from kedro_cloudtrain.backends.runpod.claim import Claim, ClaimedError, client_id
from kedro_cloudtrain.backends.runpod.clock import now_s
from kedro_cloudtrain.backends.runpod.clusters import is_cluster
from kedro_cloudtrain.backends.runpod.following import Following, HostFaultError, PodLostError
from kedro_cloudtrain.backends.runpod.kept import KeptPodJob, living_pod
from kedro_cloudtrain.backends.runpod.launching import Launcher
from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry
from kedro_cloudtrain.backends.runpod.offers import Candidate
from kedro_cloudtrain.backends.runpod.pace import Pace
from kedro_cloudtrain.backends.runpod.placement import Placement
from kedro_cloudtrain.backends.runpod.preparing import Preparing
from kedro_cloudtrain.backends.runpod.spending import DearPodError, Spending
from kedro_cloudtrain.backends.runpod.watching import PodWatch
from kedro_cloudtrain.errors import BudgetExceededError, CapacityError, CloudTrainError, JobLostError
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.storage.disk import dispensable
from kedro_cloudtrain.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.backends.backend import JobRequest, Watcher
    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.machine import Machine
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.storage.s3 import S3Store

logger = logging.getLogger("kedro.cloudtrain")

# A claim from further in the future than this is ignored: two computers' clocks may differ by so much.
_CLOCKS_S = 300.0
# How many hosts of one kind may fail before another kind is taken.
_FAULTS_OF_A_KIND = 2


class _FinishedError(CloudTrainError):
    """Another client's pod has finished the job a moment ago."""

    def __init__(self, result: JobResult) -> None:
        super().__init__("finished already")
        self.result = result


class RunPodBackend:
    """Runs jobs on pods.

    Args:
        api: the client of RunPod's API.
        volume: the network volume that the pods mount.
        project_id: the project's id, which its pods' names begin with, so that `kedro cloudtrain reap` finds them.
        budget: what the run may cost.
        jobs: how many jobs run at once.
        pace: how often pods are looked at.
    """

    name = "runpod"

    def __init__(
        self,
        api: RunPodApi,
        volume: S3Store,
        project_id: str,
        budget: Budget | None = None,
        jobs: int = 1,
        pace: Pace | None = None,
    ) -> None:
        self._budget = budget if budget is not None else Budget()
        pace = pace if pace is not None else Pace()
        # Fifty jobs do not ask the volume much more often than twenty.
        intervals = {"result_every_s": max(pace.result_every_s, jobs / 40), "progress_every_s": max(pace.progress_every_s, jobs / 10)}
        self._pace = dataclasses.replace(pace, **intervals)
        self._closed = threading.Event()
        self._api = api
        api.tolerate_silence(self._pace.volume_silent_s)
        self._volume = volume = volume.until(self._closed, self._pace.volume_silent_s)
        self._watch = PodWatch(api, self._pace)
        self._followings: dict[str, Following] = {}
        self._launcher = Launcher(api, volume, project_id, self._watch, self._closed, self._pace)
        self._preparing = Preparing(volume, self._launcher.rents_gpu)

    def run(self, request: JobRequest, watcher: Watcher) -> JobResult:
        """Run a job and return its result; where a pod is lost, on another one."""
        return self._run(request, watcher, Spending(request, self._budget, watcher))

    def _run(self, request: JobRequest, watcher: Watcher, spending: Spending) -> JobResult:
        remote = remote_folder(request.folder, self._volume)
        claim = Claim(remote, is_contested=request.attach)
        watcher.moved(request.folder.name, JobState.STARTING)
        lost: list[tuple[str, str]] = []
        faults: Counter[str] = Counter()
        dear, may_attach = dict[str, str](), request.attach

        @functools.cache
        def send() -> None:
            # The node's limit is that of both pods.
            self._preparing.prepare(request, lambda preparation: self._run(preparation, watcher, spending))
            remote.send()

        while len(lost) <= request.settings.retries:
            faulty = [machine for machine, count in faults.items() if count >= _FAULTS_OF_A_KIND]
            try:
                placement = self._place(request, claim, spending, send, faulty, dear, may_attach=may_attach)
            except _FinishedError as finished:
                remote.fetch(finished.result)
                return finished.result
            ended = "cancelled"
            remote.rewind()
            try:
                result = self._follow(request, remote, placement, watcher, spending)
                ended = "done"
            except DearPodError as error:
                ended = error.message
                may_attach = False  # Nobody attaches to it while it is being ended.
                dear[str(placement.candidate)] = ended
                logger.warning("%s: pod %s is %s: it is ended", request.folder.name, placement.pod_id, ended, extra={"markup": False})
                watcher.moved(request.folder.name, JobState.STARTING)
            except PodLostError as error:
                ended = error.message
                faults[str(placement.candidate)] += isinstance(error, HostFaultError)
                lost.append((error.message, f"{placement.pod_id} ({placement.candidate})"))
                logger.warning("%s: pod %s %s", request.folder.name, placement.pod_id, error.message)
                watcher.moved(request.folder.name, JobState.STARTING)
            except CloudTrainError as error:
                ended = type(error).__name__.removesuffix("Error").lower()
                raise
            finally:
                self._end(claim, placement, spending, ended)
            if ended == "done":
                return result
            _check_wanted(request, ended)
        raise JobLostError(
            f"{request.folder.name} was lost on {counted(len(lost), 'pod')}: {_by_reason(lost)}.\n"
            f"What they wrote: kedro cloudtrain logs {request.folder.name}"
        )

    def _follow(self, request: JobRequest, remote: RemoteFolder, placement: Placement, watcher: Watcher, spending: Spending) -> JobResult:
        """Follow a pod to its job's result."""
        job = request.folder.name
        watcher.placed(job, str(placement.candidate), placement.usd_per_hour, placement.pod_id)
        sighting = self._watch.add(placement.pod_id, placement.name, placement.usd_per_hour)
        sighting.is_paid_for = functools.partial(spending.pays_for, placement)
        following = self._followings[job] = Following(request, remote, placement, sighting, watcher, spending, self._pace)
        try:
            return following.result(self._closed)
        finally:
            self._followings.pop(job, None)

    def submit(self, request: JobRequest) -> None:
        """Start a job on a pod and leave it running; a pod that works on it already is left alone."""
        remote = remote_folder(request.folder, self._volume)
        claim, send = Claim(remote, is_contested=request.attach), functools.cache(remote.send)
        with contextlib.suppress(_FinishedError):
            self._place(request, claim, Spending(request, self._budget), send, may_attach=request.attach, detached=True)

    def deliver(self, request: JobRequest, files: Mapping[Path, bytes], members: Sequence[JobFolder] = ()) -> None:
        """Write further files of a job's folder to the volume, those last by which the pod finds the others."""
        remote = remote_folder(request.folder, self._volume)
        for member in members:
            remote.send_inputs(member)
            remote.sibling(member).add(member.machine, member.machine.read_bytes())
        for file, content in files.items():
            remote.add(file, content)
            # A machine must not wait, and be paid for, because this computer's disk is full.
            with dispensable("Copies of files sent to a running machine"):
                request.folder.write(file, content)
        following = self._followings.get(request.folder.name)
        if following is not None:
            following.hand_in()

    def kept(self, folder: JobFolder) -> KeptPodJob:
        """Return what an earlier client has left of a job."""
        return KeptPodJob(remote_folder(folder, self._volume), lambda: self._api)

    def close(self) -> None:
        """End every pod that is still alive, and refuse new ones."""
        self._closed.set()
        for following in list(self._followings.values()):
            following.look()
        self._api.is_closing = True
        self._api.shorten_waits()
        self._watch.close()
        for name in self._watch.late:
            logger.warning(
                "RunPod did not answer the first request for pod %s, and may still create it a second time; that one would end itself. "
                "See whether it did: kedro cloudtrain reap",
                name,
            )
        for name, usd_per_hour in self._watch.forgotten.items():
            logger.warning(
                "Pod %s is still there, at $%.2f an hour, and the client that asked for it is gone. End it: kedro cloudtrain reap "
                "(--all-projects if it is another project's)",
                name,
                usd_per_hour,
            )

    @property
    def is_closed(self) -> bool:
        """Whether `close` has begun."""
        return self._closed.is_set()

    def left(self) -> list[str]:
        """Return a sentence for each pod that could not be ended, or that is not known to have ended yet while `close` is at work."""
        end = "kedro cloudtrain reap, or https://console.runpod.io/pods"
        return [
            *(
                f"Whether RunPod has made the pod {name}, at ${usd_per_hour:.2f} an hour, is not known: it did not answer. End it: {end}"
                for name, usd_per_hour in self._watch.unknown().items()
            ),
            *(
                f"Pod {pod_id} is still there, at ${usd_per_hour:.2f} an hour: RunPod did not end it. End it: {end}"
                for pod_id, usd_per_hour in dict(self._watch.left).items()
            ),
        ]

    def _place(
        self,
        request: JobRequest,
        claim: Claim,
        spending: Spending,
        send: Callable[[], None],
        faulty: Collection[str] = (),
        dear: dict[str, str] | None = None,
        *,
        may_attach: bool,
        detached: bool = False,
    ) -> Placement:
        """Attach to the pod that works on the job already, or launch one; of two clients that launch one, the later attaches.

        Args:
            request: the job.
            claim: this client's claim on it.
            spending: what its pods cost, or may still cost.
            send: writes the job's files to the volume, at the first call.
            faulty: as in `Launcher.launch`.
            dear: likewise.
            may_attach: whether a pod that works on it already is looked for before the first launch; after a lost claim, one always is.
            detached: whether the pod is to be left alone, rather than followed.

        Raises:
            _FinishedError: the job has just been finished.
            CloudTrainError: no pod can be had.
        """
        give_up_at: float | None = None
        while True:
            placement = self._attached(request, claim, spending, detached=detached) if may_attach else None
            if placement is not None:
                return placement
            self._launcher.check_open(request)
            try:
                send()
                # The wait does not begin anew after each claim of another client.
                give_up_at = give_up_at if give_up_at is not None else time.monotonic() + request.settings.wait_for_capacity_s
                return self._launcher.launch(request, claim, spending, faulty, dear, give_up_at=give_up_at, detached=detached)
            except ClaimedError:
                may_attach = True
            except (BudgetExceededError, CapacityError):
                # Where another client's pod does the job, this one needs no machine, and no budget for one.
                if not claim.is_taken():
                    raise
                may_attach = True

    def _attached(self, request: JobRequest, claim: Claim, spending: Spending, *, detached: bool = False) -> Placement | None:
        """Return the pod that works on the job already, for a client that is gone or on another computer; None where there is none.

        Raises:
            _FinishedError: the job has just been finished.
            BudgetExceededError: the pod is dearer than this client may pay for.
        """
        remote = claim.remote
        while not self._closed.is_set():
            machine = remote.machine()
            attempt = machine.attempt
            if not attempt:
                return None
            pod = living_pod(self._api, machine)
            if pod is not None:
                return self._attach(request, remote, spending, machine, pod, detached=detached)
            # Asked after the pod: one that has ended by then has written its result, or never will.
            result = remote.result_after_end(attempt, self._closed) if machine.pod else remote.result(attempt)
            if result is not None and result.state == "succeeded" and _has_all_members(request, remote):
                raise _FinishedError(result)
            if remote.machine().attempt != attempt:
                continue  # Another client has taken the job up in the meantime.
            # A claim without a pod: of a client that held this job's lock, and so is gone, or of one on another computer.
            age_s = time.time() - machine.claimed_at
            own = machine.client == client_id(request.folder)
            if result is not None or machine.pod or own or not -_CLOCKS_S < age_s < self._pace.claim_holds_s:
                claim.note_over(machine)
                return None
            logger.info("%s is claimed by another client: waiting for its pod", request.folder.name)
            self._closed.wait(1.0)
        return None

    def _attach(
        self, request: JobRequest, remote: RemoteFolder, spending: Spending, machine: Machine, pod: Pod, *, detached: bool = False
    ) -> Placement:
        name, usd_per_hour = str(machine.name), pod.cost or machine.usd_per_hour
        # By RunPod's own clock: the one of the client that has written the file may have been any.
        age_s = pod.age_s(self._api.now()) or 0.0
        count = machine.gpu_count or machine.vcpu_count or 1
        candidate = Candidate(machine.gpu, None if machine.gpu else str(machine.cpu), count, usd_per_hour, "", 0.0, machine.machines)
        attempt, startup_s = str(machine.attempt), request.settings.startup_timeout_s
        placement = Placement(pod.id, name, attempt, candidate, usd_per_hour, machine.lifetime_s, now_s() - age_s, startup_s)
        spending.take_over(placement)
        entry = LedgerEntry(
            name=name,
            job=request.folder.name,
            usd_per_hour=usd_per_hour,
            lifetime_s=placement.lifetime_s,
            startup_s=startup_s,
            asked_at=time.time() - age_s,
            pod=pod.id,
            detached=detached,
        )
        self._watch.adopt(entry)
        request.folder.write_json(request.folder.machine, {**machine.model_dump(mode="json", exclude_none=True), "pod": pod.id})
        if placement.lifetime_s < machine.lifetime_s:
            with contextlib.suppress(CloudTrainError):  # This client, too, ends the pod at its deadline.
                remote.note_terms(attempt, usd_per_hour, placement.lifetime_s)
        logger.info("%s is running on pod %s already: attached to it", request.folder.name, pod.id)
        return placement

    def _end(self, claim: Claim, placement: Placement, spending: Spending, ended: str) -> None:
        """Make sure that the pod ends, and record what it was used for; until it is gone it counts with what it may cost."""
        sighting = self._watch.sighting(placement.pod_id)

        def settle() -> None:
            worst_case()
            spending.settle(placement)

        def worst_case() -> float:
            # Its price may have risen since its job was done.
            placement.usd_per_hour = max(placement.usd_per_hour, sighting.usd_per_hour if sighting is not None else 0.0)
            return worst_usd(placement.usd_per_hour, placement.startup_timeout_s, placement.lifetime_s)

        spending.note_end(placement, ended)
        is_done = ended == "done"
        # The key of a cluster's machine is not known to end the cluster.
        if is_done and not is_cluster(placement.pod_id):
            # It has little left to cost, unless it cannot end itself and RunPod does not end it either.
            ending_s = self._pace.release_s + 2 * self._pace.list_every_s
            spending.hold(placement.name, min(worst_case(), placement.cost_usd + placement.usd_per_hour * ending_s / 3600))
            self._watch.release(placement.pod_id, settle, lambda: spending.hold(placement.name, worst_case()))
            return
        if self._watch.terminate(placement.pod_id, settle):  # The worst case of one that is still there stays reserved.
            settle()
        if is_done:
            return
        with contextlib.suppress(CloudTrainError):
            claim.release(placement.attempt)


def _has_all_members(request: JobRequest, remote: RemoteFolder) -> bool:
    """Return whether each job of a group has a result; one may have been discarded since, because an output of it is broken."""
    try:
        return all(remote.sibling(folder).result() is not None for folder in request.members)
    except JobLostError:
        return False


def _check_wanted(request: JobRequest, ended: str) -> None:
    """Raise if no other pod is to take over from one that is lost.

    Raises:
        JobLostError: the machine had no job any more.
    """
    if request.is_wanted is not None and not request.is_wanted():
        raise JobLostError(f"{request.folder.name} was kept for more jobs, and is gone: {ended}.")


def _by_reason(lost: Sequence[tuple[str, str]]) -> str:
    """Return why pods were lost, each reason once, behind the pods that it has ended."""
    pods: dict[str, list[str]] = {}
    for reason, pod in lost:
        pods.setdefault(reason.rstrip("."), []).append(pod)
    return "; ".join(f"{', '.join(each)}: {reason}" for reason, each in pods.items())
