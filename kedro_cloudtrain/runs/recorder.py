"""The recorder of a run: it writes the run's record while the run goes on, so that a killed one has left what was known."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.jobs.gpu_use import MOST_POINTS, thinned
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.runs.record import GpuUseRecord, MachineRecord, NodeRecord, RunState
from kedro_cloudtrain.runs.scores import scores_of
from kedro_cloudtrain.secrecy import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.jobs.receipt import Receipt
    from kedro_cloudtrain.runs.ledger import RunLedger, SharedRuns
    from kedro_cloudtrain.runs.record import RunRecord

logger = logging.getLogger("kedro.cloudtrain")

# A run of many small nodes does not write its record for each of them.
_WRITTEN_EVERY_S = 1.0
# One of long jobs writes it for the dollars so far.
_KEPT_EVERY_S = 20.0
# A silent volume does not keep a run from its end.
_SHARED_WITHIN_S = 5.0
_INTERRUPTED_S = 0.5
# The points of all jobs together: a record is read whole.
_MOST_POINTS = 40_000


@dataclasses.dataclass
class _Begun:
    """When a node began, by this process's clocks."""

    at: float
    counter: float


class RunRecorder:
    """Writes the record of one run; thread-safe. A record that cannot be written does not fail the run.

    Args:
        ledger: takes the record.
        record: the record as it is before the first node.
        shared: takes it for others, at the beginning and at the end.
        receipts: those of the run's jobs so far.
        inputs: by node, the dataset that each of its job's inputs is, where the job has a name of its own for it.
        so_far: returns what the jobs that are under way have taken so far.

    Attributes:
        record: the record so far.
        page: the file of the run's page, once it is written.
    """

    def __init__(
        self,
        ledger: RunLedger,
        record: RunRecord,
        shared: SharedRuns | None = None,
        receipts: Sequence[Receipt] = (),
        inputs: Mapping[str, Mapping[str, str]] | None = None,
        so_far: Callable[[], Sequence[Receipt]] = tuple,
    ) -> None:
        self.record = record
        self.page: Path | None = None
        self._ledger = ledger
        self._shared = shared
        self._receipts = receipts
        self._inputs = inputs or {}
        self._so_far = so_far
        self._over = threading.Event()
        self._nodes = {node.node: node for node in record.nodes}
        self._begun: dict[str, _Begun] = {}
        self._lock = threading.Lock()
        self._written_at = 0.0
        self._writes = True

    def begin(self) -> None:
        """Write the record of a run that begins."""
        self.record.client = self._ledger.client
        try:
            self._ledger.open(self.record)
        except CloudTrainError as error:
            self._writes = False
            logger.warning("The run leaves no record: %s", error.message, extra={"markup": False})
        self._share(0.0)
        threading.Thread(target=self._keep_writing, name="cloudtrain-recorder", daemon=True).start()

    def node_started(self, name: str) -> None:
        """Record when a node begins."""
        self._begun[name] = _Begun(time.time(), time.perf_counter())
        with self._lock:
            node = self._nodes.get(name)
            if node is not None and node.kind == "ordinary":
                node.state, node.started_at = str(JobState.RUNNING), self._begun[name].at

    def node_done(self, name: str) -> None:
        """Record that a node is done."""
        self._ended(name, JobState.SUCCEEDED, "")

    def node_failed(self, name: str, error: BaseException) -> None:
        """Record that a node has failed, and why."""
        self._ended(name, JobState.FAILED, first_line(error))

    def job_s(self, name: str) -> float | None:
        """Return how long a node's job took, in seconds, without its wait for a slot; None for an ordinary node."""
        return next((receipt.total_s for receipt in reversed(self._receipts) if receipt.node == name), None)

    def saved(self, name: str, dataset: str, place: str, value: Any, *, is_metrics: bool) -> None:
        """Record where an output went, and the scores that it holds."""
        with self._lock:
            node = self._nodes.get(name)
            if node is not None:
                node.outputs[dataset] = redacted(place)
                if is_metrics:
                    node.scores = {**node.scores, **scores_of(value)}

    def end(self, state: RunState, error: str = "", *, soon: bool = False) -> None:
        """Write the record of a run that is over.

        Args:
            state: what has become of it.
            error: why it failed, in a line.
            soon: whether the process is to end soon, so that a slow volume is not waited for.
        """
        self._over.set()
        with self._lock:
            self.record.state, self.record.error, self.record.finished_at = state, redacted(error), time.time()
        self._write()
        self._share(_INTERRUPTED_S if soon else _SHARED_WITHIN_S)
        self._ledger.close()

    def _ended(self, name: str, state: JobState, error: str) -> None:
        with self._lock:
            node, begun = self._nodes.get(name), self._begun.get(name)
            if node is None:
                return
            node.state, node.error, node.finished_at = str(state), redacted(error), time.time()
            if begun is not None:
                node.started_at, node.total_s = begun.at, time.perf_counter() - begun.counter
            is_due = time.monotonic() > self._written_at + _WRITTEN_EVERY_S
        if is_due:
            self._write()

    def _write(self) -> None:
        if not self._writes:
            return
        with self._lock, contextlib.suppress(CloudTrainError):
            self._written_at = time.monotonic()
            self._take_receipts()
            self._ledger.write(self.record)

    def _keep_writing(self) -> None:
        """Write the record now and then: a reader of the run, or of what a killed one has left, sees its jobs and their pods."""
        written: set[str] = set()
        while not self._over.wait(_WRITTEN_EVERY_S):
            so_far = self._so_far()
            # A pod costs money from its first second on.
            current = {f"{receipt.job} {machine.pod}" for receipt in so_far for machine in receipt.machines} | {each.job for each in so_far}
            if so_far and (current - written or time.monotonic() > self._written_at + _KEPT_EVERY_S):
                self._write()
                self._share(0.0)
            written = current

    def _take_receipts(self) -> None:
        done = list(self._receipts)
        nodes = {receipt.node for receipt in done}
        for receipt in (*(receipt for receipt in self._so_far() if receipt.node not in nodes), *done):
            node = self._nodes.get(receipt.node)
            if node is None:  # A group's machine has a receipt of its own.
                node = self._nodes[receipt.node] = NodeRecord(node=receipt.node, kind="group", model="")
                self.record.nodes.append(node)
            names = self._inputs.get(receipt.node, {})
            node.where, node.state, node.job, node.why = receipt.where or node.where, str(receipt.state), receipt.job, receipt.why
            node.folder = self._ledger.within_project(receipt.folder)
            node.error = node.error or redacted(receipt.error)
            node.started_at, node.waited_s, node.total_s = receipt.started_at, receipt.waited_s, receipt.total_s
            if receipt.state.finished and receipt.started_at is not None:
                node.finished_at = receipt.started_at + receipt.total_s
            node.seconds, node.rows, node.rows_per_s = dict(receipt.seconds), receipt.rows, receipt.rows_per_s
            node.bytes_read, node.bytes_passed, node.device = receipt.bytes_read, receipt.bytes_passed, receipt.device
            node.scores = {**receipt.scores, **node.scores}
            node.data = {names.get(name, name): digest for name, digest in receipt.data.items()}
            points = thinned(receipt.gpu_use, min(MOST_POINTS, max(2, _MOST_POINTS // len(self.record.nodes))))
            if points:
                node.gpu_use = GpuUseRecord(seconds=[at_s for at_s, _ in points], percent=[percent for _, percent in points])
            node.machines = [MachineRecord(**dataclasses.asdict(use)) for use in receipt.machines]

    def _share(self, wait_s: float) -> None:
        """Let others see the record, if the volume takes it within some seconds."""
        if self._shared is None:
            return
        with self._lock:
            record = self.record.model_copy(deep=True)
        shared = self._shared

        def write() -> None:
            try:
                shared.write(record)
            except CloudTrainError as error:
                logger.debug("The volume has not taken the run's record: %s", error.message)

        thread = threading.Thread(target=write, name="cloudtrain-record", daemon=True)
        thread.start()
        thread.join(wait_s)


def first_line(error: BaseException) -> str:
    """Return an error in a line, with its type where its text does not say what kind it is."""
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, CloudTrainError) else f"{type(error).__name__}: {text}" if text else type(error).__name__
