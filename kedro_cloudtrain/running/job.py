"""A job: rendered and named, run by a backend, its outputs read back, its receipt written."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.backends.backend import JobRequest
from kedro_cloudtrain.errors import (
    CloudTrainError,
    ConfigError,
    DetachedError,
    JobLostError,
    JobPrunedError,
    SourceError,
    UnsignedError,
)
from kedro_cloudtrain.jobs.failures import state_after
from kedro_cloudtrain.jobs.gpu_use import GpuUse
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.jobs.reuse import NOTHING_CHANGED, note, reason_to_run
from kedro_cloudtrain.jobs.signing import signing_environment
from kedro_cloudtrain.jobs.worker_archive import worker_archive
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.worker.protocol import (
    CHECKPOINT_EVERY_ROUNDS_VARIABLE,
    CHECKPOINT_EVERY_S_VARIABLE,
    CHECKPOINT_OF_VARIABLE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kedro_cloudtrain.backends.backend import Backend, Watcher
    from kedro_cloudtrain.jobs.fingerprint import Fingerprint
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.receipt import MachineUse
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.jobs.sent import SentInput
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.running.order import Order
    from kedro_cloudtrain.running.slots import SlotSource

logger = logging.getLogger("kedro.cloudtrain")


@dataclasses.dataclass(frozen=True)
class Job:
    """An order, rendered and named.

    Attributes:
        order: what was asked for.
        folder: the job folder.
        name: the job's name.
        spec: the content of `job.json`.
        script: the content of `train.py`.
        sent: the inputs that exist only in this process.
        fingerprint: identifies the work.
        secrets: what the machine needs to reach the inputs and no file may hold, by the names of environment variables.
        workload: how much there is to compute with.
        render_s: how long rendering took, in seconds.
        code: the archive of the project's own code, where the job imports it.
        warnings: logged when the job is started.
        project_id: the id of the project that asks for it; empty without a project.
    """

    order: Order
    folder: JobFolder
    name: str
    spec: Mapping[str, Any] = dataclasses.field(repr=False)
    script: str = dataclasses.field(repr=False)
    sent: tuple[SentInput, ...] = dataclasses.field(repr=False)
    fingerprint: Fingerprint
    secrets: Mapping[str, str] = dataclasses.field(repr=False)
    workload: Workload
    render_s: float
    code: bytes | None = dataclasses.field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    project_id: str = ""

    def write(self) -> None:
        """Write the job folder anew; the caller holds it."""
        folder = self.folder
        folder.clear()
        self._write_spec()
        folder.write(folder.archive, worker_archive(bytecode=isinstance(self.order.volume, DirectoryVolume)), counted=False)
        if self.code is not None:
            folder.write(folder.code, self.code)
        for sent in self.sent:
            # The name alone proves nothing: a volume's inputs are shared, and a machine may run the code of a pickle.
            if not sent.is_in(folder.input(sent.name)):
                folder.write(folder.input(sent.name), sent.content)

    def request(self, *, attach: bool = False, resume: bool = False) -> JobRequest:
        """Return what a backend is asked to run.

        Args:
            attach: whether a machine that works on the same job already is taken over.
            resume: whether the job may resume from the checkpoint of an earlier run.
        """
        order = self.order
        return JobRequest(
            self.folder,
            order.volume,
            order.settings,
            self.workload,
            order.requirements,
            self.fingerprint.requirements,
            order.python,
            order.project,
            {**self.secrets, **self._checkpoint_environment(resume=resume), **self._signing_environment()},
            attach,
            kinds=self._kinds,
        )

    def run(
        self,
        backend: Backend,
        watcher: Watcher,
        receipts: list[Receipt],
        *,
        slots: SlotSource | None = None,
        reuse: bool = False,
        detach: bool = False,
        check: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Run the job and return its outputs, by the keys of `Order.values`.

        Args:
            backend: runs it.
            watcher: is notified of how it proceeds.
            receipts: takes the job's receipt, whatever becomes of it.
            slots: a slot is waited for before anything is started; reusing a result needs none.
            reuse: whether the result of an earlier run of the same work is taken, or a machine that is working on it already.
            detach: whether the job is started and left running.
            check: raises if the job is not worth a machine; called where no earlier result is taken.

        Raises:
            DetachedError: the job was started and left running.
            NotStartedError: the run was over before a slot was free, or the job was to be left and there was none; it has no receipt.
            JobError: the job left no outputs.
            SourceError: the data is not what the job needs.
        """
        execution = _Execution(watcher)
        reuse_identified = reuse and not self.fingerprint.unidentified
        try:
            with self.folder.held(functools.partial(self._await_other_client, execution, slots, detach=detach)):
                reason = execution.why = reason_to_run(self.folder, self.fingerprint, dict(self.spec), reuse=reuse)
                values = self._reused(backend, execution) if reuse_identified else None
                if values is not None:
                    execution.scores = self.order.scores(values)
                    return values
                if check is not None:
                    check()
                self._run_on(backend, execution, slots, reason, attach=reuse_identified, detach=detach)
            try:
                values = self.order.values(self.folder, execution.finished(self.name))
            except UnsignedError as error:
                if not reuse_identified:
                    raise
                # It may be from a machine that another client had started. One of this client's own signs by this client's key.
                logger.warning("%s runs again: %s", self.name, error, extra={"markup": False})
                with self.folder.held(functools.partial(self._await_other_client, execution, slots, detach=detach)):
                    backend.kept(self.folder).discard(execution.finished(self.name))
                    self._run_on(backend, execution, slots, "an output was not signed", attach=False, detach=detach)
                values = self.order.values(self.folder, execution.finished(self.name))
            execution.state, execution.scores = JobState.SUCCEEDED, self.order.scores(values)
        except (DetachedError, CloudTrainError) as error:
            execution.state = state_after(error)
            execution.error = "" if isinstance(error, DetachedError) else str(error).partition("\n")[0]
            raise
        finally:
            if execution.state is not None:
                receipts.append(self._receipt(backend.name, execution, execution.state))
                watcher.moved(self.name, execution.state)
        return values

    def _run_on(
        self, backend: Backend, execution: _Execution, slots: SlotSource | None, reason: str, *, attach: bool, detach: bool
    ) -> None:
        """Wait for a slot, and run the job on a machine, or leave it running there."""
        execution.wait()
        with slots.hold(self.name, detached=detach) if slots is not None else contextlib.nullcontext():
            execution.begin()
            self._start(reason)
            request = self.request(attach=attach, resume=attach)
            if detach:
                backend.submit(request)
            else:
                try:
                    execution.result = backend.run(request, execution)
                except JobPrunedError:
                    if self.order.trial:
                        raise
                    # A search on another computer has ended its own trial, which this client has come to wait for.
                    self.write()
                    execution.result = backend.run(self.request(), execution)

    def outputs(self, backend: Backend) -> dict[str, Any]:
        """Return the outputs of a job that is done.

        Raises:
            JobLostError: it is gone, or is not what its result describes.
        """
        result = backend.kept(self.folder).result(kinds=self._kinds)
        if result is None or result.state != "succeeded":
            raise JobLostError(f"{self.name} has left no outputs.")
        return self.order.values(self.folder, result)

    def _await_other_client(self, execution: _Execution, slots: SlotSource | None, *, detach: bool) -> None:
        """Follow another client's run of the same job in the display.

        Raises:
            DetachedError: the job was to be left running, and another client runs it already.
            NotStartedError: the run is over.
        """
        if detach:
            raise DetachedError(self.name)
        if slots is not None:
            slots.check_open(self.name)
        if not execution.awaits_other_client:
            execution.awaits_other_client = True
            logger.info("%s is running already, for another client: waiting for it", self.name, extra={"markup": False})
        progress = self.folder.new_progress()
        if progress is not None:
            execution.watcher.moved(self.name, JobState.RUNNING)
            execution.watcher.progressed(self.name, progress)

    def _reused(self, backend: Backend, execution: _Execution) -> dict[str, Any] | None:
        """Return the outputs of an earlier run of the same work; None where there are none, or they are not what its result describes."""
        kept = backend.kept(self.folder)
        result = None
        try:
            result = kept.result(kinds=self._kinds)
            if result is None or result.state != "succeeded":
                return None
            if self.order.trial:
                kept.refresh()  # its rounds tell whether it is to be pruned
            values = self.order.values(self.folder, result, earlier=True)
        except (JobLostError, SourceError) as error:
            logger.info("%s runs again: %s", self.name, error, extra={"markup": False})
            if result is not None:
                kept.discard(result)
            return None
        if not self.folder.spec.is_file():
            # Another computer has done the work: commands show a job by its spec.
            self._write_spec()
        note(self.folder, "reused", NOTHING_CHANGED, self.project_id)
        execution.result, execution.state, execution.why = result, JobState.REUSED, NOTHING_CHANGED
        return values

    @property
    def _kinds(self) -> tuple[str, ...] | None:
        """The outputs that come back: a trial's metrics; None for all of any other job."""
        return ("metrics",) if self.order.trial else None

    def _start(self, reason: str) -> None:
        for warning in self.warnings:
            logger.warning(warning, extra={"markup": False})
        self.write()
        note(self.folder, "ran", reason, self.project_id)

    def _write_spec(self) -> None:
        folder = self.folder
        folder.write_json(folder.spec, dict(self.spec))
        folder.write(folder.script, self.script.encode())
        folder.write_json(folder.fingerprint, self.fingerprint.model_dump(mode="json"))

    def _checkpoint_environment(self, *, resume: bool) -> dict[str, str]:
        """Return when the job writes a checkpoint, and whose checkpoint it may resume from, as environment variables."""
        settings = self.order.settings
        environment = {CHECKPOINT_EVERY_S_VARIABLE: f"{settings.checkpoint_every_s:g}"}
        if settings.checkpoint_every_rounds is not None:
            environment[CHECKPOINT_EVERY_ROUNDS_VARIABLE] = str(settings.checkpoint_every_rounds)
        if not resume:
            # A run that takes no earlier work resumes only from its own checkpoints, after a machine of it was lost.
            environment[CHECKPOINT_OF_VARIABLE] = secrets.token_hex(4)
        return environment

    def _signing_environment(self) -> dict[str, str]:
        """Return the key by which the machine signs pickles; a training leaves none, and on this computer no signature is needed."""
        if not self.spec.get("function"):
            return {}
        with contextlib.suppress(*([ConfigError] if isinstance(self.order.volume, DirectoryVolume) else [])):
            return signing_environment(self.name)
        return {}

    def _receipt(self, where: str, execution: _Execution, state: JobState) -> Receipt:
        result, reused = execution.result, state is JobState.REUSED
        seconds = {"render": self.render_s}
        if result is not None and not reused:
            start_s = (result.started_at or execution.asked_at) - execution.asked_at - result.seconds.get("environment", 0.0)
            seconds |= {"start": max(0.0, start_s), **result.seconds}
        total_s = self.render_s + execution.elapsed_s
        return Receipt(
            node=self.order.node,
            job=self.name,
            where=where,
            state=state,
            seconds=seconds,
            total_s=total_s,
            rows=result.rows.get("read") if result is not None else None,
            rows_per_s=result.rows_per_s if result is not None and not reused else None,
            bytes_read=result.bytes_read if result is not None and not reused else None,
            bytes_passed=self.folder.bytes_passed,
            machines=tuple(execution.machines),
            device="" if result is None else str(result.gpu or result.device_name),
            started_at=time.time() - total_s,
            waited_s=execution.waited_s,
            why=execution.why,
            scores=execution.scores,
            data=self.fingerprint.input_digests,
            error=execution.error,
            folder=str(self.folder.path),
            gpu_use=execution.gpu_use.points,
        )


