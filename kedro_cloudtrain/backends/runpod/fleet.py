"""The pods that a project has left or still runs: list them, and terminate them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import re
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.launching import NAME_PREFIX, pod_prefix
from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.jobs.fingerprint import name_patterns
from kedro_cloudtrain.jobs.result import JobResult
from kedro_cloudtrain.worker.protocol import JOBS, RESULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.storage.volumes import Volume

# A pod's name ends with `-` and the eight digits of its attempt.
_ATTEMPT = re.compile(r"-([0-9a-f]{8})$")


@dataclasses.dataclass(frozen=True)
class JobPod:
    """A pod that this package has created for a job.

    Attributes:
        pod: the pod as RunPod describes it.
        prefix: the beginning of the names of its project's pods; `cloudtrain-` if the pods of all projects are listed.
        now: when it was listed.
    """

    pod: Pod
    prefix: str
    now: dt.datetime

    @property
    def job(self) -> str:
        """The name of its job, or the beginning of that: a pod's name has its first 80 characters."""
        return _ATTEMPT.sub("", self.pod.name.removeprefix(self.prefix))

    def works_on(self, job: str) -> bool:
        """Return whether the pod was created for the job of this name."""
        return self.job == job[:80]

    @property
    def summary(self) -> str:
        """Its state, age and dollars in a few words: `running, 12 min, $0.09`."""
        return f"{self.state}, {self.age}, ${self.cost_usd:.2f}"

    @property
    def attempt(self) -> str:
        """Its attempt, as in the job's files; empty if the name does not end with one."""
        match = _ATTEMPT.search(self.pod.name)
        return match[1] if match else ""

    @property
    def state(self) -> str:
        """RunPod's word for its state."""
        return self.pod.status.lower()

    @property
    def age_s(self) -> float:
        """Seconds since its creation, or since its container started if the creation is not known."""
        with contextlib.suppress(ValueError):
            created = dt.datetime.fromisoformat(self.pod.created_at)
            return max(0.0, (self.now - created.replace(tzinfo=created.tzinfo or dt.UTC)).total_seconds())
        return float(self.pod.runtime.uptime) if self.pod.runtime is not None else 0.0

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
        project: the name of the project's folder; None means all projects.
        volume: the project's network volume, where a client that still waits for a terminated pod learns of it.
    """

    def __init__(self, api: RunPodApi, project: str | None, volume: Volume | None = None) -> None:
        self._api = api
        self._prefix = pod_prefix(project) if project is not None else f"{NAME_PREFIX}-"
        self._volume = volume if project is not None else None

    def pods(self) -> list[JobPod]:
        """Return the pods that are not terminated, oldest first.

        Raises:
            BackendError: RunPod does not answer, or refuses.
        """
        now = dt.datetime.now(dt.UTC)
        pods = [
            JobPod(pod, self._prefix, now)
            for pod in self._api.pods()
            if pod.name.startswith(self._prefix) and _ATTEMPT.search(pod.name) and pod.status != "TERMINATED"
        ]
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

    def _write_stopped_result(self, pod: JobPod) -> None:
        """Leave a result for a client that still waits: without one, it would consider the pod lost and pay for another."""
        if self._volume is None or not pod.attempt:
            return
        key = f"{JOBS}/{pod.job}/{RESULT}"
        with contextlib.suppress(CloudTrainError):  # Money first: the pod is terminated even if the volume does not answer.
            if not self._volume.exists(key):
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
