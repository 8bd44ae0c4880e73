"""Follow one pod to its job's result, by the files that it writes on the volume and by RunPod's lists of pods."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.clock import now_s
from kedro_cloudtrain.backends.runpod.spending import CENT_USD, DearPodError
from kedro_cloudtrain.errors import CloudTrainError, DiskError, JobCancelledError, JobLostError, SourceError
from kedro_cloudtrain.jobs.failures import failed_on
from kedro_cloudtrain.jobs.result import JobState

if TYPE_CHECKING:
    from kedro_cloudtrain.backends.backend import JobRequest, Watcher
    from kedro_cloudtrain.backends.runpod.pace import Pace
    from kedro_cloudtrain.backends.runpod.placement import Placement
    from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
    from kedro_cloudtrain.backends.runpod.sighting import Sighting
    from kedro_cloudtrain.backends.runpod.spending import Spending
    from kedro_cloudtrain.jobs.result import JobResult

logger = logging.getLogger("kedro.cloudtrain")

_LOOPS = 3
# The stage of a heartbeat once the script has begun.
_JOB_STAGE = "job"
# How long outputs are looked for that a result names.
_OUTPUTS_APPEAR_S = 6.0
_OUTPUTS_EVERY_S = 0.5


class PodLostError(CloudTrainError):
    """A pod will not give a result; another pod may."""


class HostFaultError(PodLostError):
    """A pod's host cannot do the job, as the pod itself has found."""


