"""One try at a job: from what a node asks for to its outputs and its receipt."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, Protocol

from kedro_cloudtrain.backends import OF_ONE_JOB, JobRequest
from kedro_cloudtrain.errors import (
    CloudTrainError,
    DetachedError,
    JobCancelledError,
    JobLostError,
    JobTimeoutError,
    NotStartedError,
    SourceError,
)
from kedro_cloudtrain.jobs.folder import JOBS, JobFolder
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.jobs.reuse import NOTHING_CHANGED, note, reason_to_run
from kedro_cloudtrain.jobs.worker_archive import worker_archive
from kedro_cloudtrain.storage.directory import DirectoryVolume

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.backends import Backend, Watcher
    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.fingerprint import Fingerprint
    from kedro_cloudtrain.jobs.receipt import MachineUse
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.jobs.sent import SentInput
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.running.slots import Turns
    from kedro_cloudtrain.storage.volumes import Volume

logger = logging.getLogger("kedro.cloudtrain")


class Order(Protocol):
    """What a node asks of a machine: a training, or a call of a user's function."""

    @property
    def node(self) -> str:
        """The node's name."""
        ...

    @property
    def volume(self) -> Volume:
        """Holds the job folder."""
        ...

    @property
    def settings(self) -> NodeSettings:
        """What `cloudtrain.yml` says of the node."""
        ...

    @property
    def work(self) -> Workload:
        """How much there is to compute with, as far as it is known here."""
        ...

    @property
    def requirements(self) -> tuple[str, ...]:
        """What a pod installs, as pip writes it."""
        ...

    @property
    def python(self) -> str:
        """The Python that a pod needs, `3.12` say; empty where any does."""
        ...

    def values(self, folder: JobFolder, result: JobResult, *, earlier: bool = False) -> dict[str, Any]:
        """Read what the job has left; an earlier run's outputs have to be what a load of them gives now.

        Raises:
            JobLostError: an output is not there, or is not what the result says of it.
        """
        ...


def job_folder(volume: Volume, job: str, to: Path | None = None) -> JobFolder:
    """Give the folder of a job: under its volume, or, for a look at it, another one."""
    return JobFolder(to if to is not None else volume.folder(f"{JOBS}/{job}"))


def volume_fields(volume: Volume, uploads: Iterable[SentInput]) -> dict[str, Any]:
    """Say in a job's spec what is of its place: where its volume is, where that is a directory here, and what is sent along."""
    here = {"volume_path": str(volume.root.resolve())} if isinstance(volume, DirectoryVolume) else {}
    return {**here, "sent": sorted({upload.name for upload in uploads})}


