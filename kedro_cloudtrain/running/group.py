"""Small nodes that share a machine: those that are ready at the same time are its jobs, one after another, on one bill."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import secrets
import threading
import time
import zipfile
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.backends import OF_ONE_JOB
from kedro_cloudtrain.errors import CloudTrainError, ConfigError, JobCancelledError, JobLostError
from kedro_cloudtrain.jobs.failures import failed_on, next_step
from kedro_cloudtrain.jobs.fingerprint import job_name
from kedro_cloudtrain.jobs.folder import JOBS, JobFolder
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.jobs.worker_archive import add_member, worker_archive
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.worker.protocol import CREDENTIALS_VARIABLE, URL_SECRETS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor, Future

    from kedro_cloudtrain.backends import Backend, JobRequest, Watcher
    from kedro_cloudtrain.jobs.receipt import MachineUse
    from kedro_cloudtrain.jobs.result import JobProgress, JobResult
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.running.slots import Slots

logger = logging.getLogger("kedro.cloudtrain")

# Kedro submits what is ready in a loop, and a job is prepared in milliseconds: after so long without another one none is coming.
_TOGETHER_S = 0.3
_POLL_S = 0.05


@dataclasses.dataclass(eq=False)
class _Member:
    """A job that waits for its group's machine.

    Attributes:
        request: what was asked for.
        watcher: is told how it goes; None where it is started and left.
        over: set once there is nothing to wait for.
        reached: whether its result is there.
        error: why it is not.
    """

    request: JobRequest
    watcher: Watcher | None
    over: threading.Event = dataclasses.field(default_factory=threading.Event)
    reached: bool = False
    error: CloudTrainError | None = None

    @property
    def job(self) -> str:
        return self.request.folder.name

    def begin(self) -> None:
        if self.watcher is not None:
            self.watcher.moved(self.job, JobState.STARTING)

    def end(self, error: CloudTrainError | None = None) -> None:
        if not self.over.is_set():
            self.reached, self.error = error is None, error
            self.over.set()


class Group:
    """The backend of a group's nodes: each of them runs as on any other, and finds that it is not alone on its machine.

    Args:
        group: its name, as `group` in `cloudtrain.yml` has it.
        backend: where its machine is.
        generator: renders the machine's script.
        machines: runs machines, each in a thread.
        slots: as many as the run may have at once.
        receipts: gets the machine's bill.
    """

    def __init__(
        self, group: str, backend: Backend, generator: TrainingScriptGenerator, machines: Executor, slots: Slots, receipts: list[Receipt]
    ) -> None:
        self.name = backend.name
        self._group = group
        self._backend = backend
        self._generator = generator
        self._machines = machines
        self._slots = slots
        self._receipts = receipts
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._expected = 0
        self._waiting: list[_Member] = []
        self._changed_at = 0.0
        self._gathers = False

    # ------------------------------------------------------------------ who comes

    def expect(self) -> None:
        """Hear that a node of the group is about to be run; its machine is not started before that one has come, or will not."""
        self._count(1)

    def come(self, task: Callable[[], Any]) -> Any:
        """Run the task of a node that is expected, in a thread of its own: it waits there for the machine."""
        self._thread.joined = self._thread.away = False
        try:
            return task()
        finally:
            if not (self._thread.joined or self._thread.away):
                self._count(-1)

    def waiting(self, job: str) -> None:
        """Hear that a job waits for another client, and so is not to be expected: that one may wait for a job that is held here.

        Raises:
            NotStartedError: the run is over.
        """
        self._slots.waiting(job)
        if not self._thread.away:
            self._thread.away = True
            self._count(-1)

    @contextlib.contextmanager
    def one(self, job: str, *, leaves: bool = False) -> Iterator[None]:
        """Give a turn at once: the machine waits for one, for all of its jobs together."""
        del job, leaves
        if self._thread.away:
            self._thread.away = False
            self._count(1)
        yield

    def _count(self, more: int) -> None:
        with self._lock:
            self._expected += more
            self._changed_at = time.monotonic()

    # ------------------------------------------------------------------ as any backend

    def run(self, request: JobRequest, watcher: Watcher) -> JobResult:
        """Run a job to its result, on the group's machine.

        Raises:
            JobError: it is no success, or the machine gave none.
        """
        member = self._join(_Member(request, watcher))
        if member.error is not None:
            raise member.error
        result = self._backend.collect(request.folder)
        if result is None:
            raise JobLostError(f"{member.job} left no result on the machine of its group {self._group}.\n{next_step(request.folder)}")
        if result.state != "succeeded":
            raise failed_on(request.folder, result, request.timeout_s)
        return result

    def submit(self, request: JobRequest) -> None:
        """Start a job on the group's machine, and leave it."""
        member = self._join(_Member(request, None))
        if member.error is not None:
            raise member.error

    def earlier(self, folder: JobFolder) -> JobResult | None:
        """Give what an earlier run of a job has left."""
        return self._backend.earlier(folder)

    def discard(self, folder: JobFolder, result: JobResult) -> None:
        """Take a result away whose outputs are not what it says."""
        self._backend.discard(folder, result)

    def collect(self, folder: JobFolder) -> JobResult | None:
        """Give the result of a job."""
        return self._backend.collect(folder)

    def group_at_work(self, folder: JobFolder) -> JobFolder | None:
        """Give the group that works on a job."""
        return self._backend.group_at_work(folder)

    def close(self) -> None:
        """Leave it to the backend itself, which others share."""

    # ------------------------------------------------------------------ together

    def _join(self, member: _Member) -> _Member:
        with self._lock:
            self._waiting.append(member)
            self._expected -= 1
            self._thread.joined = True
            self._changed_at = time.monotonic()
            begins, self._gathers = not self._gathers, True
        if begins:
            threading.Thread(target=self._gather, name=f"cloudtrain-group-{self._group}", daemon=True).start()
        member.over.wait()
        return member

    def _gather(self) -> None:
        """Wait until all that are expected have come, and give them a machine."""
        while True:
            with self._lock:
                if self._expected <= 0 and time.monotonic() - self._changed_at >= _TOGETHER_S:
                    batch, self._waiting, self._gathers = self._waiting, [], False
                    break
            time.sleep(_POLL_S)

        def over(future: Future[None]) -> None:
            try:
                error = future.exception()
            except CancelledError:
                error = None
            given = error if isinstance(error, CloudTrainError) else None
            said = "was not run" if error is None else f"ended: {type(error).__name__}: {error}"
            _end(batch, given or JobCancelledError(f"The machine of the group {self._group} {said}."))

        try:
            self._machines.submit(self._work, batch).add_done_callback(over)
        except RuntimeError:  # The run is over.
            _end(batch, JobCancelledError(f"The group {self._group} was not started: the run is over."))

    def _work(self, batch: Sequence[_Member]) -> None:
        rest = [member for member in batch if not self._taken_from_another(member)]
        if rest:
            self._run(sorted(rest, key=lambda member: member.job))

    def _taken_from_another(self, member: _Member) -> bool:
        """Tell whether a machine that was started for a client that is gone, or elsewhere, has done the job."""
        if not member.request.attach or member.watcher is None:
            return False
        other = self._backend.group_at_work(member.request.folder)
        if other is None:
            # A machine that was followed for another member may have done this one, too.
            return self._has_result(member)
        logger.info("%s is at work on the machine of %s already: it is waited for", member.job, other.name)
        with contextlib.suppress(CloudTrainError), other.held(lambda: self._slots.waiting(other.name)):
            self._backend.run(dataclasses.replace(member.request, folder=other), _Machine(self._group, []))
        return self._has_result(member)

    def _has_result(self, member: _Member) -> bool:
        with contextlib.suppress(CloudTrainError):
            result = self._backend.earlier(member.request.folder)
            if result is not None and result.state == "succeeded":
                member.end()
                return True
        return False

    def _run(self, members: Sequence[_Member]) -> None:
        first = members[0].request
        folder = _folder(self._group, members)
        request = dataclasses.replace(
            first,
            folder=folder,
            work=max((member.request.work for member in members), key=lambda work: work.cells or 0.0),
            requirements=tuple(dict.fromkeys(one for member in members for one in member.request.requirements)),
            python=next((member.request.python for member in members if member.request.python), ""),
            environment=_environment(member.request for member in members),
            members=tuple(member.request.folder for member in members),
        )
        machine, began = _Machine(self._group, members), time.monotonic()
        state = JobState.FAILED
        try:
            left = all(member.watcher is None for member in members)
            with folder.held(lambda: self._slots.waiting(folder.name)), self._slots.one(folder.name, leaves=left):
                self._write(request, {member.job: _own_environment(member.request) for member in members})
                if left:
                    self._backend.submit(request)
                else:
                    self._backend.run(request, machine)
            state = JobState.SUCCEEDED
        except CloudTrainError as error:
            _end(members, error)
        else:
            for member in members:
                member.end()
        finally:
            if machine.uses:
                took_s = time.monotonic() - began
                bill = Receipt(f"group {self._group}", folder.name, self.name, state, {}, took_s, machines=tuple(machine.uses))
                self._receipts.append(bill)

    def _write(self, request: JobRequest, own: Mapping[str, Mapping[str, str]]) -> None:
        """Write the group's own folder: its script, and, where the machine is elsewhere, the folders of its jobs."""
        folder, jobs, run = request.folder, [member.name for member in request.members], secrets.token_hex(4)
        sent = sorted({file.name for member in request.members for file in member.sent})
        folder.clear()
        folder.write_json(folder.spec, {"name": f"group {self._group}", "jobs": jobs, "sent": sent})
        folder.write(folder.script, self._generator.render_group(self._group, run, own).encode())
        folder.write(folder.archive, worker_archive(bytecode=isinstance(request.volume, DirectoryVolume)), counted=False)
        if not isinstance(request.volume, DirectoryVolume):
            folder.write(folder.members, _packed(request.members))


