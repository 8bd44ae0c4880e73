"""The pods that a project has left or still runs: which they are, how old, what they have cost; and the end of them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import re
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.launching import NAME_PREFIX, pod_prefix
from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.jobs.fingerprint import job_name
from kedro_cloudtrain.jobs.folder import JOBS
from kedro_cloudtrain.jobs.result import JobFailure, JobResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.storage.volumes import Volume

# `-` and the eight digits that tell one attempt from another end a pod's name.
_ATTEMPT = re.compile(r"-([0-9a-f]{8})$")


@dataclasses.dataclass(frozen=True)
class FleetPod:
    """A pod of ours.

    Attributes:
        pod: as RunPod has it.
        prefix: what the names of its project's pods begin with; `cloudtrain-` where any project's are looked at.
        now: when it was looked at.
    """

    pod: Pod
    prefix: str
    now: dt.datetime

    @property
    def job(self) -> str:
        """The name of its job, or the beginning of it: a pod's name has 80 characters of it."""
        return _ATTEMPT.sub("", self.pod.name.removeprefix(self.prefix))

    def works_on(self, job: str) -> bool:
        """Tell whether it is a pod of the job of this name."""
        return self.job == job[:80]

    @property
    def summary(self) -> str:
        """Its state, age and dollars in a few words: `running, 12 min, $0.09`."""
        return f"{self.state}, {self.age}, ${self.cost_usd:.2f}"

    @property
    def attempt(self) -> str:
        """What the job's files of this try carry; empty where the name does not say."""
        found = _ATTEMPT.search(self.pod.name)
        return found[1] if found else ""

    @property
    def state(self) -> str:
        """RunPod's word for it."""
        return self.pod.status.lower()

    @property
    def age_s(self) -> float:
        """Seconds since it was created, or since its container started where that is not known."""
        with contextlib.suppress(ValueError):
            created = dt.datetime.fromisoformat(self.pod.created_at)
            return max(0.0, (self.now - created.replace(tzinfo=created.tzinfo or dt.UTC)).total_seconds())
        return float(self.pod.runtime.uptime) if self.pod.runtime is not None else 0.0

    @property
    def cost_usd(self) -> float:
        """What it has cost so far, in dollars, billed since its creation; a pod that has stopped costs its disk alone, not counted."""
        return self.pod.cost * self.age_s / 3600

    @property
    def age(self) -> str:
        """Its age as a person says it: `2 h 05 min`."""
        minutes = int(self.age_s // 60)
        return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004


class Fleet:
    """The pods of a project, or of all projects of the account.

    Args:
        api: the client of RunPod's API.
        project: the name of the project's folder; None means all projects.
        volume: the project's network volume, where clients that still wait are told of an end.
    """

    def __init__(self, api: RunPodApi, project: str | None, volume: Volume | None = None) -> None:
        self._api = api
        self._prefix = pod_prefix(project) if project is not None else f"{NAME_PREFIX}-"
        self._volume = volume if project is not None else None

    def pods(self) -> list[FleetPod]:
        """Give the pods that are not gone, the oldest first.

        Raises:
            BackendError: RunPod does not answer, or refuses.
        """
        now = dt.datetime.now(dt.UTC)
        found = [
            FleetPod(pod, self._prefix, now)
            for pod in self._api.pods()
            if pod.name.startswith(self._prefix) and _ATTEMPT.search(pod.name) and pod.status != "TERMINATED"
        ]
        return sorted(found, key=lambda one: -one.age_s)

    def end(self, pods: Iterable[FleetPod]) -> Iterator[tuple[FleetPod, str | None]]:
        """End pods for good, one by one; give each with why it could not be, or None where it is ended."""
        for one in pods:
            try:
                self._say_stopped(one)
                self._api.terminate_pod(one.pod.id)
            except CloudTrainError as error:
                yield one, error.message
            else:
                yield one, None

    def _say_stopped(self, one: FleetPod) -> None:
        """Leave a result for a client that still waits: without one, it would take the pod for lost and pay for another."""
        if self._volume is None or not one.attempt:
            return
        key = f"{JOBS}/{one.job}/result.json"
        with contextlib.suppress(CloudTrainError):  # Money first: a volume that does not answer stops no end.
            if not self._volume.exists(key):
                error = JobFailure(type="Stopped", message="ended by `kedro cloudtrain stop` or `reap`")
                result = JobResult(state="failed", attempt=one.attempt, error=error)
                self._volume.write_bytes(key, result.model_dump_json().encode())


def matching(pods: Iterable[FleetPod], job: str) -> list[FleetPod]:
    """Give the pods of a job: by its whole name, else by its node's name, else by the beginning of its name."""
    pods = list(pods)
    node = re.escape(job_name(job, ""))
    for fits in (
        lambda one: one.works_on(job),
        lambda one: re.fullmatch(f"{node}[0-9a-f]{{1,12}}", one.job) is not None,
        lambda one: one.job.startswith(job),
    ):
        found = [one for one in pods if fits(one)]
        if found:
            return found
    return []
