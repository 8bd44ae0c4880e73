"""Small nodes that share a machine: those that are ready at the same time run on it one after another, on one receipt."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import CloudTrainError, JobCancelledError, JobLostError
from kedro_cloudtrain.jobs.failures import failed_on, next_step
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.running.group_machine import GroupMachine, GroupWatcher, Member, end_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor, Future

    from kedro_cloudtrain.backends.backend import JobRequest, KeptJob, Watcher
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.running.run import Run
    from kedro_cloudtrain.running.slots import Slots

logger = logging.getLogger("kedro.cloudtrain")

# Kedro submits what is ready in a loop, and a job is prepared in milliseconds: after this long without another one, none is coming.
_TOGETHER_S = 0.3


class _ThreadState(threading.local):
    """Of the thread that runs a node: whether the node is still counted among those that are expected."""

    expected = False


class Gathering:
    """Gathers the jobs of a group that are ready at the same time.

    A node announces itself before its job is prepared, and its job joins later, or never does. Once every announced node has joined or
    dropped out, the jobs that have joined are a batch.

    Args:
        slots: the run's; while one of the group's jobs waits for another client, they tell when the run is over.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._changed = threading.Condition()
        self._expected = 0
        self._changed_at = 0.0
        self._joined: list[Member] = []
        self._batching = False
        self._thread = _ThreadState()

    def announce(self) -> None:
        """Count one more node whose job may join."""
        self._expect(1)

    def run_announced(self, task: Callable[[], Any]) -> Any:
        """Run an announced node's task in its own thread; a node that ends without having joined drops out."""
        self._thread.expected = True
        try:
            return task()
        finally:
            self._drop_out()

    def check_open(self, job: str) -> None:
        """Called repeatedly while another client holds the job; the group does not wait for it, since that client may wait for the group.

        Raises:
            NotStartedError: the run is over.
        """
        self._slots.check_open(job)
        self._drop_out()

    @contextlib.contextmanager
    def hold(self, job: str, *, detached: bool = False) -> Iterator[None]:
        """Let the job pass at once: the machine waits for a slot, for all of its jobs together."""
        del job, detached
        if not self._thread.expected:
            self._thread.expected = True
            self._expect(1)
        yield

    def join(self, member: Member) -> bool:
        """Add a job to the next batch; return whether the caller has to start a thread that takes the batch."""
        self._thread.expected = False
        with self._changed:
            self._joined.append(member)
            first, self._batching = not self._batching, True
            self._expect(-1)
        return first

    def batch(self) -> list[Member]:
        """Wait until every announced node has joined or dropped out, and take those that have joined."""
        with self._changed:
            while True:
                quiet_s = time.monotonic() - self._changed_at
                if self._expected <= 0 and quiet_s >= _TOGETHER_S:
                    batch, self._joined, self._batching = self._joined, [], False
                    return batch
                self._changed.wait(_TOGETHER_S - quiet_s if self._expected <= 0 else None)

    def _drop_out(self) -> None:
        if self._thread.expected:
            self._thread.expected = False
            self._expect(-1)

    def _expect(self, more: int) -> None:
        with self._changed:
            self._expected += more
            self._changed_at = time.monotonic()
            self._changed.notify_all()