class _Machine:
    """Tells a group's members how their machine goes on: who is at work, and who is over."""

    def __init__(self, group: str, members: Sequence[_Member]) -> None:
        self._group = group
        self._members = members
        self._at = -1
        self.uses: list[MachineUse] = []

    def moved(self, job: str, state: JobState) -> None:
        if state is JobState.STARTING:
            count = len(self._members)
            jobs = f"{count} job{'' if count == 1 else 's'}, one after another"
            logger.info("group %s started: %s  [%s]", self._group, jobs, job, extra={"markup": False})

    def progressed(self, job: str, progress: JobProgress) -> None:
        del job
        for member in self._members[self._at + 1 : progress.step + 1]:
            member.begin()
        for member in self._members[: progress.step]:
            member.end()
        self._at = max(self._at, progress.step)

    def placed(self, job: str, machine: str, usd_per_hour: float) -> None:
        logger.info("group %s on %s at $%.2f/h  [%s]", self._group, machine, usd_per_hour, job, extra={"markup": False})

    def busy(self, job: str, gpu_percent: float | None, cost_usd: float) -> None:
        """Nobody's row is the machine's."""

    def used(self, job: str, use: MachineUse) -> None:
        del job
        self.uses.append(use)


def _end(members: Iterable[_Member], error: CloudTrainError) -> None:
    for member in members:
        # Raised in a thread each: an exception that is shared would gather all their tracebacks.
        member.end(type(error)(error.message) if type(error).__init__ is CloudTrainError.__init__ else error)


