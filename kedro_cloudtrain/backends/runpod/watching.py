"""Watching pods: one list of all of them serves every job, and a pod that should be gone is seen to be."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import CloudTrainError

if TYPE_CHECKING:
    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.backends.runpod.pace import Pace

logger = logging.getLogger("kedro.cloudtrain")

# An uptime is whole seconds, and a list takes a while.
_UPTIME_OFF_S = 2.0
_SHARE_OF_QUOTA = 0.1
_LONGEST_S = 30.0
_LAST_LOOKS = 3


@dataclasses.dataclass
class Sighting:
    """What the lists have shown of one pod; times are this process's monotonic clock.

    Attributes:
        pod: as the latest list had it; None before the first.
        missing: in how many lists in a row it was not.
        running_since: when its container was first seen running.
        began_at: when its container was last started, by its uptime.
        restarts: how often that has become later.
        farewell_at: when its job was done.
    """

    name: str
    added_at: float
    pod: Pod | None = None
    missing: int = 0
    running_since: float | None = None
    began_at: float | None = None
    restarts: int = 0
    farewell_at: float | None = None

    def see(self, pod: Pod | None) -> None:
        """Take in what one list says of it."""
        if pod is None or pod.status == "TERMINATED":
            self.missing += 1
            return
        self.missing = 0
        if pod.runtime is not None:
            began_at = time.monotonic() - pod.runtime.uptime
            if self.running_since is None or self.began_at is None:
                self.running_since = self.began_at = began_at
            # An uptime is near zero in each list of a container that loops: that it does not grow tells, not that it falls.
            elif began_at > self.began_at + _UPTIME_OFF_S:
                self.began_at = began_at
                self.restarts += 1
        self.pod = pod


class PodWatch:
    """Lists the account's pods while there is one to watch, however many there are, and no more often than its pace says.

    Args:
        api: the client.
        pace: how often.
    """

    def __init__(self, api: RunPodApi, pace: Pace) -> None:
        self._api = api
        self._pace = pace
        self._lock = threading.Lock()
        self._pods: dict[str, Sighting] = {}
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, pod_id: str, name: str) -> Sighting:
        """Watch a pod."""
        sighting = Sighting(name, time.monotonic())
        with self._lock:
            self._pods[pod_id] = sighting
            if self._thread is None:
                self._thread = threading.Thread(target=self._go_on, name="cloudtrain-pods", daemon=True)
                self._thread.start()
        self._wake.set()
        return sighting

    def bid_farewell(self, pod_id: str) -> None:
        """Note that a pod's job is done: it ends itself, and is ended from here where it does not."""
        with self._lock:
            if pod_id in self._pods:
                self._pods[pod_id].farewell_at = time.monotonic()

    def terminate(self, pod_id: str) -> None:
        """End a pod now, and watch it no longer; where that fails, say what is to be done."""
        with self._lock:
            sighting = self._pods.pop(pod_id, None)
        if sighting is None or sighting.missing <= 1:
            self._end(pod_id)

    def _end(self, pod_id: str) -> None:
        try:
            self._api.terminate_pod(pod_id)
        except CloudTrainError as error:
            logger.error(  # noqa: TRY400  # the message is what a person needs; where it was raised is not
                "Pod %s could not be ended: %s It ends itself at its deadline. To end it now: kedro cloudtrain reap, or "
                "https://console.runpod.io/pods",
                pod_id,
                error,
            )

    def close(self) -> None:
        """End every pod that is still watched, at the same time, and stop."""
        self._closed.set()
        self._wake.set()
        with self._lock:  # A pod may be just being added: its thread is to have begun before it is waited for.
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=90)
        with self._lock:
            busy = [pod_id for pod_id, sighting in self._pods.items() if sighting.farewell_at is None]
        self._end_all(busy)
        # Those whose job is done have ended themselves, mostly: one list tells, and tells whether the others are gone.
        for _ in range(_LAST_LOOKS):
            left = self._living()
            if not left:
                break
            self._end_all(left)
        with self._lock:
            self._pods.clear()

    def _end_all(self, pods: list[str]) -> None:
        enders = [threading.Thread(target=self._end, args=(pod_id,)) for pod_id in pods]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()

    def _living(self) -> list[str]:
        """Give those of the watched pods that are still there; all of them where nobody knows."""
        with self._lock:
            watched = list(self._pods)
        if not watched:
            return []
        try:
            living = {pod.id for pod in self._api.pods() if pod.status != "TERMINATED"}
        except CloudTrainError:
            return watched
        return [pod_id for pod_id in watched if pod_id in living]

    def _go_on(self) -> None:
        while not self._closed.is_set():
            self._wake.clear()
            with self._lock:
                idle = not self._pods
            if idle:
                self._wake.wait()
                continue
            asked_at = time.monotonic()
            try:
                pods = self._api.pods()
            except CloudTrainError as error:
                # What the jobs write on the volume still tells how they are.
                logger.warning("The pods could not be listed: %s", error)
            else:
                self._take_in(pods, asked_at)
            # Creates and ends come first: what the jobs write on the volume tells as much, and has no quota.
            every_s = max(self._pace.list_every_s, min(self._api.spare_s(_SHARE_OF_QUOTA), _LONGEST_S))
            self._closed.wait(max(0.0, asked_at + every_s - time.monotonic()))

    def _take_in(self, pods: list[Pod], asked_at: float) -> None:
        by_id = {pod.id: pod for pod in pods if pod.status != "TERMINATED"}
        with self._lock:
            watched = dict(self._pods)
        names = {sighting.name: pod_id for pod_id, sighting in watched.items()}
        for pod_id, sighting in watched.items():
            if sighting.added_at <= asked_at:  # A list that was asked for before cannot have it.
                sighting.see(by_id.get(pod_id))
            if sighting.farewell_at is None:
                continue
            if sighting.missing:
                with self._lock:
                    self._pods.pop(pod_id, None)
            elif time.monotonic() - sighting.farewell_at > self._pace.farewell_s:
                self._end(pod_id)  # Until a list has it no more, whatever the answer was.
        for pod in by_id.values():
            # A create whose answer was lost has made a second one.
            if pod.id != names.get(pod.name, pod.id):
                logger.warning("Pod %s is a second %s: it is ended.", pod.id, pod.name)
                self.terminate(pod.id)