class Following:
    """The way of one pod from its creation to its job's result.

    Args:
        request: the job.
        remote: the job's folder on the volume.
        placement: the pod.
        sighting: the pod, as the lists of pods show it.
        watcher: receives the job's events.
        spending: what the job's pods may cost.
        pace: the polling intervals and timeouts.
    """

    def __init__(
        self,
        request: JobRequest,
        remote: RemoteFolder,
        placement: Placement,
        sighting: Sighting,
        watcher: Watcher,
        spending: Spending,
        pace: Pace,
    ) -> None:
        self._request = request
        self._remote = remote
        self._placement = placement
        self._sighting = sighting
        self._watcher = watcher
        self._spending = spending
        self._are_terms_due = False
        self._pace = pace
        self._job = request.folder.name
        self._heartbeats = 0
        # On the monotonic clock: time asleep does not count as silence, though deadlines pass all the same.
        self._began_at = self._heartbeat_at = self._volume_answered_at = time.monotonic()
        self._next_progress_at = self._next_log_at = self._next_heartbeat_at = self._next_result_at = 0.0
        self._handed_in_at: float | None = None
        self._look_now = threading.Event()

    def hand_in(self) -> None:
        """Look often from now on, since the machine has got another job."""
        self._handed_in_at, self._next_progress_at = time.monotonic(), 0.0
        self.look()

    def look(self) -> None:
        """Look now."""
        self._look_now.set()

    def result(self, closed: threading.Event) -> JobResult:
        """Wait for the result.

        Raises:
            PodLostError: the pod will not give one.
            DearPodError: the pod is billed at more than is allowed.
            JobCancelledError: `closed` is set.
            JobError: the job did not succeed.
        """
        while not closed.is_set():
            # Before the volume is read: a pod that is gone by now has written its result already, or never will.
            loss, dear = self._loss(), self._check_price()
            try:
                result = self._result(closed, is_due=loss is not None)
                if result is None and loss is None:
                    self._report_progress()
                self._volume_answered_at = time.monotonic()
            except (JobLostError, DiskError):
                raise  # The volume has answered.
            except CloudTrainError as error:
                result = None
                loss = loss or self._loss_of_volume(error)
            if result is not None:
                return self._finish(result, closed)
            if dear is not None:
                raise dear
            if loss is not None:
                raise PodLostError(loss)
            if self._look_now.wait(self._pace.look_again_s(self._pace.result_every_s, self._ran_s)):
                self._look_now.clear()
        raise JobCancelledError(
            f"{self._job} was cancelled, since its run is over. Its folder is kept on the volume: {self._remote.key('')}"
        )

    def _result(self, closed: threading.Event, *, is_due: bool) -> JobResult | None:
        """Read the result; that of a machine which is kept is looked for at the usual pace alone, since its jobs end without one."""
        if is_due and self._sighting.has_ended:
            return self._remote.result_after_end(self._placement.attempt, closed)
        now = time.monotonic()
        if self._request.keep_s and now < self._next_result_at and not is_due:
            return None
        self._next_result_at = now + self._pace.result_every_s
        return self._remote.result(self._placement.attempt)

    def _check_price(self) -> DearPodError | None:
        """Hold the pod to the limits by the price that the lists show; return the error if it must be ended for that."""
        placement, usd_per_hour = self._placement, self._sighting.usd_per_hour
        try:
            if usd_per_hour > placement.usd_per_hour + CENT_USD:
                self._spending.bill(placement, usd_per_hour)
                self._are_terms_due = True
            if self._are_terms_due:
                self._remote.note_terms(placement.attempt, placement.usd_per_hour, placement.lifetime_s)
                self._are_terms_due = False
        except DearPodError as error:
            return error
        except CloudTrainError as error:  # It is tried again; and this client, too, ends the pod at its deadline.
            logger.warning("%s: the new price of pod %s: %s", self._job, placement.pod_id, error, extra={"markup": False})
        return None

    def _report_progress(self) -> None:
        """Read the heartbeat and the progress if they are due, and pass them on to the watcher."""
        now = time.monotonic()
        # The first heartbeat proves that the files in the folder are this attempt's, so until then it is polled more often.
        if now >= (self._next_heartbeat_at if self._heartbeats else self._next_progress_at):
            self._next_heartbeat_at = now + self._pace.heartbeat_every_s
            heartbeat = self._remote.heartbeat(self._placement.attempt)
            if heartbeat is not None and heartbeat.number != self._heartbeats:
                if heartbeat.stage == _JOB_STAGE and self._request.keep_s and self._handed_in_at is None:
                    self._handed_in_at = now
                self._heartbeats, self._heartbeat_at = heartbeat.number, time.monotonic()
            self._watcher.busy(self._job, heartbeat.gpu_percent if heartbeat is not None else None, self._placement.cost_usd)
        if now >= self._next_progress_at:
            self._next_progress_at = now + self._pace.look_again_s(self._pace.progress_every_s, self._ran_s)
            # Its log is copied at the usual pace.
            log = now >= self._next_log_at
            if log:
                self._next_log_at = now + self._pace.progress_every_s
            progress = self._remote.follow(log=log) if self._heartbeats else None
            if progress is not None:
                self._watcher.moved(self._job, JobState.RUNNING)
                self._watcher.progressed(self._job, progress)

    @property
    def _ran_s(self) -> float:
        """For how long the latest job of a machine that is kept has run, in seconds; others are looked at in equal intervals."""
        return math.inf if self._handed_in_at is None else time.monotonic() - self._handed_in_at

    def _finish(self, result: JobResult, closed: threading.Event) -> JobResult:
        progress = self._remote.follow()
        if progress is not None:
            self._watcher.progressed(self._job, progress)
        if result.error is not None and result.error.type == "MachineError":
            raise HostFaultError(result.error.message)
        if result.error is not None and result.error.type == "LostProcessError" and self._placement.candidate.machines > 1:
            raise PodLostError(f"has lost a machine: {result.error.message}")
        if result.state != "succeeded":
            raise failed_on(self._request.folder, result, self._request.timeout_s, self._request.settings.max_cost_usd)
        self._fetch(result, closed)
        if result.started_at is not None and result.finished_at is not None:
            # The pod's clock may be wrong: its durations hold, its times do not.
            result = result.model_copy(update={"started_at": time.time() - (result.finished_at - result.started_at)})
        return result

    def _fetch(self, result: JobResult, closed: threading.Event) -> None:
        """Download the outputs; a volume may show one of them a moment after the result that names it."""
        give_up_at = time.monotonic() + _OUTPUTS_APPEAR_S
        while True:
            try:
                self._remote.fetch(result, self._request.kinds)
            except SourceError as error:
                if time.monotonic() >= give_up_at:
                    raise PodLostError(f"left an output that does not appear: {error.message}") from None
            else:
                return
            closed.wait(_OUTPUTS_EVERY_S)

    def _loss_of_volume(self, error: CloudTrainError) -> str | None:
        """Return why the pod is lost if its volume has been silent for too long, else None."""
        silent_s = time.monotonic() - self._volume_answered_at
        if silent_s > self._pace.volume_silent_s:
            return f"lost its volume, which has not answered for {silent_s:.0f} s: {error.message}"
        logger.warning("%s: the volume did not answer: %s", self._job, error, extra={"markup": False})
        return None

    def _loss(self) -> str | None:
        """Return why the pod is lost, as a verb phrase with the pod as its subject; None if it is not."""
        sighting, placement, now = self._sighting, self._placement, time.monotonic()
        started_at = sighting.running_since
        if started_at is None and self._heartbeats == 0:
            starting_s = now - self._began_at
            never = f"never started within startup_timeout_s ({placement.startup_timeout_s:g} s)"
        else:
            starting_s, never = 0.0, ""
        silent_s = now - self._heartbeat_at
        ends_at = (started_at or placement.created_at + placement.startup_timeout_s) + placement.lifetime_s + self._pace.deadline_grace_s
        reasons = {
            "was ended, since the limits did not pay for it any longer": sighting.unwanted_at is not None,
            "vanished": sighting.missing > 1,
            "has lost one of its machines": sighting.has_lost_machine,
            f"is in the state {sighting.pod.status if sighting.pod else ''}": sighting.pod is not None and sighting.pod.has_ended,
            never: starting_s > placement.startup_timeout_s,
            f"loops: its container has started {sighting.restarts + 1} times": sighting.restarts >= _LOOPS,
            f"lost its heartbeat {silent_s:.0f} s ago": self._heartbeats > 0 and silent_s > self._pace.heartbeat_lost_s,
            f"outlived its deadline of {placement.lifetime_s:g} s": now_s() > ends_at,
        }
        return next((reason for reason, applies in reasons.items() if applies), None)