class _Execution:
    """One client's run of a job: passes events on to its watcher, and records what the receipt needs.

    Attributes:
        watcher: is notified of how the job proceeds.
        state: how it ended; None where nothing was started.
        result: what it has left.
        machines: what was paid for.
        asked_at: when the backend was asked, as seconds since the epoch.
        awaits_other_client: whether another client was seen to run the job.
        waited_s: for how long it waited for a slot, in seconds.
        why: why it ran, or was reused.
        scores: the numbers among its metrics, by name.
        error: why it failed, in a line.
        gpu_use: how busy its machine's GPU was.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.state: JobState | None = JobState.FAILED
        self.result: JobResult | None = None
        self.machines: list[MachineUse] = []
        self.asked_at = time.time()
        self.awaits_other_client = False
        self._created_at = self._waits_since = time.perf_counter()
        self.waited_s = 0.0
        self.why = self.error = ""
        self.scores: Mapping[str, float] = {}
        self.moved = watcher.moved
        self.progressed = watcher.progressed
        self.placed = watcher.placed
        self.gpu_use = GpuUse()

    def wait(self) -> None:
        """Record that the job waits for a slot from now on."""
        self._waits_since = time.perf_counter()

    def begin(self) -> None:
        """Record that the job has its slot."""
        self.asked_at, self.waited_s = time.time(), time.perf_counter() - self._waits_since

    def finished(self, job: str) -> JobResult:
        """Return what the job has left.

        Raises:
            DetachedError: it was left running.
        """
        if self.result is None:
            raise DetachedError(job)
        return self.result

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run of the job began, without the wait for a slot."""
        return time.perf_counter() - self._created_at - self.waited_s

    def busy(self, job: str, gpu_percent: float | None, cost_usd: float) -> None:
        """Record how busy the machine's GPU is."""
        self.gpu_use.add(self.elapsed_s, gpu_percent)
        self.watcher.busy(job, gpu_percent, cost_usd)

    def used(self, job: str, use: MachineUse) -> None:
        """Record what a machine was used for."""
        self.machines.append(use)
        self.watcher.used(job, use)
