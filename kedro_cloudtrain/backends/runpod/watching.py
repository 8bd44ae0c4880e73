"""Watch pods: one list of all of them serves every job, and pods whose job is done are terminated if they do not do so themselves."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import CloudTrainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.backends.runpod.pace import Pace

logger = logging.getLogger("kedro.cloudtrain")

# An uptime is in whole seconds, and a list takes a moment to arrive.
_UPTIME_ERROR_S = 2.0
_QUOTA_SHARE = 0.1
_LONGEST_INTERVAL_S = 30.0
_FINAL_LISTS = 3


@dataclasses.dataclass
class Sighting:
    """One pod as the lists have shown it; times are by this process's monotonic clock.

    Attributes:
        pod: the pod in the latest list that had it; None before the first.
        missing: how many lists in a row did not have it.
        running_since: when its container first started, by the first uptime that was seen.
        started_at: when its container last started, by its uptime.
        restarts: how often its container has started again.
        released_at: when its job was done.
        unwanted_at: when it was first to be terminated, and RunPod did not do so.
        usd_per_hour: its price.
        on_gone: called once a pod is gone that RunPod did not terminate at first.
    """

    name: str
    added_at: float
    pod: Pod | None = None
    missing: int = 0
    running_since: float | None = None
    started_at: float | None = None
    restarts: int = 0
    released_at: float | None = None
    unwanted_at: float | None = None
    usd_per_hour: float = 0.0
    on_gone: Callable[[], None] | None = None

    def update(self, pod: Pod | None) -> None:
        """Take over the pod as one list has it; None if the list does not have it."""
        if pod is None or pod.status == "TERMINATED":
            self.missing += 1
            return
        self.missing = 0
        if pod.runtime is not None:
            started_at = time.monotonic() - pod.runtime.uptime
            if self.running_since is None or self.started_at is None:
                self.running_since = self.started_at = started_at
            # A container that loops has an uptime near zero in each list: what proves a restart is that the uptime has not grown.
            elif started_at > self.started_at + _UPTIME_ERROR_S:
                self.started_at = started_at
                self.restarts += 1
        self.pod = pod


class PodWatch:
    """Lists the account's pods while at least one is watched, at the same interval however many they are.

    Args:
        api: the client of RunPod's API.
        pace: the interval.

    Attributes:
        left: the pods that are still there after `close`, or that RunPod has not ended yet while it is at work, with their price in
            dollars per hour.
    """

    def __init__(self, api: RunPodApi, pace: Pace) -> None:
        self._api = api
        self._pace = pace
        self._lock = threading.Lock()
        self._pods: dict[str, Sighting] = {}
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended: set[str] = set()
        self.left: dict[str, float] = {}

    def add(self, pod_id: str, name: str, usd_per_hour: float = 0.0) -> Sighting:
        """Watch a pod from now on; the sighting is kept up to date."""
        with self._lock:
            sighting = self._pods.get(pod_id) or Sighting(name, time.monotonic(), usd_per_hour=usd_per_hour)
            self._pods[pod_id] = sighting
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_listing, name="cloudtrain-pods", daemon=True)
                self._thread.start()
        self._wake.set()
        return sighting

    def forget(self, pod_id: str) -> None:
        """Watch a pod no longer: it is left alone."""
        with self._lock:
            self._pods.pop(pod_id, None)

    def release(self, pod_id: str) -> None:
        """Let a pod whose job is done terminate itself; if it has not done so in time, terminate it."""
        with self._lock:
            if pod_id in self._pods:
                self._pods[pod_id].released_at = time.monotonic()

    def terminate(self, pod_id: str, on_gone: Callable[[], None] | None = None) -> bool:
        """Terminate a pod now, and return whether RunPod has done so; if not, it is asked again after each list that has the pod.

        Args:
            pod_id: the pod's id.
            on_gone: is called where it is gone only later.
        """
        with self._lock:
            sighting = self._pods.get(pod_id)
        if (sighting is not None and sighting.missing > 1) or self._terminate(pod_id):
            with self._lock:
                self._pods.pop(pod_id, None)
            return True
        sighting = sighting if sighting is not None else self.add(pod_id, "")
        sighting.on_gone = on_gone
        sighting.unwanted_at = sighting.unwanted_at or time.monotonic()
        return False

    def _terminate(self, pod_id: str) -> bool:
        try:
            self._api.terminate_pod(pod_id)
        except CloudTrainError as error:
            logger.error("Pod %s could not be terminated, and is tried again: %s", pod_id, error)  # noqa: TRY400  # no stack is needed
            return False
        with self._lock:
            self._ended.add(pod_id)
            self.left.pop(pod_id, None)
        return True

    def close(self) -> None:
        """Terminate all watched pods at the same time, and stop watching."""
        self._closed.set()
        self._wake.set()
        # First of all: the thread that lists them may be waiting for an answer that never comes.
        self._terminate_all(self._find_busy())
        with self._lock:  # A pod may just be being added: the thread has to be started before it is joined.
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=30)
        self._terminate_all([pod_id for pod_id in self._find_busy() if pod_id in self.left])
        # Most of the released pods have terminated themselves by now: the list shows which have not, and whether the others are gone.
        left = self._find_living()
        for _ in range(_FINAL_LISTS):
            if not left:
                break
            self._terminate_all(left)
            left = self._find_living()
        with self._lock:
            for pod_id in self._pods:
                self.left.pop(pod_id, None)
            self.left |= {pod_id: self._pods[pod_id].usd_per_hour for pod_id in left if pod_id in self._pods}
            self._pods.clear()

    def _find_busy(self) -> list[str]:
        """Return the watched pods whose jobs are not done; until RunPod has ended them, they count as left."""
        with self._lock:
            busy = {pod_id: sighting.usd_per_hour for pod_id, sighting in self._pods.items() if sighting.released_at is None}
            self.left |= {pod_id: usd_per_hour for pod_id, usd_per_hour in busy.items() if pod_id not in self._ended}
        return list(busy)

    def _terminate_all(self, pods: list[str]) -> None:
        threads = [threading.Thread(target=self._terminate, args=(pod_id,), daemon=True) for pod_id in pods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _find_living(self) -> list[str]:
        """Return the watched pods that are not gone; all of them if RunPod does not answer."""
        with self._lock:
            watched = list(self._pods)
        if not watched:
            return []
        try:
            living = {pod.id for pod in self._api.pods() if pod.status != "TERMINATED"}
        except CloudTrainError:
            return watched
        return [pod_id for pod_id in watched if pod_id in living]

    def _keep_listing(self) -> None:
        while not self._closed.is_set():
            self._wake.clear()
            with self._lock:
                idle = not self._pods
            if idle:
                self._wake.wait()
                continue
            listed_at = time.monotonic()
            try:
                pods = self._api.pods()
            except CloudTrainError as error:
                # The jobs are still followed by the files that they write on the volume.
                logger.warning("The pods could not be listed: %s", error)
            else:
                self._update_sightings(pods, listed_at)
            # Creates and terminations need the quota more: the files on the volume tell as much, and reading them has no quota.
            every_s = max(self._pace.list_every_s, min(self._api.call_interval_s(_QUOTA_SHARE), _LONGEST_INTERVAL_S))
            self._closed.wait(max(0.0, listed_at + every_s - time.monotonic()))

    def _update_sightings(self, pods: list[Pod], listed_at: float) -> None:
        by_id = {pod.id: pod for pod in pods if pod.status != "TERMINATED"}
        with self._lock:
            watched = dict(self._pods)
        names = {sighting.name: pod_id for pod_id, sighting in watched.items()}
        for pod_id, sighting in watched.items():
            if sighting.added_at <= listed_at:  # An older list cannot have the pod.
                sighting.update(by_id.get(pod_id))
            over_s = None if sighting.released_at is None else time.monotonic() - sighting.released_at
            if over_s is None and sighting.unwanted_at is None:
                continue
            if sighting.missing:
                with self._lock:
                    self._pods.pop(pod_id, None)
                if sighting.on_gone is not None:
                    sighting.on_gone()
            elif sighting.unwanted_at is not None or (over_s is not None and over_s > self._pace.release_s):
                self._terminate(pod_id)  # After each list that still has the pod, whatever the last answer was.
        for pod in by_id.values():
            # A create whose answer was lost has made a second pod.
            if pod.id != names.get(pod.name, pod.id):
                logger.warning("Pod %s is a second %s: it is terminated.", pod.id, pod.name)
                self.terminate(pod.id)
