"""Notifies the jobs of a group of how their machine proceeds: which of them is running, how far it is, and which are done."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.jobs.gpu_use import GpuUse
from kedro_cloudtrain.jobs.receipt import MachineUse, Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kedro_cloudtrain.backends.backend import JobRequest, Watcher
    from kedro_cloudtrain.jobs.result import JobProgress

logger = logging.getLogger("kedro.cloudtrain")


@dataclasses.dataclass(eq=False)
class Member:
    """A job that waits for its group's machine.

    Attributes:
        request: what was asked for.
        watcher: is notified of how the job proceeds; None where it is started and left running.
        done: set once there is nothing more to wait for.
        error: why the job has no result; None where it has one.
        has_begun: whether a machine has reached it.
    """

    request: JobRequest
    watcher: Watcher | None
    done: threading.Event = dataclasses.field(default_factory=threading.Event)
    error: CloudTrainError | None = None
    has_begun: bool = False

    @property
    def job(self) -> str:
        """The job's name."""
        return self.request.folder.name

    def begin(self) -> None:
        """Notify the job's watcher that the machine has reached the job."""
        self.has_begun = True
        if self.watcher is not None:
            self.watcher.moved(self.job, JobState.STARTING)

    def progressed(self, progress: JobProgress) -> None:
        """Notify the job's watcher of how far the job is."""
        if self.watcher is not None and not self.done.is_set():
            self.watcher.moved(self.job, JobState.RUNNING)
            self.watcher.progressed(self.job, progress)

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


class GroupWatcher:
    """Notifies the jobs of a group of how their machine proceeds.

    Args:
        label: what the machine is called: `group NAME`.
        members: the jobs, in the order in which they run; more may be added at the end.
        on_idle: called once all of them are done, each time.

    Attributes:
        machines: what was paid for.
        gpu_use: how busy the machine's GPU was.
        idle_s: for how long the machine had no job.
    """

    def __init__(self, label: str, members: Sequence[Member], on_idle: Callable[[], None] | None = None) -> None:
        self.machines: list[MachineUse] = []
        self._label = label
        self._members = members
        self._on_idle = on_idle
        self._reached = -1
        self.gpu_use = GpuUse()
        self.idle_s = 0.0
        self._idle_since: float | None = None
        self._began, self._began_at = time.monotonic(), time.time()
        self._use: tuple[str, MachineUse, float] | None = None

    def moved(self, job: str, state: JobState) -> None:
        """Log that the machine has started."""
        if state is JobState.STARTING:
            jobs = f"{counted(len(self._members), 'job')}, one after another" if len(self._members) != 1 else "1 job"
            logger.info("%s started: %s  [%s]", self._label, jobs, job, extra={"markup": False})

    def progressed(self, job: str, progress: JobProgress) -> None:
        """Notify the jobs that the machine has reached, and the one that runs, and end those that it has passed."""
        del job
        members = list(self._members)
        for member in members[self._reached + 1 : progress.step + 1]:
            member.begin()
        if progress.member is not None:
            for member in members:
                if member.job == progress.job:
                    member.progressed(progress.member)
        for member in members[: progress.step]:
            member.end()
        self._reached = max(self._reached, min(progress.step, len(members) - 1))
        if progress.step == progress.of and all(member.done.is_set() for member in members):
            self._begin_idling()

    def end_idling(self) -> None:
        """Stop counting idle time: the machine has got another job, or is over."""
        if self._idle_since is not None:
            self.idle_s += time.monotonic() - self._idle_since
            self._idle_since = None

    def placed(self, job: str, machine: str, usd_per_hour: float, pod: str) -> None:
        """Record the machine, and log its kind and its price."""
        self._use = (job, MachineUse(pod, machine, usd_per_hour, 0.0, 0.0, ""), time.monotonic())
        logger.info("%s on %s at $%.2f/h  [%s]", self._label, machine, usd_per_hour, job, extra={"markup": False})

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
        return Receipt(self._label, job, "", JobState.RUNNING, total_s=total_s, machines=machines, started_at=self._began_at)

    def _begin_idling(self) -> None:
        if self._idle_since is None:
            self._idle_since = time.monotonic()
            if self._on_idle is not None:
                self._on_idle()


class OtherMachineWatcher(GroupWatcher):
    """Follows a group's machine that another client has started, for one job that it has.

    Args:
        label: what the machine is called.
        member: the job.
        on_idle: called once the machine has done all of its jobs.
    """

    def __init__(self, label: str, member: Member, on_idle: Callable[[], None]) -> None:
        super().__init__(label, [], on_idle)
        self._member = member

    def progressed(self, job: str, progress: JobProgress) -> None:
        """Notify the job of how far it is."""
        del job
        if progress.member is not None and progress.job == self._member.job:
            self._member.progressed(progress.member)
        if progress.step == progress.of:
            self._begin_idling()
