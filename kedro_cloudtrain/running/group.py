"""Small nodes that share a machine: those that are ready at the same time run on it one after another, on one receipt."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import BackendError, CloudTrainError, JobCancelledError, JobLostError, NotStartedError
from kedro_cloudtrain.jobs.failures import failed_on, next_step
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.running.gathering import Gathering
from kedro_cloudtrain.running.group_machine import GroupMachine, close_left
from kedro_cloudtrain.running.group_watcher import GroupWatcher, Member, OtherMachineWatcher, end_all
from kedro_cloudtrain.running.slots import SlotUnneededError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor, Future

    from kedro_cloudtrain.backends.backend import JobRequest, KeptJob, Watcher
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.running.run import Run

logger = logging.getLogger("kedro.cloudtrain")


class GroupBackend:
    """The backend of a group's jobs: each of them runs as on any other backend, on a machine that they share.

    Args:
        group: its name, the value of `group` in `cloudtrain.yml`.
        run: the run, whose backend has the machine.
        machines: runs machines, each in a thread.
        keep_s: for how many seconds a machine waits for more jobs once it has none; a job that is ready meanwhile goes there, if the
            machine has what it needs.
        spread: whether jobs that are ready at the same time get a machine each, as far as there are slots, instead of one together.
        label: what its machines are called; left out, `group NAME`.
        quiet: whether the log does not say which job goes where.
        makes_room: whether a machine without a job ends where another job of the run waits for its slot.
    """

    def __init__(
        self,
        group: str,
        run: Run,
        machines: Executor,
        keep_s: float = 0.0,
        *,
        spread: bool = False,
        label: str | None = None,
        quiet: bool = False,
        makes_room: bool = True,
    ) -> None:
        self.name = run.backend.name
        self.gathering = Gathering(run.slots, self._settled)
        self._group = group
        self._label = label if label is not None else f"group {group}"
        self._run = run
        self._machines = machines
        self._keep_s = keep_s
        self._spread = spread
        self._log_level = logging.DEBUG if quiet else logging.INFO
        self._lock = threading.Lock()
        # The machines that are kept, until each has ended: one that takes no more jobs may still have jobs to end.
        self._kept: list[GroupMachine] = []
        # Jobs that no machine has got yet.
        self._unplaced: set[Member] = set()
        self._backlog: list[Member] = []
        self._is_last = False
        self._makes_room = makes_room
        if keep_s and makes_room:
            run.slots.on_wait(self._make_room)

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
            raise JobLostError(f"{member.job} left no result on the machine of {self._label}.\n{next_step(request.folder)}")
        if result.state == "cancelled":
            raise JobCancelledError(f"{member.job} was ended on the machine of {self._label}.")
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

    def end(self, job: str) -> None:
        """Let the machine end a job that it has, whatever the job does: its thread raises a JobCancelledError.

        Raises:
            BackendError: the machine cannot be told so.
        """
        for machine in self._machines_kept():
            machine.end(job)

    def expect_no_more(self) -> None:
        """Let the machines end once they have done their jobs: of what is announced by now, each job is the group's last."""
        self._is_last = True
        self._settled()

    def release(self) -> None:
        """Let each machine that is kept end at once, or once it has done the jobs that it has."""
        for machine in self._machines_kept():
            self._close(machine, again=True)

    def _join(self, member: Member) -> Member:
        with self._lock:
            self._unplaced.add(member)
        if self._keep_s and self._hand_in_at_once(member):
            pass
        elif self._spread:
            self.gathering.leave()
            self._submit(self._run_next, [member])
        elif self.gathering.join(member):
            threading.Thread(target=self._start_batch, name=f"cloudtrain-group-{self._group}", daemon=True).start()
        member.done.wait()
        with self._lock:
            self._unplaced.discard(member)
        self._settled()
        return member

    def _hand_in_at_once(self, member: Member) -> bool:
        """Hand a job in to a machine that is open; return whether there was one, or another client's machine has done the job."""
        if not any(self._may_take(machine, member) for machine in self._machines_kept()):
            return False
        if self._done_by_other_machine(member) or self._hand_in(member):
            self.gathering.leave()
            return True
        return False

    def _hand_in(self, member: Member) -> bool:
        return any(self._may_take(machine, member) and self._hand_in_to(machine, member) for machine in self._machines_kept())

    def _hand_in_to(self, machine: GroupMachine, member: Member) -> bool:
        """Hand a job in to a machine; return whether that has taken it, or nobody knows."""
        try:
            taken = machine.hand_in([member])
        except Exception as error:  # noqa: BLE001  # whatever it is, such as a full disk: nobody else ends the wait of the job's thread
            text = f"{member.job} cannot be passed to the machine of {self._label}: {error}"
            member.end(error if isinstance(error, CloudTrainError) else BackendError(text))
            # The machine gets no more of them, nor waits for any.
            self._close(machine)
            return True
        if taken:
            logger.log(self._log_level, "%s goes to a machine that is kept  [%s]", member.job, machine.folder.name, extra={"markup": False})
            with self._lock:
                self._unplaced.discard(member)
            self._settled()
        return taken

    def _may_take(self, machine: GroupMachine, member: Member) -> bool:
        return (machine.is_idle or not self._spread) and machine.takes(member)

    def _start_batch(self) -> None:
        batch = self.gathering.batch()
        self._submit(self._run_batch, batch)

    def _submit(self, run: Callable[[Sequence[Member]], None], batch: Sequence[Member]) -> None:
        def end_batch(future: Future[None]) -> None:
            """End what the machine has not ended itself: it was cancelled, or its thread has raised."""
            try:
                error = future.exception()
            except CancelledError:
                error = None
            else:
                if error is None and self._keep_s:
                    return  # Some of them may be on a machine that goes on.
            reason = "was not run" if error is None else f"ended: {type(error).__name__}: {error}"
            own = error if isinstance(error, CloudTrainError) else None
            end_all(batch, own or JobCancelledError(f"The machine of {self._label} {reason}."))

        try:
            self._machines.submit(run, batch).add_done_callback(end_batch)
        except RuntimeError:  # The executor is shut down.
            end_all(batch, JobCancelledError(f"{self._label.capitalize()} was not started: the run is over."))

    def _run_batch(self, batch: Sequence[Member]) -> None:
        members = [member for member in batch if not self._done_by_other_machine(member)]
        members = [member for member in members if not self._hand_in(member)]
        while members:
            members = self._run_machine(sorted(members, key=lambda member: member.job))

    def _run_next(self, batch: Sequence[Member]) -> None:
        """Run a machine for a job, unless another one takes it before a slot is free."""
        (member,) = batch
        if self._done_by_other_machine(member) or self._hand_in(member):
            return
        with self._lock:
            self._backlog.append(member)
        unfinished: list[Member] = []
        try:
            with self._run.slots.hold(member.job, unless=lambda: member not in self._backlog):
                if self._take_from_backlog(member):
                    unfinished = self._run_machine(batch, has_slot=True)
        except SlotUnneededError:
            pass  # A machine has taken it. It is in the backlog again if that machine could not take it after all.
        except NotStartedError:
            if self._take_from_backlog(member):
                raise
        while unfinished:
            unfinished = self._run_machine(unfinished)

    def _take_from_backlog(self, member: Member) -> bool:
        with self._lock:
            if member not in self._backlog:
                return False
            self._backlog.remove(member)
        self._run.slots.look_again()
        return True

    def _done_by_other_machine(self, member: Member) -> bool:
        """Return whether a machine that was started for a client that is gone, or on another computer, has done the job; wait for it."""
        if not member.request.attach or member.watcher is None:
            return False
        other = self.kept(member.request.folder).group()
        if other is None:
            # A machine that was waited for because of another member may have done this one as well.
            return self._has_result(member)
        logger.info("%s is running on the machine of %s already: waiting for it", member.job, other.name)
        slots, backend = self._run.slots, self._run.backend
        request = dataclasses.replace(member.request, folder=other)
        watcher = OtherMachineWatcher(self._label, member, functools.partial(close_left, request, backend))
        with contextlib.suppress(CloudTrainError), other.held(lambda: slots.check_open(other.name)):
            backend.run(request, watcher)
        return self._has_result(member)

    def _has_result(self, member: Member) -> bool:
        with contextlib.suppress(CloudTrainError):
            result = self.kept(member.request.folder).result()
            if result is not None and result.state == "succeeded":
                member.end()
                return True
        return False

    def _run_machine(self, members: Sequence[Member], *, has_slot: bool = False) -> list[Member]:
        """Run a machine to its end; return the jobs that have come to it later and that it has not done."""
        run = self._run
        with self._lock:
            self._unplaced.difference_update(members)
        machine = GroupMachine(self._group, members, 0.0 if self._is_over() else self._keep_s)
        folder, began, state = machine.folder, time.monotonic(), JobState.FAILED
        watcher = GroupWatcher(self._label, machine.members, functools.partial(self._find_next, machine))
        run.display.add_machine(watcher.receipt_so_far)
        result: JobResult | None = None
        unfinished: list[Member] = []
        try:
            machine.request()  # refuses jobs that contradict each other, before a slot is waited for
            with folder.held(lambda: run.slots.check_open(folder.name)), self._slot(machine, has_slot=has_slot):
                request = machine.request()
                machine.write(request, run.generator)
                if machine.detached:
                    run.backend.submit(request)
                else:
                    try:
                        self._keep_open(machine, request, watcher)
                        result = run.backend.run(request, watcher)
                    except CloudTrainError as error:
                        unfinished = machine.finish_lost(error)
            state = JobState.SUCCEEDED
        except CloudTrainError as error:
            end_all(machine.finish(), error)
        except BaseException as error:
            # Those that have come later are of no batch, whose end would be theirs.
            end_all(machine.finish(), JobCancelledError(f"The machine of {self._label} ended: {type(error).__name__}: {error}"))
            raise
        else:
            for member in machine.first:
                member.end()
            unfinished = unfinished or machine.finish()
        finally:
            with self._lock:
                if machine in self._kept:
                    self._kept.remove(machine)
            if watcher.machines:
                run.receipts.append(self._receipt(folder.name, watcher, state, time.monotonic() - began, result))
        return unfinished

    def _slot(self, machine: GroupMachine, *, has_slot: bool) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if has_slot else self._run.slots.hold(machine.folder.name, detached=machine.detached)

    def _receipt(self, job: str, watcher: GroupWatcher, state: JobState, total_s: float, result: JobResult | None) -> Receipt:
        watcher.end_idling()
        idle_s = watcher.idle_s if result is None else result.seconds.get("idle", 0.0)
        return Receipt(
            self._label,
            job,
            self.name,
            state,
            seconds={"idle": idle_s} if self._keep_s else {},
            total_s=total_s,
            machines=tuple(watcher.machines),
            started_at=time.time() - total_s,
            gpu_use=watcher.gpu_use.points,
        )

    def _keep_open(self, machine: GroupMachine, request: JobRequest, watcher: GroupWatcher) -> None:
        """Let further jobs come to a machine that is about to run."""
        machine.open(request, self._run.backend, watcher)
        if request.keep_s:
            with self._lock:
                self._kept.append(machine)

    def _machines_kept(self) -> list[GroupMachine]:
        with self._lock:
            return list(self._kept)

    def _find_next(self, machine: GroupMachine) -> None:
        """Pass a job to a machine that has none any more; where none is to come, or a slot is wanted, let it end."""
        while True:
            with self._lock:
                waiting = list(self._backlog)
            suitable = [member for member in waiting if machine.takes(member)]
            taken = next((member for member in suitable if self._take_from_backlog(member)), None)
            if taken is not None:
                if self._hand_in_to(machine, taken):
                    return
                # The machine has just been closed or lost, or has too little time left by now: the job waits again.
                self._submit(self._run_next, [taken])
                continue
            with self._lock:
                is_unchanged = waiting == self._backlog
                # Read together with the backlog: a waiting job that this machine can take must not make it close.
                is_slot_wanted = self._makes_room and self._run.slots.are_wanted
            if not suitable and is_unchanged:
                if is_slot_wanted or self._is_over():
                    self._close(machine)
                return
            # Other machines have taken some of them in the meantime, and the slot may have been wanted for those: look again.

    def _make_room(self) -> None:
        """Free the slots of machines that have no job."""
        for machine in self._machines_kept():
            if machine.is_idle:
                self._find_next(machine)

    def _is_over(self) -> bool:
        """Return whether no job of the group is to come, nor waits for a machine."""
        with self._lock:
            return self._is_last and not self._unplaced and not self._backlog and self.gathering.is_settled

    def _settled(self) -> None:
        if self._is_over():
            for machine in self._machines_kept():
                self._close(machine)

    def _close(self, machine: GroupMachine, *, again: bool = False) -> None:
        try:
            machine.close(again=again)
        except (CloudTrainError, OSError) as error:
            logger.warning("%s ends itself later: %s", machine.folder.name, error, extra={"markup": False})