def _folder(group: str, members: Sequence[_Member]) -> JobFolder:
    """Give the folder of a group's machine, named by its jobs: the same ones, asked for again, find it."""
    digest = hashlib.sha256("\n".join(member.job for member in members).encode()).hexdigest()
    return JobFolder(members[0].request.volume.folder(f"{JOBS}/{job_name(f'group-{group}', digest)}"))


def _packed(folders: Iterable[JobFolder]) -> bytes:
    """Pack the folders of jobs, as far as a machine needs them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in folders:
            for file in folder.needed:
                add_member(archive, f"{folder.name}/{file.name}", file.read_bytes())
    return buffer.getvalue()


def _own_environment(request: JobRequest) -> dict[str, str]:
    """Give what a job alone is told, and no other one of its machine."""
    return {name: value for name, value in request.environment.items() if name.startswith(OF_ONE_JOB)}


def _environment(requests: Iterable[JobRequest]) -> dict[str, str]:
    """Give what the jobs of a machine find in their environment, together.

    Raises:
        ConfigError: two of them reach the same place with other credentials.
    """
    together: dict[str, str] = {}
    known: dict[str, dict[str, Any]] = {URL_SECRETS_VARIABLE: {}, CREDENTIALS_VARIABLE: {}}
    for request in requests:
        for variable, secrets_of in known.items():
            for place, said in json.loads(request.environment.get(variable, "{}")).items():
                if secrets_of.setdefault(place, said) != said:
                    raise ConfigError(f"{place} is read by two nodes of a group with other credentials each: take one of them out of it.")
        together |= {name: value for name, value in request.environment.items() if not name.startswith(OF_ONE_JOB)}
    return together | {variable: json.dumps(secrets_of) for variable, secrets_of in known.items() if secrets_of}
