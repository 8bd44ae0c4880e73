"""One training for each group of a table, or each partition of a dataset: jobs like any other, and one leaderboard."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import (
    BudgetExceededError,
    CloudTrainError,
    HyperparameterError,
    JobFailedError,
    JobLostError,
    JobTimeoutError,
    SourceError,
)
from kedro_cloudtrain.jobs.failures import state_after
from kedro_cloudtrain.jobs.fingerprint import job_name
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.result import JobProgress, JobState
from kedro_cloudtrain.jobs.search_checks import watched_goal
from kedro_cloudtrain.running.partition_order import common_order, order_of
from kedro_cloudtrain.running.partitions import partitions_of
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.trial import TrialWatcher
from kedro_cloudtrain.runs.scores import scores_of
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource
from kedro_cloudtrain.storage.threads import DaemonExecutor
from kedro_cloudtrain.wording import counted, some_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro_cloudtrain.jobs.partitioned import Partitioned
    from kedro_cloudtrain.jobs.receipt import MachineUse
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.running.display import Row
    from kedro_cloudtrain.running.partition_order import PartitionOrder
    from kedro_cloudtrain.running.partitions import Partition, Partitions
    from kedro_cloudtrain.running.training import TrainingOrder
    from kedro_cloudtrain.running.trial_machines import KeptMachines, OwnMachines

logger = logging.getLogger("kedro.cloudtrain")

# If this many groups fail first and none succeeds, the others will fail too.
_GIVE_UP_AFTER = 5
# The tables that come back of each group, and are one table with the group's column.
_TABLES = ("history", "importance", "predictions")


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """How a group's job has ended.

    Attributes:
        partition: the group.
        outputs: those of its job, by kind.
        receipt: what it took; None where it was not started.
        error: why it has failed, or was not started.
        started: whether it was.
    """

    partition: Partition
    outputs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    receipt: Receipt | None = None
    error: CloudTrainError | None = None
    started: bool = True

    @property
    def is_reused(self) -> bool:
        """Whether an earlier run has done it."""
        return self.receipt is not None and self.receipt.state is JobState.REUSED


class PartitionedTraining:
    """The trainings of one node.

    Args:
        order: what the node asks for; its parameters are partitioned.
        partitioned: how its data is divided.
        generator: knows the templates.
        machines: run the jobs.
        row: the node's row in the display.
        place: where a user finds the parameters.
        what: the dataset that is divided.
        reuse: whether what earlier runs have done is taken.
        project_id: the project's id.
    """

    def __init__(
        self,
        order: TrainingOrder,
        partitioned: Partitioned,
        generator: TrainingScriptGenerator,
        machines: OwnMachines | KeptMachines,
        row: Row,
        *,
        place: str,
        what: str = "data",
        reuse: bool = True,
        project_id: str = "",
    ) -> None:
        self._began = time.monotonic()
        self._order, self._partitioned, self._generator = order, partitioned, generator
        self._machines, self._row, self._place, self._what = machines, row, place, what
        self._reuse, self._project_id = reuse, project_id
        self._parallel = min(partitioned.max_pods, machines.at_once or partitioned.max_pods)
        self._uses: list[MachineUse] = []
        self._outcomes: list[_Outcome] = []
        self._end: CloudTrainError | None = None
        self._count = 0
        self._lock = threading.Lock()

    def run(self, receipts: list[Receipt]) -> dict[str, Any]:
        """Train all groups, and return the outputs by kind.

        Args:
            receipts: takes the node's receipt, whatever becomes of it.

        Returns:
            `model` a dict of models by the groups' names; `metrics` their means, and those of each group; `history`, `importance` and
            `predictions` tables with the group's column first; `leaderboard` a row for each group, the best first.

        Raises:
            CloudTrainError: the data cannot be divided, a group has failed, or the run is over.
        """
        state, error, scores = JobState.FAILED, "", {}
        try:
            order = self._order
            partitions = partitions_of(order.parameters, order.data, order.volume, self._place, what=self._what)
            for sentence in partitions.described(self._partitioned):
                logger.info("%s: %s", order.node, sentence, extra={"markup": False})
            self._count = len(partitions.chosen)
            self._row.moved(order.node, JobState.STARTING)
            try:
                self._train(partitions)
            finally:
                self._machines.release()
            if len(self._done) < self._count:
                raise self._failure()
            values = self._values()
            scores = scores_of(values["metrics"])
            state = JobState.SUCCEEDED if self._ran else JobState.REUSED
        except CloudTrainError as raised:
            state, error = state_after(raised) or JobState.CANCELLED, raised.message.partition("\n")[0]
            raise
        finally:
            self._machines.close()
            receipts.append(self._receipt(state, scores, error))
            self._row.moved(self._order.node, state)
        return values

    def _train(self, partitions: Partitions) -> None:
        """Run a job for each group, `max_pods` at once."""
        common = common_order(self._order, self._partitioned, partitions)
        executor = DaemonExecutor(self._parallel, "cloudtrain-partition")
        self._show()
        try:
            futures = [executor.submit(self._run_partition, common, partition) for partition in partitions.chosen]
            for future in concurrent.futures.as_completed(futures):
                future.result()
        finally:
            executor.close(0.0, cancel_futures=True)

    def _run_partition(self, common: PartitionOrder, partition: Partition) -> None:
        """Run a group's job, unless those before it have shown that none is to begin any more.

        Raises:
            CloudTrainError: it is not the group that has failed.
        """
        try:
            end = self._end
            outcome = self._outcome(common, partition) if end is None else _Outcome(partition, error=end, started=False)
        except CloudTrainError as error:
            self._end = self._end or error
            raise
        with self._lock:
            self._take(outcome)

    def _outcome(self, common: PartitionOrder, partition: Partition) -> _Outcome:
        """Run a group's job, and return how it has ended."""
        receipts: list[Receipt] = []
        try:
            job = prepare(order_of(common, self._order, self._partitioned, partition), self._generator, project_id=self._project_id)
            watcher = TrialWatcher(self._machines.backend.kept(job.folder), self._row)
            values = job.run(self._machines.backend, watcher, receipts, slots=self._machines.slots, reuse=self._reuse)
        except BudgetExceededError as error:
            return _Outcome(partition, error=error, started=False)
        except (JobFailedError, JobTimeoutError, JobLostError, HyperparameterError, SourceError) as error:
            return _Outcome(partition, receipt=receipts[0] if receipts else None, error=error)
        finally:
            self._uses += [use for receipt in receipts for use in receipt.machines]
        return _Outcome(partition, values, receipts[0])

    def _take(self, outcome: _Outcome) -> None:
        """Record how a group's job has ended."""
        self._outcomes.append(outcome)
        if not outcome.started:
            self._end = self._end or outcome.error
        elif outcome.error is not None:
            reason = outcome.error.message.partition("\n")[0]
            name, noun = outcome.partition.name, self._partitioned.noun
            logger.warning("%s: the %s %s has failed: %s", self._order.node, noun, name, reason, extra={"markup": False})
            if len(self._failed) >= _GIVE_UP_AFTER and not self._done:
                self._end = self._end or outcome.error
        self._show()

    @property
    def _done(self) -> list[_Outcome]:
        return [outcome for outcome in self._outcomes if outcome.error is None]

    @property
    def _failed(self) -> list[_Outcome]:
        return [outcome for outcome in self._outcomes if outcome.error is not None and outcome.started]

    @property
    def _ran(self) -> int:
        """How many jobs were run, and not taken from an earlier run."""
        return sum(outcome.started and not outcome.is_reused for outcome in self._outcomes)

    def _failure(self) -> CloudTrainError:
        """Return which groups are missing, and what to do."""
        node, noun, failed = self._order.node, self._partitioned.noun, self._failed
        names = sorted(outcome.partition.name for outcome in failed)
        parts = [f"{len(self._done)} of {counted(self._count, noun)} of {node} {'is' if len(self._done) == 1 else 'are'} trained"]
        if failed:
            parts.append(f"{len(failed)} {'has' if len(failed) == 1 else 'have'} failed: {some_of(names)}")
        lacking = self._count - len(self._done) - len(failed)
        if lacking:
            parts.append(f"{lacking} {'was' if lacking == 1 else 'were'} not started")
        first = next(iter(failed), None)
        error = first.error if first is not None else self._end
        decisive = next((each for each in (self._end, error) if isinstance(each, BudgetExceededError | HyperparameterError)), None)
        kind = JobFailedError if decisive is None else type(decisive)
        why = "" if error is None else f"\n{first.partition.name if first is not None else 'Why'}: {error.message}"
        again = "correct what is wrong and run again, and only the others are trained"
        if isinstance(self._order.data, UrlSource | VolumeSource):
            again = f"run again, and only the others are trained; of a table that was corrected, all {noun}s are trained"
        return kind(
            f"{', '.join(parts)}. What is trained is kept: {again}. Below `partitioned`, `groups` names those to train, and `min_rows` "
            f"leaves small ones out.{why}"
        )

    def _values(self) -> dict[str, Any]:
        import pandas as pd  # noqa: PLC0415  # which takes half a second

        label, ordered = self._partitioned.label, sorted(self._outcomes, key=lambda outcome: outcome.partition.name)
        values: dict[str, Any] = {}
        if "model" in self._order.outputs:
            values["model"] = {outcome.partition.name: outcome.outputs["model"] for outcome in ordered}
        for kind in _TABLES:
            if kind in self._order.outputs:
                tables = [outcome.outputs[kind].copy() for outcome in ordered]
                for table, outcome in zip(tables, ordered, strict=True):
                    table.insert(0, label, outcome.partition.value)
                values[kind] = pd.concat(tables, ignore_index=True)
        metrics = {outcome.partition.name: outcome.outputs["metrics"] for outcome in ordered}
        values["metrics"] = together(metrics, f"{self._partitioned.noun}s")
        values["leaderboard"] = self._leaderboard(ordered)
        return values

    def _leaderboard(self, ordered: Sequence[_Outcome]) -> Any:
        """Return a row for each group: its rows, its metrics, what it took and its job; the best first."""
        import pandas as pd  # noqa: PLC0415  # as above

        rows = []
        for outcome in ordered:
            receipt, partition = outcome.receipt, outcome.partition
            rows.append(
                {
                    self._partitioned.label: partition.value,
                    "rows": partition.rows,
                    **scores_of(outcome.outputs["metrics"]),
                    "state": "reused" if outcome.is_reused else "trained",
                    "seconds": round(receipt.worked_s, 3) if receipt is not None else None,
                    "usd": self._usd_of(receipt) if receipt is not None else None,
                    "job": receipt.job if receipt is not None else None,
                }
            )
        table = pd.DataFrame(rows)
        goal = watched_goal(self._order.parameters)
        if goal.metric not in table:
            return table
        return table.sort_values(goal.metric, ascending=not goal.maximize, kind="stable", ignore_index=True)

    def _usd_of(self, receipt: Receipt) -> float | None:
        """Return what a group has cost: its own machines, or its share of those that are kept, by its time."""
        if receipt.machines or receipt.state is JobState.REUSED:
            return receipt.cost_usd
        prices = [use.usd_per_hour for use in self._machines.used]
        return round(receipt.worked_s / 3600 * prices[-1], 6) if prices else None

    def _show(self) -> None:
        """Show in the display how many groups are done."""
        row, done = self._row, len(self._outcomes)
        row.unit = self._partitioned.noun
        row.trials = f"{row.unit} {min(done + 1, self._count)} of {self._count}"
        row.progressed(self._order.node, JobProgress(step=done, of=max(self._count, 1)))
        if kept := self._machines.used:
            row.machine, row.spent_usd = kept[-1].machine, sum(use.cost_usd for use in (*self._uses, *kept))
            row.cost_usd = row.spent_usd
        if row.state is not JobState.RUNNING:
            row.moved(self._order.node, JobState.RUNNING)

    def _receipt(self, state: JobState, scores: Mapping[str, float], error: str) -> Receipt:
        total_s = time.monotonic() - self._began
        reused = len(self._outcomes) - self._ran - sum(not outcome.started for outcome in self._outcomes)
        numbers = f"{counted(self._count, self._partitioned.noun)}: {self._ran} run, {reused} reused"
        return Receipt(
            node=self._order.node,
            job=job_name(self._order.node, "").rstrip("-"),
            where=self._machines.backend.name,
            state=state,
            total_s=total_s,
            machines=(*self._uses, *self._machines.used),
            started_at=time.time() - total_s,
            why=numbers + (f", {len(self._failed)} failed" if self._failed else ""),
            scores=scores,
            error=error,
        )


def together(metrics: Mapping[str, Mapping[str, Any]], noun: str) -> dict[str, Any]:
    """Return the mean of each metric over the groups, its standard deviation as `…_std`, and the metrics of each by its name.

    Args:
        metrics: those of each group.
        noun: the key of the groups' own: `groups` or `partitions`.
    """
    import numpy as np  # noqa: PLC0415  # which takes a moment

    scores = {name: scores_of(values) for name, values in metrics.items()}
    summary: dict[str, Any] = {}
    for name in dict.fromkeys(name for values in scores.values() for name in values):
        numbers = [values[name] for values in scores.values() if name in values]
        summary |= {name: float(np.mean(numbers)), f"{name}_std": float(np.std(numbers))}
    return {**summary, noun: {name: dict(values) for name, values in metrics.items()}}
