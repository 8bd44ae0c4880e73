"""Where jobs run: a `Backend` takes a job folder and gives its result."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kedro_cloudtrain.config import Settings
    from kedro_cloudtrain.folder import JobFolder
    from kedro_cloudtrain.jobs import JobProgress, JobResult, JobState


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """What a backend is asked to run.

    Attributes:
        folder: the job folder, written and ready.
        volume: the volume's directory, where a dataset key is found; None for a job that reads no key.
        timeout_s: when the job is ended, in seconds from its start.
        environment: what the job's process finds in its environment beside the usual: the secrets of a URL.
    """

    folder: JobFolder
    volume: Path | None
    timeout_s: float
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)


class Watcher(Protocol):
    """Who is told how a job goes on."""

    def moved(self, job: str, state: JobState) -> None:
        """Hear that the job has come to a state."""
        ...

    def progressed(self, job: str, progress: JobProgress) -> None:
        """Hear how far the fit is."""
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

    def close(self) -> None:
        """End every job that still runs, and refuse new ones."""
        ...


def make_backend(settings: Settings, jobs: int = 1) -> Backend:
    """Give the backend that the settings name, for so many jobs at once."""
    from kedro_cloudtrain.backends.local import LocalBackend  # noqa: PLC0415  # only the one that is used

    return {"local": LocalBackend}[settings.backend](jobs)
