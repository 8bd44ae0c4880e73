"""The seam between jobs and machines: a `Backend` takes a job folder and returns its result."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.receipt import MachineUse
    from kedro_cloudtrain.jobs.result import JobProgress, JobResult, JobState
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.storage.volumes import Volume


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """What a backend is asked to run.

    Attributes:
        folder: the job folder, written and ready.
        volume: holds its dataset keys.
        settings: what `cloudtrain.yml` sets for its node.
        workload: how much there is to compute with.
        requirements: what a pod installs for it.
        cpu_requirements: the same of a pod without a GPU.
        python: the Python of a pod's environment, such as `3.12`; empty for the image's own.
        project: the project's folder, whose lock file counts; None for what has no project.
        environment: what the job's process finds in its environment beside the usual, such as the secrets of a URL.
        attach: whether a machine that works on the same job already, for a client that is gone, is taken over.
        members: the jobs that run within this one, where it is a group.
        kinds: the outputs that come back; left out, all.
        keep_s: for how many seconds the machine of a group waits for more jobs once it has none.
        is_wanted: returns whether another machine is to take over where this one is lost; None where it always is.
    """

    folder: JobFolder
    volume: Volume
    settings: NodeSettings
    workload: Workload
    requirements: tuple[str, ...] = ()
    cpu_requirements: tuple[str, ...] = ()
    python: str = ""
    project: Path | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    attach: bool = False
    members: tuple[JobFolder, ...] = ()
    kinds: tuple[str, ...] | None = None
    keep_s: float = 0.0
    is_wanted: Callable[[], bool] | None = None

    @property
    def timeout_s(self) -> float:
        """When the job is ended, in seconds from its start."""
        return self.settings.timeout_s


class Watcher(Protocol):
    """Is notified of how a job proceeds."""

    def moved(self, job: str, state: JobState) -> None:
        """Called when the job has changed its state."""
        ...

    def progressed(self, job: str, progress: JobProgress) -> None:
        """Called when the fit has come further."""
        ...

    def placed(self, job: str, machine: str, usd_per_hour: float, pod: str) -> None:
        """Called when the job has got a machine, which is a pod of an id."""
        ...

    def busy(self, job: str, gpu_percent: float | None, cost_usd: float) -> None:
        """Called with how busy the machine's GPU is, and what the machine has cost so far, in dollars."""
        ...

    def used(self, job: str, use: MachineUse) -> None:
        """Called with what a machine was used for, once that is over."""
        ...


class KeptJob(Protocol):
    """A job that an earlier client has left, as a folder, a process or a pod.

    Attributes:
        folder: the job's folder on this computer.
    """

    folder: JobFolder

    def result(self, *, log: bool = False, kinds: Collection[str] | None = None) -> JobResult | None:
        """Return the job's result, with its outputs in the folder on this computer; None where it has none.

        Args:
            log: whether the job's log and its progress are brought to the folder as well.
            kinds: which of the outputs; left out, all.

        Raises:
            JobLostError: there is a result file, and it is not a result.
        """
        ...

    def discard(self, result: JobResult) -> None:
        """Delete a result whose outputs are not what it describes: the job has to run again."""
        ...

    def refresh(self) -> None:
        """Bring what is new of the job's progress to the folder on this computer."""
        ...

    def prune(self) -> None:
        """Let the job, which is a trial, end at its next round."""
        ...

    def group(self) -> JobFolder | None:
        """Return the folder of the group whose machine works on the job for a client that is gone or elsewhere; None where none does."""
        ...

    def is_running(self) -> bool:
        """Return whether a machine may be working on the job."""
        ...

    def wait(self, report: Callable[[str, JobProgress], None]) -> JobResult | None:
        """Wait until the job is done and return its result; None where it is gone and has left none.

        Args:
            report: is called with the name of the job, or of its group, and each new progress.
        """
        ...

    def log(self, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines of the job's log.

        Args:
            follow: whether to go on until the job is done.
        """
        ...

    def delete(self, sent: Iterable[Path]) -> None:
        """Delete what the volume holds of the job, beside the folder on this computer.

        Args:
            sent: the inputs that were sent along and that no other job needs.
        """
        ...


class Backend(Protocol):
    """Runs jobs; `run` blocks until the job is done, and is called from many threads at once."""

    name: str

    def run(self, request: JobRequest, watcher: Watcher) -> JobResult:
        """Run a job and return its result.

        Raises:
            JobFailedError: the script raised.
            JobTimeoutError: the job reached its deadline.
            JobLostError: the job is gone and left no result.
            JobCancelledError: the end of the run, or of the group, ended it.
        """
        ...

    def submit(self, request: JobRequest) -> None:
        """Start a job and leave it running: it ends by itself, and a later run finds it, or its result.

        Raises:
            BackendError: it cannot be started.
        """
        ...

    def kept(self, folder: JobFolder) -> KeptJob:
        """Return what an earlier client has left of a job."""
        ...


class MachineBackend(Backend, Protocol):
    """Runs jobs on machines of its own; `close` ends those that it still waits for."""

    def deliver(self, request: JobRequest, files: Mapping[Path, bytes], members: Sequence[JobFolder] = ()) -> None:
        """Write further files of a job's folder, for its machine, which runs, or is about to.

        Args:
            request: the job, or the group.
            files: their contents, in the order in which they have to be there.
            members: more jobs of the group; what they need is there before the files are, and `machine.json` names the group in each.

        Raises:
            BackendError: they cannot be brought.
        """
        ...

    def close(self) -> None:
        """End every job that `run` still waits for, and refuse new ones."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether `close` has begun."""
        ...

    def left(self) -> Sequence[str]:
        """Return, after `close`, a sentence for each machine that could not be ended, with its price and what ends it."""
        ...
