"""Watch pods: one list of all of them serves every job, and pods whose job is done are terminated if they do not do so themselves."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.clock import now_s
from kedro_cloudtrain.backends.runpod.ledger import PodLedger
from kedro_cloudtrain.backends.runpod.sighting import Sighting
from kedro_cloudtrain.errors import ApiError, AuthError, BalanceError, CapacityError, CloudTrainError, ConfigError, JobCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry
    from kedro_cloudtrain.backends.runpod.pace import Pace

logger = logging.getLogger("kedro.cloudtrain")

_QUOTA_SHARE = 0.1
_LONGEST_INTERVAL_S = 30.0
_FINAL_LISTS = 3
# How long a list may have a pod after RunPod has answered that it is terminated.
_LISTED_ON_S = 5.0


class PodWatch:
    """Lists the account's pods while at least one is watched, at the same interval however many they are.

    A pod is watched, and stands in the ledger, until a list does not have it: an answer that it is terminated is not believed alone.

    Args:
        api: the client of RunPod's API.
        pace: the interval.
        ledger: where the pods are noted; left out, the one of this computer.

    Attributes:
        left: the pods that are still there after `close`, or that RunPod has not ended yet while it is at work, with their price in
            dollars per hour.
        late: the pods, by name, that RunPod may create a second time after `close`, since it has not answered the first request.
        forgotten: the pods of clients that are gone, as the ledger and the last list have them: names, with their price.
    """

    def __init__(self, api: RunPodApi, pace: Pace, ledger: PodLedger | None = None) -> None:
        self._api = api
        self._pace = pace
        self._ledger = ledger if ledger is not None else PodLedger(api.account)
        self._lock = threading.Lock()
        self._pods: dict[str, Sighting] = {}
        # The names of pods that RunPod may have created, though it has not answered.
        self._unanswered: dict[str, Callable[[bool], None]] = {}
        # Those that it has not answered yet.
        self._asking: set[str] = set()
        # Those that it has not answered at first, and has created by a later try.
        self._doubled: set[str] = set()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._over = False
        self.left: dict[str, float] = {}
        self.late: list[str] = []
        # The unanswered ones that no list could be searched for at the end, with their price.
        self._uncertain: dict[str, float] = {}
        self.forgotten: dict[str, float] = {}

    def create(self, entry: LedgerEntry, ask: Callable[[], Pod], on_gone: Callable[[bool], None]) -> Pod:
        """Create a pod that stands in the ledger before it is asked for.

        Args:
            entry: what the ledger notes of it.
            ask: asks RunPod for it.
            on_gone: called, if `ask` raises, once there is no pod: with whether there was one for a while.

        Raises:
            ConfigError: the ledger cannot be written; RunPod was not asked.
            JobCancelledError: `close` has begun; RunPod was not asked.
            CloudTrainError: what `ask` raises. Where RunPod may have created the pod all the same, each later list is searched for it.
        """
        self._ledger.open(entry)
        # Only after the entry is there: `close` either prevents the pod, or finds the entry and ends or names the pod.
        if self._closed.is_set():
            self._ledger.settle(entry.name)
            if self._over:
                self._ledger.close()  # The entry has opened it again.
            raise JobCancelledError(f"{entry.job} was not started: the run is over.")
        self._asking.add(entry.name)
        try:
            pod = ask()
        except BaseException as error:
            self._asking.discard(entry.name)
            if _is_refusal(error):
                self._ledger.settle(entry.name)
                on_gone(False)  # no pod existed
            else:
                with self._lock:
                    self._unanswered[entry.name] = on_gone
                with contextlib.suppress(ConfigError):  # From the last question on it may appear.
                    self._ledger.open(entry.model_copy(update={"asked_at": time.time()}))
                self._start()
            raise
        self._asking.discard(entry.name)
        if not entry.detached:
            # Before anything that may hang: from here on the end of the run ends the pod.
            self.add(pod.id, entry.name, pod.cost or entry.usd_per_hour)
        self._ledger.created(entry.name, pod.id, pod.cost or entry.usd_per_hour, self._api.unanswered_at.get(entry.name))
        return pod

    def unknown(self) -> dict[str, float]:
        """Return the pods, by name, that RunPod may have created and no list was searched for, with their price in dollars per hour."""
        if self._closed.is_set() and not self._over:  # `close` has not asked yet.
            return {name: entry.usd_per_hour for name, entry in self._ledger.own().items() if entry.pod is None}
        return dict(self._uncertain)

    def adopt(self, entry: LedgerEntry) -> None:
        """Enter a pod that another client has created, unless that one lives on this computer: from now on it is this client's to end."""
        recorded = self._ledger.entries().get(entry.name)
        if entry.pod is not None and not entry.detached:
            self.add(entry.pod, entry.name, entry.usd_per_hour)
        if recorded is None or not self._ledger.has_client(recorded) or recorded.detached:
            unanswered_at = None if recorded is None else recorded.unanswered_at if recorded.pod is not None else recorded.asked_at
            self._ledger.open(entry.model_copy(update={"shared": recorded is None, "unanswered_at": unanswered_at}))

    def add(self, pod_id: str, name: str, usd_per_hour: float = 0.0) -> Sighting:
        """Watch a pod from now on; the sighting is kept up to date."""
        with self._lock:
            sighting = self._pods.setdefault(pod_id, Sighting(name, now_s(), usd_per_hour=usd_per_hour))
        self._start()
        return sighting

    def sighting(self, pod_id: str) -> Sighting | None:
        """Return what the lists have shown of a watched pod; None if it is not watched, or gone."""
        with self._lock:
            return self._pods.get(pod_id)

    def release(self, pod_id: str, on_gone: Callable[[], None], on_stays: Callable[[], None]) -> None:
        """Let a pod whose job is done terminate itself; if it has not done so in time, terminate it.

        Args:
            pod_id: the pod's id.
            on_gone: called once the pod is gone.
            on_stays: called once if RunPod does not terminate it.
        """
        with self._lock:
            sighting = self._pods.get(pod_id)
            if sighting is not None:
                sighting.released_at, sighting.on_gone, sighting.on_stays = now_s(), on_gone, on_stays
        if sighting is None:
            on_gone()

    def terminate(self, pod_id: str, on_gone: Callable[[], None] | None = None) -> bool:
        """Terminate a pod now, and return whether RunPod has done so; if not, it is asked again after each list that has the pod.

        Args:
            pod_id: the pod's id.
            on_gone: is called where it is gone only later.
        """
        with self._lock:
            sighting = self._pods.get(pod_id)
        if sighting is None:
            entry = next((entry for entry in self._ledger.own().values() if entry.pod == pod_id), None)
            sighting = self.add(pod_id, entry.name if entry is not None else "", entry.usd_per_hour if entry is not None else 0.0)
        # A list that does not have it proves nothing: a new pod may be listed late.
        sighting.unwanted_at = sighting.unwanted_at or now_s()
        terminated = self._terminate(pod_id)
        if not terminated:
            sighting.on_gone = on_gone
        if self._closed.is_set() and self._thread is None:  # No list follows any more.
            if terminated:
                self._forget(pod_id)
            else:
                self.left[pod_id] = sighting.usd_per_hour
        return terminated

    def note_terminated(self, pod_id: str, name: str) -> None:
        """Watch a pod that RunPod has just terminated, until a list does not have it."""
        sighting = self.add(pod_id, name)
        sighting.unwanted_at = sighting.ended_at = now_s()

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
        self._terminate_all(self._find_busy())
        # Most of the released pods have terminated themselves by now: the list shows which have not, and whether the others are gone.
        left = self._find_living()
        for _ in range(_FINAL_LISTS):
            if not left:
                break
            with self._lock:  # A signal that ends this process meanwhile names them.
                self.left |= {pod_id: self._pods[pod_id].usd_per_hour for pod_id in left if pod_id in self._pods}
            self._terminate_all(left)
            time.sleep(min(1.0, self._pace.list_every_s))  # A list may have a pod for a moment longer.
            left = self._find_living()
        with self._lock:
            for pod_id in self._pods:
                self.left.pop(pod_id, None)
            self.left |= {pod_id: self._pods[pod_id].usd_per_hour for pod_id in left if pod_id in self._pods}
            unseen = [pod_id for pod_id, sighting in self._pods.items() if pod_id not in left and not sighting.may_be_forgotten]
            self.left |= {pod_id: self._pods[pod_id].usd_per_hour for pod_id in unseen}
            gone = [pod_id for pod_id in self._pods if pod_id not in left and pod_id not in unseen]
        for pod_id in gone:
            self._forget(pod_id)
        self.late = sorted(name for name, entry in self._ledger.own().items() if name in self._doubled and entry.may_appear)
        self._ledger.close()
        self._over = True

    def _find_busy(self) -> list[str]:
        """Return the watched pods whose jobs are not done; until RunPod has ended them, they count as left."""
        with self._lock:
            busy = {
                pod_id: sighting.usd_per_hour
                for pod_id, sighting in self._pods.items()
                if sighting.ended_at is None and (sighting.released_at is None or sighting.pod is None)
            }
            self.left |= busy
        return list(busy)

    def _start(self) -> None:
        """Start listing, unless that has begun, or is over."""
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._keep_listing, name="cloudtrain-pods", daemon=True)
                self._thread.start()
        self._wake.set()

    def _forget(self, pod_id: str) -> None:
        """Stop watching a pod that is gone."""
        with self._lock:
            sighting = self._pods.pop(pod_id, None)
        if sighting is None:
            return
        if sighting.name:
            self._settle(sighting.name)
        if sighting.on_gone is not None:
            sighting.on_gone()

    def _settle(self, name: str) -> None:
        """Take a pod out of the ledger that is gone, unless an earlier try to create it may still be carried out."""
        entry = self._ledger.own().get(name)
        unanswered_at = self._api.unanswered_at.get(name, entry.unanswered_at if entry is not None else None)
        asked_at = time.time() if name in self._asking else unanswered_at
        if entry is None or asked_at is None:
            self._ledger.settle(name)
            return
        with contextlib.suppress(ConfigError):
            self._ledger.open(entry.model_copy(update={"pod": None, "asked_at": asked_at}))
        with self._lock:
            self._unanswered.setdefault(name, lambda _: None)
            self._doubled.add(name)

    def _terminate(self, pod_id: str) -> bool:
        try:
            self._api.terminate_pod(pod_id)
        except CloudTrainError as error:
            logger.error("Pod %s could not be terminated, and is tried again: %s", pod_id, error)  # noqa: TRY400  # no stack is needed
            return False
        with self._lock:
            self.left.pop(pod_id, None)
            if pod_id in self._pods:
                self._pods[pod_id].ended_at = now_s()
        return True

    def _terminate_all(self, pods: list[str]) -> None:
        threads = [threading.Thread(target=self._terminate, args=(pod_id,), daemon=True) for pod_id in pods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _find_living(self) -> list[str]:
        """Return the watched pods that are not gone, with those whose creation was not answered; all of them if RunPod does not answer."""
        with self._lock:
            watched, unanswered = list(self._pods), set(self._unanswered)
        unanswered |= {name for name, entry in self._ledger.own().items() if entry.pod is None}
        # Without a pod of its own, this client names those of clients that are gone, if it has spoken to RunPod at all.
        if not watched and not unanswered and (self._api.clock_ahead_s is None or not self._ledger.dead()):
            return []
        try:
            living = [pod for pod in self._api.pods() if pod.status != "TERMINATED"]
        except CloudTrainError:
            entries = self._ledger.own()
            self._uncertain = {name: entries[name].usd_per_hour for name in unanswered if name in entries}
            return watched
        # RunPod may still be about to carry out what it has not answered.
        entries, names = self._ledger.own(), {pod.name for pod in living}
        late = [name for name in unanswered - self._doubled if name in entries and entries[name].may_appear and name not in names]
        self._uncertain = {name: entries[name].usd_per_hour for name in late}
        self._note_forgotten(living)
        for pod in living:
            if pod.name in unanswered and pod.id not in watched:
                self._ledger.created(pod.name, pod.id, pod.cost)
                self.add(pod.id, pod.name, pod.cost)
                watched.append(pod.id)
        ids = {pod.id for pod in living}
        return [pod_id for pod_id in watched if pod_id in ids]

    def _note_forgotten(self, living: list[Pod]) -> None:
        """Note the pods of clients that are gone, and take those out of the ledger that are gone as well."""
        by_name = {pod.name: pod for pod in living}
        self._ledger.sweep(by_name, self._api.may_exist)
        self.forgotten = {name: by_name[name].cost for name in self._ledger.dead() if name in by_name}

    def _keep_listing(self) -> None:
        while not self._closed.is_set():
            self._wake.clear()
            with self._lock:
                idle = not self._pods and not self._unanswered
            if idle:
                self._wake.wait()
                continue
            listed_at = now_s()
            try:
                pods = self._api.pods()
            except CloudTrainError as error:
                # The jobs are still followed by the files that they write on the volume.
                logger.warning("The pods could not be listed: %s", error)
            else:
                self._update_sightings(pods, listed_at)
            # Creates and terminations need the quota more: the files on the volume tell as much, and reading them has no quota.
            every_s = max(self._pace.list_every_s, min(self._api.call_interval_s(_QUOTA_SHARE), _LONGEST_INTERVAL_S))
            self._closed.wait(max(0.0, listed_at + every_s - now_s()))

    def _update_sightings(self, pods: list[Pod], listed_at: float) -> None:
        by_id = {pod.id: pod for pod in pods if pod.status != "TERMINATED"}
        with self._lock:
            watched = dict(self._pods)
        names = {sighting.name: pod_id for pod_id, sighting in watched.items() if sighting.name}
        for pod_id, sighting in watched.items():
            # An older list cannot have the pod, and a new pod may be listed late: one that is missing again is asked for itself.
            if sighting.added_at <= listed_at and (pod_id in by_id or not sighting.missing or not self._api.may_exist(pod_id)):
                sighting.update(by_id.get(pod_id))
            if sighting.is_unpaid:  # Its follower may be waiting for the volume.
                logger.warning(
                    "Pod %s is billed at $%.2f an hour, which the limits do not pay for any longer: it is ended",
                    pod_id,
                    sighting.usd_per_hour,
                )
                self.terminate(pod_id)
                continue
            if sighting.released_at is None and sighting.unwanted_at is None:
                continue
            if sighting.missing and sighting.may_be_forgotten:
                self._forget(pod_id)
            elif sighting.missing or self._is_late(sighting, listed_at):
                # After each list that still has the pod, whatever the last answer was.
                self._terminate_again(pod_id, sighting)
        for pod in by_id.values():
            # A create whose answer was lost has made a second pod.
            if pod.id != names.get(pod.name, pod.id):
                logger.warning("Pod %s is a second %s: it is terminated.", pod.id, pod.name)
                self.terminate(pod.id)
            elif pod.name in self._unanswered and pod.id not in watched:
                logger.warning("Pod %s was created, though RunPod did not answer: it is terminated.", pod.id)
                self._ledger.created(pod.name, pod.id, pod.cost)
                on_gone = self._unanswered[pod.name]
                self.add(pod.id, pod.name, pod.cost).on_gone = lambda on_gone=on_gone: on_gone(True)
                self.terminate(pod.id)
        self._give_up_unanswered({pod.name for pod in by_id.values()})

    def _is_late(self, sighting: Sighting, listed_at: float) -> bool:
        """Return whether a pod that a list has should have gone before it."""
        if sighting.unwanted_at is not None:
            return listed_at - (sighting.ended_at or 0.0) > _LISTED_ON_S
        return sighting.released_at is not None and now_s() - sighting.released_at > self._pace.release_s

    def _terminate_again(self, pod_id: str, sighting: Sighting) -> None:
        if not self._terminate(pod_id) and sighting.on_stays is not None:
            sighting.on_stays()
            sighting.on_stays = None

    def _give_up_unanswered(self, listed: set[str]) -> None:
        """Stop looking for pods that RunPod would have created by now."""
        entries = self._ledger.own()
        with self._lock:
            late = [name for name in self._unanswered if name in listed or name not in entries or not entries[name].may_appear]
            given_up = {name: self._unanswered.pop(name) for name in late}
        for name in set(late) - listed:
            self._ledger.settle(name)
            given_up[name](False)  # no pod existed


def _is_refusal(error: BaseException) -> bool:
    """Return whether RunPod has refused to create a pod; after any other error it may have created the pod all the same."""
    refused = isinstance(error, (CapacityError, AuthError, BalanceError)) or (isinstance(error, ApiError) and error.status is not None)
    return refused and not getattr(error, "may_have_created", False)
