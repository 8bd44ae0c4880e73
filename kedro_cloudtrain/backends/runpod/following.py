"""Following one pod to its job's result, by what it writes on the volume and by what is seen of it."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import CloudTrainError, JobCancelledError, JobLostError
from kedro_cloudtrain.jobs.failures import failed_on
from kedro_cloudtrain.jobs.result import JobState

if TYPE_CHECKING:
    import threading

    from kedro_cloudtrain.backends.backend import JobRequest, Watcher
    from kedro_cloudtrain.backends.runpod.offers import Candidate
    from kedro_cloudtrain.backends.runpod.pace import Pace
    from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
    from kedro_cloudtrain.backends.runpod.watching import Sighting
    from kedro_cloudtrain.jobs.result import JobResult

logger = logging.getLogger("kedro.cloudtrain")

_LOOPS = 3


class PodLostError(CloudTrainError):
    """A pod will give no result; another one may."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """A pod that has a job.

    Attributes:
        pod_id: RunPod's id of it.
        name: its unique name.
        attempt: what the job's files of this try carry.
        candidate: the kind of machine.
        usd_per_hour: what it costs.
        lifetime_s: when its own watchdog ends it, in seconds from its start.
        created_at: this process's monotonic clock.
        startup_timeout_s: when it is given up if it has not started.
    """

    pod_id: str
    name: str
    attempt: str
    candidate: Candidate
    usd_per_hour: float
    lifetime_s: float
    created_at: float
    startup_timeout_s: float

    @property
    def cost_usd(self) -> float:
        """What it has cost until now, in dollars; that it is billed from its creation is the worst case."""
        return (time.monotonic() - self.created_at) / 3600 * self.usd_per_hour


class Following:
    """One pod, from its creation to its job's result.

    Args:
        request: the job.
        remote: its folder on the volume.
        placement: the pod.
        sighting: what the lists of pods show of it.
        watcher: is told how it goes.
        pace: how often it is looked at.
    """

    def __init__(
        self, request: JobRequest, remote: RemoteFolder, placement: Placement, sighting: Sighting, watcher: Watcher, pace: Pace
    ) -> None:
        self._request = request
        self._remote = remote
        self._placement = placement
        self._sighting = sighting
        self._watcher = watcher
        self._pace = pace
        self._job = request.folder.name
        self._beats = 0
        self._beat_at = self._volume_answered_at = time.monotonic()
        self._progress_at = self._heartbeat_at = 0.0

    def result(self, closed: threading.Event) -> JobResult:
        """Wait for the result.

        Raises:
            PodLostError: none will come.
            JobCancelledError: `closed` is set.
            JobError: it is no success.
        """
        while not closed.is_set():
            # Before the volume is asked: a pod that is gone by then has written its result, or never will.
            lost = self._lost()
            try:
                result = self._remote.result(self._placement.attempt)
                if result is None and lost is None:
                    self._look()
                self._volume_answered_at = time.monotonic()
            except JobLostError:
                raise
            except CloudTrainError as error:
                result = None
                lost = lost or self._silent(error)
            if result is not None:
                return self._finish(result)
            if lost is not None:
                raise PodLostError(lost)
            closed.wait(self._pace.result_every_s)
        raise JobCancelledError(f"{self._job} was ended from here. Its folder is kept on the volume: {self._remote.key('')}")

    def _look(self) -> None:
        """See how far it is."""
        now = time.monotonic()
        # Its first heartbeat says that what lies in the folder is its own, so it is waited for more closely.
        if now >= (self._heartbeat_at if self._beats else self._progress_at):
            self._heartbeat_at = now + self._pace.heartbeat_every_s
            heartbeat = self._remote.heartbeat(self._placement.attempt)
            if heartbeat is not None and heartbeat.number != self._beats:
                self._beats, self._beat_at = heartbeat.number, time.monotonic()
            self._watcher.busy(self._job, heartbeat.gpu_percent if heartbeat is not None else None, self._placement.cost_usd)
        if now >= self._progress_at:
            self._progress_at = now + self._pace.progress_every_s
            progress = self._remote.follow() if self._beats else None
            if progress is not None:
                self._watcher.moved(self._job, JobState.RUNNING)
                self._watcher.progressed(self._job, progress)

    def _finish(self, result: JobResult) -> JobResult:
        progress = self._remote.follow()
        if progress is not None:
            self._watcher.progressed(self._job, progress)
        if result.error is not None and result.error.type == "MachineError":
            raise PodLostError(result.error.message)
        if result.state != "succeeded":
            raise failed_on(self._request.folder, result, self._request.timeout_s)
        self._remote.fetch(result)
        if result.started_at is not None and result.finished_at is not None:
            # The pod's clock may be off: its durations hold, its times do not.
            result = result.model_copy(update={"started_at": time.time() - (result.finished_at - result.started_at)})
        return result

    def _silent(self, error: CloudTrainError) -> str | None:
        silent_s = time.monotonic() - self._volume_answered_at
        if silent_s > self._pace.volume_silent_s:
            return f"its volume has not answered for {silent_s:.0f} s: {error.message}"
        logger.warning("%s: the volume did not answer: %s", self._job, error, extra={"markup": False})
        return None

    def _lost(self) -> str | None:
        """Say why no result is to be expected, or None."""
        sighting, placement, now = self._sighting, self._placement, time.monotonic()
        started_at = sighting.running_since
        if started_at is None and self._beats == 0:
            starting_s = now - placement.created_at
            never = f"never started within startup_timeout_s ({placement.startup_timeout_s:g} s)"
        else:
            starting_s, never = 0.0, ""
        ends_at = (started_at or placement.created_at + placement.startup_timeout_s) + placement.lifetime_s + self._pace.deadline_grace_s
        signs = {
            "vanished": sighting.missing > 1,
            f"is in the state {sighting.pod.status if sighting.pod else ''}": sighting.pod is not None
            and sighting.pod.status in ("EXITED", "ERROR"),
            never: starting_s > placement.startup_timeout_s,
            f"loops: its container was started {sighting.restarts + 1} times": sighting.restarts >= _LOOPS,
            f"lost its heartbeat {now - self._beat_at:.0f} s ago": self._beats > 0 and now - self._beat_at > self._pace.heartbeat_lost_s,
            f"outlived its deadline of {placement.lifetime_s:g} s": now > ends_at,
        }
        return next((sign for sign, seen in signs.items() if seen), None)