@dataclasses.dataclass(frozen=True)
class Job:
    """A job, rendered and named.

    Attributes:
        order: what was asked for.
        folder: the job folder.
        job: the job's name.
        spec: what `job.json` says.
        script: what `train.py` says.
        uploads: the inputs that exist nowhere but here.
        fingerprint: what names the work.
        environment: the secrets of its sources, by the names of environment variables.
        render_s: what rendering took, in seconds.
        data_bytes: the size of the table's file, where the machine reads it and its size is known.
        code: the archive of the project's own code, where the job imports it.
        warnings: what is said when it is sent.
    """

    order: Order
    folder: JobFolder
    job: str
    spec: Mapping[str, Any] = dataclasses.field(repr=False)
    script: str = dataclasses.field(repr=False)
    uploads: tuple[SentInput, ...] = dataclasses.field(repr=False)
    fingerprint: Fingerprint
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    render_s: float
    data_bytes: int | None = None
    code: bytes | None = dataclasses.field(default=None, repr=False)
    warnings: tuple[str, ...] = ()

    def write(self) -> None:
        """Write the job folder anew; whoever calls holds it."""
        folder = self.folder
        folder.clear()
        self._write_spec()
        folder.write(folder.archive, worker_archive(bytecode=isinstance(self.order.volume, DirectoryVolume)), counted=False)
        if self.code is not None:
            folder.write(folder.code, self.code)
        for upload in self.uploads:
            if not folder.input(upload.name).is_file():
                folder.write(folder.input(upload.name), upload.content)

    def _write_spec(self) -> None:
        folder = self.folder
        folder.write_json(folder.spec, dict(self.spec))
        folder.write(folder.script, self.script.encode())
        folder.write_json(folder.fingerprint, self.fingerprint.model_dump(mode="json"))

    def run(
        self,
        backend: Backend,
        watcher: Watcher,
        receipts: list[Receipt],
        *,
        turns: Turns | None = None,
        reuse: bool = False,
        detach: bool = False,
    ) -> dict[str, Any]:
        """Run the job; give its outputs by kind.

        `receipts` gets the attempt's account, whatever comes of it.

        Args:
            backend: where it runs.
            watcher: is told how it goes.
            receipts: gets the account.
            turns: its turn is waited for before anything is begun; finished work waits for none.
            reuse: whether the result of an earlier run of the same work is taken instead, or a machine that is at it already.
            detach: whether the job is started and left to itself.

        Raises:
            DetachedError: the job is started, and left.
            NotStartedError: the run was over before its turn came, or it was to be left and there was none; there is no account of it.
            JobError: no outputs came of it.
            SourceError: the data is not what the job needs.
        """
        began, asked_at, waited_s = time.perf_counter(), time.time(), 0.0
        result: JobResult | None = None
        state = JobState.FAILED
        begun, account = True, _Account(watcher)
        look = functools.partial(self._look, watcher, turns, [], detach=detach)
        try:
            with self.folder.held(look):
                why = reason_to_run(self.folder, self.fingerprint, dict(self.spec), reuse=reuse)
                reuse = reuse and not self.fingerprint.unidentified
                request = dataclasses.replace(self.request, attach=reuse, environment=self._environment(anew=not reuse))
                values, result = self._earlier(backend) if reuse else (None, None)
                if values is not None:
                    state = JobState.REUSED
                    if not self.folder.spec.is_file():
                        # Another computer has done it: what is shown of a job is its spec.
                        self._write_spec()
                    note(self.folder, "reused", NOTHING_CHANGED)
                    return values
                waits = time.perf_counter()
                with turns.one(self.job, leaves=detach) if turns is not None else contextlib.nullcontext():
                    asked_at, waited_s = time.time(), time.perf_counter() - waits
                    for warning in self.warnings:
                        logger.warning(warning, extra={"markup": False})
                    self.write()
                    note(self.folder, "ran", why)
                    if detach:
                        backend.submit(request)
                    else:
                        result = backend.run(request, account)
            values = self._values(result)
            state = JobState.SUCCEEDED
        except DetachedError:
            state = JobState.RUNNING
            raise
        except CloudTrainError as error:
            state = _state_after(error)
            begun = not isinstance(error, NotStartedError)
            raise
        finally:
            if begun:
                run_s = time.perf_counter() - began - waited_s
                receipts.append(self._receipt(backend.name, state, result, account.machines, asked_at, run_s))
                watcher.moved(self.job, state)
        return values

    def _values(self, result: JobResult | None) -> dict[str, Any]:
        if result is None:
            raise DetachedError(self.job)
        return self.order.values(self.folder, result)

    def _earlier(self, backend: Backend) -> tuple[dict[str, Any] | None, JobResult | None]:
        """Give the outputs of an earlier run of the same work, where it is done and all of them are what its result says."""
        result = None
        try:
            result = backend.earlier(self.folder)
            if result is None or result.state != "succeeded":
                return None, None
            return self.order.values(self.folder, result, earlier=True), result
        except (JobLostError, SourceError) as error:
            logger.info("%s runs again: %s", self.job, error, extra={"markup": False})
            if result is not None:
                backend.discard(self.folder, result)
            return None, None

    def _look(self, watcher: Watcher, turns: Turns | None, said: list[str], *, detach: bool) -> None:
        """Say how far another client of the same job is.

        Raises:
            DetachedError: nobody waits for it.
            NotStartedError: the run is over.
        """
        if detach:
            raise DetachedError(self.job)
        if turns is not None:
            turns.waiting(self.job)
        if not said:
            said.append(f"{self.job} is at work already, for another run: it is waited for")
            logger.info(said[0], extra={"markup": False})
        progress = self.folder.new_progress()
        if progress is not None:
            watcher.moved(self.job, JobState.RUNNING)
            watcher.progressed(self.job, progress)

    @property
    def request(self) -> JobRequest:
        """What a backend is asked for."""
        order = self.order
        work = dataclasses.replace(order.work, size_bytes=self.data_bytes)
        return JobRequest(self.folder, order.volume, order.settings, work, order.requirements, order.python, self.environment)

    def _environment(self, *, anew: bool) -> dict[str, str]:
        """Give what the job's process is told beside its secrets: when a checkpoint is due, and whose it may go on from."""
        settings = self.order.settings
        told = {f"{OF_ONE_JOB}EVERY_S": f"{settings.checkpoint_every_s:g}"}
        if settings.checkpoint_every_rounds is not None:
            told[f"{OF_ONE_JOB}EVERY_ROUNDS"] = str(settings.checkpoint_every_rounds)
        if anew:
            # The states of a run that takes no earlier work are its own: a machine of it that is lost is made good, and no more.
            told[f"{OF_ONE_JOB}OF"] = secrets.token_hex(4)
        return {**self.environment, **told}

    def _receipt(
        self, where: str, state: JobState, result: JobResult | None, machines: Sequence[MachineUse], asked_at: float, run_s: float
    ) -> Receipt:
        seconds = {"render": self.render_s}
        if result is not None and state is not JobState.REUSED:
            before_s = (result.started_at or asked_at) - asked_at - result.seconds.get("environment", 0.0)
            seconds |= {"start": max(0.0, before_s), **result.seconds}
        return Receipt(
            node=self.order.node,
            job=self.job,
            where=where,
            state=state,
            seconds=seconds,
            total_s=self.render_s + run_s,
            rows=result.rows.get("read") if result is not None else None,
            bytes_read=result.bytes_read if result is not None and state is not JobState.REUSED else None,
            bytes_passed=self.folder.bytes_passed,
            machines=tuple(machines),
        )


class _Account:
    """Passes on how a job goes, and keeps what its machines were used for."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.machines: list[MachineUse] = []
        self.moved = watcher.moved
        self.progressed = watcher.progressed
        self.placed = watcher.placed
        self.busy = watcher.busy

    def used(self, job: str, use: MachineUse) -> None:
        """Keep it."""
        self.machines.append(use)
        self._watcher.used(job, use)


def _state_after(error: CloudTrainError) -> JobState:
    for kind, state in (
        (JobTimeoutError, JobState.TIMED_OUT),
        (JobCancelledError, JobState.CANCELLED),
        (JobLostError, JobState.LOST),
    ):
        if isinstance(error, kind):
            return state
    return JobState.FAILED