class GroupBackend:
    """The backend of a group's jobs: each of them runs as on any other backend, on a machine that they share.

    Args:
        group: its name, the value of `group` in `cloudtrain.yml`.
        run: the run, whose backend has the machine.
        machines: runs machines, each in a thread.
    """

    def __init__(self, group: str, run: Run, machines: Executor) -> None:
        self.name = run.backend.name
        self.gathering = Gathering(run.slots)
        self._group = group
        self._run = run
        self._machines = machines

    def run(self, request: JobRequest, watcher: Watcher) -> JobResult:
        """Run a job on the group's machine and return its result.

        Raises:
            JobError: the job has failed, or the machine has left no result of it.
        """
        member = self._join(Member(request, watcher))
        if member.error is not None:
            raise member.error
        result = self.kept(request.folder).result(log=True, kinds=request.kinds)
        if result is None:
            raise JobLostError(f"{member.job} left no result on the machine of its group {self._group}.\n{next_step(request.folder)}")
        if result.state != "succeeded":
            raise failed_on(request.folder, result, request.timeout_s)
        return result

    def submit(self, request: JobRequest) -> None:
        """Start a job on the group's machine and leave it running."""
        member = self._join(Member(request, None))
        if member.error is not None:
            raise member.error

    def kept(self, folder: JobFolder) -> KeptJob:
        """Return what an earlier client has left of a job."""
        return self._run.backend.kept(folder)

    def close(self) -> None:
        """Do nothing: the machine is ended by the backend itself, which other jobs share."""

    def left(self) -> Sequence[str]:
        """Return nothing: the backend itself knows."""
        return ()

    def _join(self, member: Member) -> Member:
        if self.gathering.join(member):
            threading.Thread(target=self._start_batch, name=f"cloudtrain-group-{self._group}", daemon=True).start()
        member.done.wait()
        return member

    def _start_batch(self) -> None:
        batch = self.gathering.batch()

        def end_batch(future: Future[None]) -> None:
            """End what the machine has not ended itself: it was cancelled, or its thread has raised."""
            try:
                error = future.exception()
            except CancelledError:
                error = None
            reason = "was not run" if error is None else f"ended: {type(error).__name__}: {error}"
            own = error if isinstance(error, CloudTrainError) else None
            end_all(batch, own or JobCancelledError(f"The machine of the group {self._group} {reason}."))

        try:
            self._machines.submit(self._run_batch, batch).add_done_callback(end_batch)
        except RuntimeError:  # The executor is shut down.
            end_all(batch, JobCancelledError(f"The group {self._group} was not started: the run is over."))

    def _run_batch(self, batch: Sequence[Member]) -> None:
        members = [member for member in batch if not self._done_by_other_machine(member)]
        if members:
            self._run_machine(GroupMachine(self._group, sorted(members, key=lambda member: member.job)))

    def _done_by_other_machine(self, member: Member) -> bool:
        """Return whether a machine that was started for a client that is gone, or on another computer, has done the job; wait for it."""
        if not member.request.attach or member.watcher is None:
            return False
        other = self.kept(member.request.folder).group()
        if other is None:
            # A machine that was waited for because of another member may have done this one as well.
            return self._has_result(member)
        logger.info("%s is running on the machine of %s already: waiting for it", member.job, other.name)
        slots = self._run.slots
        with contextlib.suppress(CloudTrainError), other.held(lambda: slots.check_open(other.name)):
            self._run.backend.run(dataclasses.replace(member.request, folder=other), GroupWatcher(self._group, []))
        return self._has_result(member)

    def _has_result(self, member: Member) -> bool:
        with contextlib.suppress(CloudTrainError):
            result = self.kept(member.request.folder).result()
            if result is not None and result.state == "succeeded":
                member.end()
                return True
        return False

    def _run_machine(self, machine: GroupMachine) -> None:
        run, folder, watcher = self._run, machine.folder, GroupWatcher(self._group, machine.members)
        run.display.add_machine(watcher.receipt_so_far)
        request = machine.request()
        began, state = time.monotonic(), JobState.FAILED
        try:
            with folder.held(lambda: run.slots.check_open(folder.name)), run.slots.hold(folder.name, detached=machine.detached):
                machine.write(request, run.generator)
                if machine.detached:
                    run.backend.submit(request)
                else:
                    run.backend.run(request, watcher)
            state = JobState.SUCCEEDED
        except CloudTrainError as error:
            end_all(machine.members, error)
        else:
            for member in machine.members:
                member.end()
        finally:
            if watcher.machines:
                total_s = time.monotonic() - began
                run.receipts.append(
                    Receipt(
                        f"group {self._group}",
                        folder.name,
                        self.name,
                        state,
                        total_s=total_s,
                        machines=tuple(watcher.machines),
                        started_at=time.time() - total_s,
                        gpu_use=watcher.gpu_use.points,
                    )
                )
