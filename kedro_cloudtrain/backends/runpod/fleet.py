"""The pods that a project has left or still runs: list them, and terminate them."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import re
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry, PodLedger
from kedro_cloudtrain.backends.runpod.pod_names import has_name_of, is_for_job, parse_name, pod_prefix
from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.jobs.fingerprint import name_patterns
from kedro_cloudtrain.jobs.result import JobResult
from kedro_cloudtrain.jobs.volume_file import MOST_BYTES, parsed
from kedro_cloudtrain.worker.protocol import JOBS, RESULT

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Iterator

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.storage.volumes import Volume


# A list may have a pod for a moment after it was terminated.
_LIST_PAUSES_S = (0.0, 2.0, 4.0)


class PodClient(enum.StrEnum):
    """What is known of the client that has asked for a pod."""

    GONE = "gone"
    ALIVE = "at work"
    DETACHED = "left it running"
    ELSEWHERE = "not on this computer"
    OTHER_PROJECT = "of another project"


@dataclasses.dataclass(frozen=True)
class JobPod:
    """A pod that this package has created for a job.

    Attributes:
        pod: the pod as RunPod describes it.
        project: the project's slug in its name.
        job: the name of its job, or the beginning of that: a pod's name has its first 80 characters.
        attempt: its attempt, as in the job's files.
        client: what is known of the client that has asked for it.
        now: when it was listed, by RunPod's clock.
    """

    pod: Pod
    project: str
    job: str
    attempt: str
    client: PodClient
    now: dt.datetime

    @property
    def forgotten(self) -> bool:
        """Whether nobody waits for it any more, so that it may be ended without a question."""
        return self.client is PodClient.GONE

    def works_on(self, job: str) -> bool:
        """Return whether the pod was created for the job of this name."""
        return is_for_job(self.job, job)

    @property
    def summary(self) -> str:
        """Its state, age and dollars in a few words: `running, 12 min, $0.09`."""
        return f"{self.state}, {self.age}, ${self.cost_usd:.2f}"

    @property
    def state(self) -> str:
        """RunPod's word for its state."""
        return self.pod.status.lower()

    @property
    def age_s(self) -> float:
        """Seconds since its creation, or since its container started if the creation is not known."""
        return self.pod.age_s(self.now) or 0.0

    @property
    def cost_usd(self) -> float:
        """Its cost so far, in dollars, billed since its creation; the disk, all that a stopped pod costs, is not counted."""
        return self.pod.cost * self.age_s / 3600

    @property
    def age(self) -> str:
        """Its age for a reader: `2 h 05 min`."""
        minutes = int(self.age_s // 60)
        return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004


class Fleet:
    """The pods of a project, or of all projects of the account.

    Args:
        api: the client of RunPod's API.
        project_id: the project's id.
        volume: the project's network volume, where a client that still waits for a terminated pod learns of it.
        all_projects: whether the pods of all projects of the account are the fleet's, rather than those of this one, and of those that
            have its name.
    """

    def __init__(self, api: RunPodApi, project_id: str, volume: Volume | None = None, *, all_projects: bool = False) -> None:
        self._api = api
        api.may_have_clusters = True
        self._project_id = project_id
        self._prefix = pod_prefix(project_id)
        self._volume = volume
        self._all = all_projects
        self._ledger = PodLedger(api.account)

    def pods(self) -> list[JobPod]:
        """Return this project's pods that are not terminated, or those of all projects, oldest first.

        Raises:
            BackendError: RunPod does not answer, or refuses.
        """
        return [pod for pod in self.namesakes() if self._all or pod.client is not PodClient.OTHER_PROJECT]

    def namesakes(self) -> list[JobPod]:
        """Return what `pods` does, and the pods of other projects that differ from this one by their digits alone.

        Raises:
            BackendError: RunPod does not answer, or refuses.
        """
        living = [pod for pod in self._api.pods() if pod.status != "TERMINATED"]
        now = self._api.now()
        self._ledger.sweep({pod.name for pod in living}, self._api.may_exist)
        entries = self._ledger.entries()
        names = {entry.pod: name for name, entry in entries.items() if entry.pod}
        pods = []
        # A pod that RunPod names no more is known by its id.
        for pod in (pod if pod.name else pod.model_copy(update={"name": names.get(pod.id, "")}) for pod in living):
            parts = parse_name(pod.name)
            if parts is not None and (self._all or has_name_of(parts[0], self._project_id)):
                entry = entries.get(pod.name)
                project, job, attempt = parts
                # A name has no room for the whole of a long job's.
                job = entry.job if entry is not None and is_for_job(job, entry.job) else job
                pods.append(JobPod(pod, project, job, attempt, self._client(pod, entry), now))
        return sorted(pods, key=lambda pod: -pod.age_s)

    def terminate(self, pods: Iterable[JobPod]) -> Iterator[tuple[JobPod, str | None]]:
        """Terminate pods one by one; yield each with the reason why it could not be terminated, or None."""
        for pod in pods:
            try:
                self._write_stopped_result(pod)
                self._api.terminate_pod(pod.pod.id)
            except CloudTrainError as error:
                yield pod, error.message
            else:
                yield pod, None

    def remaining(self, pods: Collection[JobPod]) -> list[JobPod]:
        """Return those of some pods that RunPod still lists, a moment after it has terminated them.

        Raises:
            BackendError: RunPod does not answer, or refuses.
        """
        left = list(pods)
        for pause_s in _LIST_PAUSES_S:
            if not left:
                break
            time.sleep(pause_s)
            living = {pod.id for pod in self._api.pods() if pod.status != "TERMINATED"}
            left = [pod for pod in left if pod.pod.id in living]
        return left

    def _client(self, pod: Pod, entry: LedgerEntry | None) -> PodClient:
        if entry is not None and not self._ledger.has_client(entry) and (not entry.detached or entry.overdue):
            return PodClient.GONE
        if not pod.name.startswith(self._prefix):
            return PodClient.OTHER_PROJECT
        if entry is None or entry.shared or not entry.client:
            return PodClient.ELSEWHERE
        return PodClient.DETACHED if entry.detached else PodClient.ALIVE

    def _write_stopped_result(self, pod: JobPod) -> None:
        """Leave a result for a client that still waits: without one, it would consider the pod lost and pay for another."""
        if self._volume is None or not pod.pod.name.startswith(self._prefix):
            return
        key = f"{JOBS}/{pod.job}/{RESULT}"
        with contextlib.suppress(CloudTrainError):  # Money first: the pod is terminated even if the volume does not answer.
            result = parsed(JobResult, self._volume.read_bytes(key, size=MOST_BYTES))
            # An earlier attempt's result does not count for the client that waits for this one.
            if result is None or result.attempt != pod.attempt:
                self._volume.write_bytes(key, JobResult.stopped(pod.attempt).model_dump_json().encode())


def select_pods(pods: Iterable[JobPod], job: str) -> list[JobPod]:
    """Return the pods of a job: by its whole name, else by its node's name, else by the beginning of its name."""
    pods = list(pods)
    # A pod's name has the beginning of its job's name alone, and so a part of the digits.
    for pattern in name_patterns(job, digits="1,12"):
        selected = [pod for pod in pods if re.fullmatch(pattern, pod.job) or pod.works_on(job)]
        if selected:
            return selected
    return []
