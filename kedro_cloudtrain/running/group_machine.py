"""The machine that a group of small jobs shares: its folder, its environment, and how its jobs learn of its progress."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import logging
import secrets
import threading
import time
import zipfile
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import CloudTrainError, ConfigError
from kedro_cloudtrain.jobs.fingerprint import job_name
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.gpu_use import GpuUse
from kedro_cloudtrain.jobs.receipt import MachineUse, Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.jobs.worker_archive import add_member, worker_archive
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.wording import counted
from kedro_cloudtrain.worker.protocol import (
    CREDENTIALS_VARIABLE,
    GROUP_PREFIX,
    JOB_KEYS_VARIABLE,
    JOBS,
    PER_JOB_VARIABLES,
    URL_SECRETS_VARIABLE,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kedro_cloudtrain.backends.backend import JobRequest, Watcher
    from kedro_cloudtrain.jobs.result import JobProgress
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator

logger = logging.getLogger("kedro.cloudtrain")


@dataclasses.dataclass(eq=False)
class Member:
    """A job that waits for its group's machine.

    Attributes:
        request: what was asked for.
        watcher: is notified of how the job proceeds; None where it is started and left running.
        done: set once there is nothing more to wait for.
        error: why the job has no result; None where it has one.
    """

    request: JobRequest
    watcher: Watcher | None
    done: threading.Event = dataclasses.field(default_factory=threading.Event)
    error: CloudTrainError | None = None

    @property
    def job(self) -> str:
        """The job's name."""
        return self.request.folder.name

    def begin(self) -> None:
        """Notify the job's watcher that the machine has reached the job."""
        if self.watcher is not None:
            self.watcher.moved(self.job, JobState.STARTING)

    def end(self, error: CloudTrainError | None = None) -> None:
        """Let the job's thread go on: to its result, or with an error."""
        if not self.done.is_set():
            self.error = error
            self.done.set()


def end_all(members: Iterable[Member], error: CloudTrainError) -> None:
    """Let the threads of several jobs go on with an error."""
    for member in members:
        # Each thread raises its own: an exception that they share would gather all their tracebacks.
        member.end(type(error)(error.message) if type(error).__init__ is CloudTrainError.__init__ else error)


@dataclasses.dataclass(frozen=True)
class GroupMachine:
    """One machine for the jobs of a group, one after another.

    Attributes:
        group: the group's name.
        members: the jobs, in the order in which they run.
    """

    group: str
    members: Sequence[Member]

    @functools.cached_property
    def folder(self) -> JobFolder:
        """The machine's own folder, named by its jobs: the same jobs, asked for again, find it."""
        digest = hashlib.sha256("\n".join(member.job for member in self.members).encode()).hexdigest()
        volume = self.members[0].request.volume
        return JobFolder(volume.folder(f"{JOBS}/{job_name(f'{GROUP_PREFIX}{self.group}', digest)}"))

    @property
    def detached(self) -> bool:
        """Whether all of its jobs are left running."""
        return all(member.watcher is None for member in self.members)

    def request(self) -> JobRequest:
        """Return what a backend is asked to run: the largest workload, and what all of the jobs need.

        Raises:
            ConfigError: two of the jobs reach the same place with different credentials.
        """
        requests = [member.request for member in self.members]
        return dataclasses.replace(
            requests[0],
            folder=self.folder,
            workload=max((request.workload for request in requests), key=lambda workload: workload.cells or 0.0),
            requirements=tuple(dict.fromkeys(line for request in requests for line in request.requirements)),
            cpu_requirements=tuple(dict.fromkeys(line for request in requests for line in request.cpu_requirements)),
            python=next((request.python for request in requests if request.python), ""),
            environment=_shared_environment(requests),
            members=tuple(request.folder for request in requests),
        )

    def write(self, request: JobRequest, generator: TrainingScriptGenerator) -> None:
        """Write the machine's folder: its script, and, where the machine is not on this computer, the folders of its jobs."""
        folder = request.folder
        sent = sorted({file.name for member in request.members for file in member.sent})
        environments = {
            member.job: {name: value for name, value in member.request.environment.items() if name in PER_JOB_VARIABLES}
            for member in self.members
        }
        folder.clear()
        folder.write_json(folder.spec, {"name": f"group {self.group}", "jobs": [member.job for member in self.members], "sent": sent})
        folder.write(folder.script, generator.render_group(self.group, secrets.token_hex(4), environments).encode())
        folder.write(folder.archive, worker_archive(bytecode=isinstance(request.volume, DirectoryVolume)), counted=False)
        if not isinstance(request.volume, DirectoryVolume):
            folder.write(folder.members, _packed(request.members))


