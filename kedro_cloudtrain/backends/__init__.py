"""Where jobs run: a `Backend` takes a job folder and gives its result."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

from kedro_cloudtrain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kedro_cloudtrain.config import NodeSettings, Settings
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.receipt import MachineUse
    from kedro_cloudtrain.jobs.result import JobProgress, JobResult, JobState
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.storage.volumes import Volume


# Of a job's environment, what is for it alone where it shares a machine.
OF_ONE_JOB = "CLOUDTRAIN_CHECKPOINT_"


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """What a backend is asked to run.

    Attributes:
        folder: the job folder, written and ready.
        volume: where its dataset keys are found.
        settings: what `cloudtrain.yml` says of its node.
        work: how much there is to compute with.
        requirements: what a pod installs for it.
        python: the Python that a pod's environment is made with, `3.12` say; empty for whichever the image has.
        environment: what the job's process finds in its environment beside the usual: the secrets of a URL.
        attach: whether a machine that works on the same job already, for a client that is gone, is taken.
        members: the jobs that are worked on within this one, where it is a group.
    """

    folder: JobFolder
    volume: Volume
    settings: NodeSettings
    work: Workload
    requirements: tuple[str, ...] = ()
    python: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    attach: bool = False
    members: tuple[JobFolder, ...] = ()

    @property
    def timeout_s(self) -> float:
        """When the job is ended, in seconds from its start."""
        return self.settings.timeout_s


class Watcher(Protocol):
    """Who is told how a job goes on."""

    def moved(self, job: str, state: JobState) -> None:
        """Hear that the job has come to a state."""
        ...

    def progressed(self, job: str, progress: JobProgress) -> None:
        """Hear how far the fit is."""
        ...

    def placed(self, job: str, machine: str, usd_per_hour: float) -> None:
        """Hear which machine the job has got."""
        ...

    def busy(self, job: str, gpu_percent: float | None, cost_usd: float) -> None:
        """Hear how busy the machine's GPU is, and what the machine has cost so far, in dollars."""
        ...

    def used(self, job: str, use: MachineUse) -> None:
        """Hear what a machine was used for, now that it is over."""
        ...


class Backend(Protocol):
    """Runs jobs.

    `run` blocks until the job is done and is called from many threads at once; `close` ends whatever still runs.
    """

    name: str

    def run(self, request: JobRequest, watcher: Watcher) -> JobResult:
        """Run a job to its result.

        Raises:
            JobFailedError: the script raised.
            JobTimeoutError: it ran into its deadline.
            JobLostError: it is gone and left no result.
            JobCancelledError: `close` ended it.
        """
        ...

    def submit(self, request: JobRequest) -> None:
        """Start a job, and leave it to itself: it ends by itself, and a later run finds it, or its result.

        Raises:
            BackendError: it cannot be started.
        """
        ...

    def earlier(self, folder: JobFolder) -> JobResult | None:
        """Give the result that an earlier run of the job has left, with its outputs in the folder here; None where there is none.

        Raises:
            JobLostError: there is something, and it is no result.
        """
        ...

    def discard(self, folder: JobFolder, result: JobResult) -> None:
        """Take a result away whose outputs are not what it says: the job is to be done again."""
        ...

    def collect(self, folder: JobFolder) -> JobResult | None:
        """Give the result of a job that its group's machine has come past, with its outputs and its log in the folder here.

        Raises:
            JobLostError: there is something, and it is no result.
        """
        ...

    def group_at_work(self, folder: JobFolder) -> JobFolder | None:
        """Give the folder of the group whose machine works on a job, for a client that is gone or elsewhere; None where none does."""
        ...

    def close(self) -> None:
        """End every job that still runs, and refuse new ones."""
        ...


def make_backend(settings: Settings, project: Path, jobs: int = 1) -> Backend:
    """Give the backend that the settings name, for so many jobs at once.

    Raises:
        BackendError: it cannot be: no key, say.
        ConfigError: it has no volume to work with.
    """
    # Only the one that is used.
    if settings.backend == "local":
        from kedro_cloudtrain.backends.local import LocalBackend  # noqa: PLC0415

        return LocalBackend(jobs)
    from kedro_cloudtrain.backends.runpod.account import connect  # noqa: PLC0415
    from kedro_cloudtrain.backends.runpod.backend import RunPodBackend  # noqa: PLC0415
    from kedro_cloudtrain.backends.runpod.budget import Budget  # noqa: PLC0415
    from kedro_cloudtrain.storage.s3 import S3Store  # noqa: PLC0415

    volume = settings.volume.make(project)
    if not isinstance(volume, S3Store):
        raise ConfigError(
            "backend runpod needs a network volume: volume: {id: …, data_center: …} in cloudtrain.yml. This one is " + volume.name
        )
    return RunPodBackend(connect(), volume, project.name, Budget(settings.run.max_cost_usd), jobs)