class GroupWatcher:
    """Notifies the jobs of a group of how their machine proceeds: which of them is running, and which are done.

    Attributes:
        machines: what was paid for.
        gpu_use: how busy the machine's GPU was.
    """

    def __init__(self, group: str, members: Sequence[Member]) -> None:
        self.machines: list[MachineUse] = []
        self._group = group
        self._members = members
        self._reached = -1
        self.gpu_use = GpuUse()
        self._began, self._began_at = time.monotonic(), time.time()
        self._use: tuple[str, MachineUse, float] | None = None

    def moved(self, job: str, state: JobState) -> None:
        """Log that the machine has started."""
        if state is JobState.STARTING:
            jobs = f"{counted(len(self._members), 'job')}, one after another"
            logger.info("group %s started: %s  [%s]", self._group, jobs, job, extra={"markup": False})

    def progressed(self, job: str, progress: JobProgress) -> None:
        """Notify the jobs that the machine has reached, and end those that it has passed."""
        del job
        for member in self._members[self._reached + 1 : progress.step + 1]:
            member.begin()
        for member in self._members[: progress.step]:
            member.end()
        self._reached = max(self._reached, progress.step)

    def placed(self, job: str, machine: str, usd_per_hour: float, pod: str) -> None:
        """Record the machine, and log its kind and its price."""
        self._use = (job, MachineUse(pod, machine, usd_per_hour, 0.0, 0.0, ""), time.monotonic())
        logger.info("group %s on %s at $%.2f/h  [%s]", self._group, machine, usd_per_hour, job, extra={"markup": False})

    def busy(self, job: str, gpu_percent: float | None, cost_usd: float) -> None:
        """Record how busy the machine's GPU is; a group's machine has no row in the display."""
        del job, cost_usd
        self.gpu_use.add(time.monotonic() - self._began, gpu_percent)

    def used(self, job: str, use: MachineUse) -> None:
        """Record what the machine was used for."""
        del job
        self._use = None
        self.machines.append(use)

    def receipt_so_far(self) -> Receipt | None:
        """Return what the machine has taken so far; None where none is paid for."""
        if self._use is None:
            return None
        job, use, placed_at = self._use
        machines = (*self.machines, use.so_far(time.monotonic() - placed_at))
        total_s = time.monotonic() - self._began
        return Receipt(f"group {self._group}", job, "", JobState.RUNNING, total_s=total_s, machines=machines, started_at=self._began_at)


def _packed(folders: Iterable[JobFolder]) -> bytes:
    """Pack the folders of jobs, as far as a machine needs them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in folders:
            for file in folder.needed:
                add_member(archive, f"{folder.name}/{file.name}", file.read_bytes())
    return buffer.getvalue()


def _shared_environment(requests: Iterable[JobRequest]) -> dict[str, str]:
    """Return what the jobs of a machine find in their environment, all of them.

    Raises:
        ConfigError: two of them reach the same place with different credentials.
    """
    shared: dict[str, str] = {}
    secrets_by_place: dict[str, dict[str, Any]] = {URL_SECRETS_VARIABLE: {}, CREDENTIALS_VARIABLE: {}, JOB_KEYS_VARIABLE: {}}
    for request in requests:
        for variable, merged in secrets_by_place.items():
            for place, secret in json.loads(request.environment.get(variable, "{}")).items():
                if merged.setdefault(place, secret) != secret:
                    raise ConfigError(
                        f"{place} is read by two nodes of a group, each with different credentials: take one of them out of the group."
                    )
        shared |= {name: value for name, value in request.environment.items() if name not in PER_JOB_VARIABLES}
    return shared | {variable: json.dumps(merged) for variable, merged in secrets_by_place.items() if merged}
