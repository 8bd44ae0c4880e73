"""A search: trials are asked of Optuna, run as jobs, and told to it, until its budget ends."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import (
    BudgetExceededError,
    CloudTrainError,
    ConfigError,
    HyperparameterError,
    JobFailedError,
    JobLostError,
    JobPrunedError,
    JobTimeoutError,
)
from kedro_cloudtrain.jobs.failures import state_after
from kedro_cloudtrain.jobs.fingerprint import job_name
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.result import JobProgress, JobState
from kedro_cloudtrain.jobs.search_checks import drawn, goal_of
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.study import Study, hold
from kedro_cloudtrain.running.trial import TrialOrder, TrialWatcher, more_is_better
from kedro_cloudtrain.runs.scores import scores_of
from kedro_cloudtrain.storage.threads import DaemonExecutor
from kedro_cloudtrain.wording import counted, score_text, usd

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kedro_cloudtrain.jobs.receipt import MachineUse
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.jobs.search_space import Search
    from kedro_cloudtrain.running.display import Row
    from kedro_cloudtrain.running.job import Job
    from kedro_cloudtrain.running.study import FinishedTrial, OpenTrial
    from kedro_cloudtrain.running.training import TrainingOrder
    from kedro_cloudtrain.running.trial_machines import KeptMachines, OwnMachines

logger = logging.getLogger("kedro.cloudtrain")

STUDIES = ".cloudtrain/studies"
# If the first trials fail, this many in a row, the others will fail too.
_GIVE_UP_AFTER = 5
_SEED = 42


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """How a trial's job has ended.

    Attributes:
        state: `complete`, `pruned` or `failed`; empty where it was not started, since the money has ended.
        receipt: what it took; None where it was not started.
        score: of one that is complete.
        error: why it has failed, or was not started.
    """

    state: str
    receipt: Receipt | None = None
    score: float | None = None
    error: CloudTrainError | None = None


class TrainingSearch:
    """The search of one training node.

    Args:
        order: what the node asks for; its parameters have a search.
        generator: knows the templates.
        machines: run the trials.
        row: the node's row in the display.
        reuse: whether what earlier runs have found is taken.
        project_id: the project's id.
        studies: the folder of the studies; None keeps the study in memory.
    """

    def __init__(
        self,
        order: TrainingOrder,
        generator: TrainingScriptGenerator,
        machines: OwnMachines | KeptMachines,
        row: Row,
        *,
        reuse: bool = True,
        project_id: str = "",
        studies: Path | None = None,
    ) -> None:
        if order.parameters.search is None:
            raise ConfigError(f"{order.node} has no `search`.")
        self._began = time.monotonic()
        self._order, self._search = order, order.parameters.search
        self._generator, self._machines, self._row, self._project_id = generator, machines, row, project_id
        self._parallel = min(self._search.parallel, machines.at_once or self._search.parallel)
        self._goal = goal_of(order.parameters, self._search)
        common = TrialOrder.of(order)
        self._base = prepare(common, generator, project_id=project_id)
        self._common = dataclasses.replace(common, size=self._base.workload)
        self._reuse = reuse and not self._base.fingerprint.unidentified
        seed = self._search.seed if self._search.seed is not None else order.parameters.seed
        self._seed = _SEED if seed is None else seed
        self.name = job_name(order.node, _digest(self._base.fingerprint.digest, self._search, self._seed))
        self.file = None if studies is None else studies / f"{job_name(order.node, '').rstrip('-')}.db"
        self._ran = self._reused = self._new_failures = 0
        self._uses: list[MachineUse] = []
        self._states: Mapping[str, int] = {}
        self._first_error: CloudTrainError | None = None
        self._end = ""

    def run(self, receipts: list[Receipt]) -> dict[str, Any]:
        """Search, and return the outputs of the best trial by kind, and the table of all as `trials`.

        Args:
            receipts: takes the search's receipt, whatever becomes of it.

        Raises:
            CloudTrainError: no trial has succeeded, or the run is over.
        """
        state, error, winner = JobState.FAILED, "", None
        try:
            with hold(self.file, self._await_other_client):
                study = Study(self.name, self._search, self._goal, self._seed, self.file, fresh=not self._reuse)
                earlier = len(study.finished)
                self._reused += earlier
                self._row.moved(self.name, JobState.STARTING)
                try:
                    self._ask_and_tell(study)
                finally:
                    study.flush()
                    self._states = Counter(trial.state for trial in study.finished)
            best = study.best()
            if best is None:
                raise self._failure(study)
            self._machines.release()
            winner = self._job(best.values, winner=True)
            values = self._winner_values(winner)
            state = JobState.SUCCEEDED if self._ran else JobState.REUSED
            table = study.table()
            self._log_end(study, best, table.attrs["importance"])
        except CloudTrainError as raised:
            state, error = state_after(raised) or JobState.CANCELLED, raised.message.partition("\n")[0]
            raise
        finally:
            self._machines.close()
            scores = scores_of(values.get("metrics")) if winner is not None and not error else {}
            receipts.append(self._receipt(state, winner, scores, error))
            self._row.moved(winner.name if winner is not None else self.name, state)
        return {**values, "trials": table}

    def _ask_and_tell(self, study: Study) -> None:
        """Run trials until there are as many as are wanted, or the search's budget ends."""
        executor = DaemonExecutor(self._parallel, "cloudtrain-trial")
        running: dict[concurrent.futures.Future[_Outcome], OpenTrial] = {}
        number, best = len(study.finished), study.best()
        self._show(number, best)
        try:
            while True:
                while len(running) < self._parallel and number < self._search.most_trials and not self._is_over(study):
                    trial = study.ask()
                    study.note_pending()
                    running[executor.submit(self._run_trial, study, trial)] = trial
                    number += 1
                if not running:
                    return
                # While machines are at work.
                study.flush()
                done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in sorted(done, key=lambda future: running[future].number):
                    best = self._tell(study, running.pop(future), future.result(), best)
        finally:
            executor.close(0.0, cancel_futures=True)

    def _is_over(self, study: Study) -> bool:
        """Return whether no further trial begins, and note why."""
        search, trials = self._search, study.finished
        spent, ran = self._spent_usd, self._ran
        if self._end:
            return True
        if search.timeout_s is not None and time.monotonic() - self._began >= search.timeout_s:
            self._end = f"search.timeout_s ({search.timeout_s:g} s) has passed"
        elif search.max_cost_usd is not None and spent + (spent / ran if ran else 0.0) > search.max_cost_usd:
            self._end = f"{usd(spent)} has been spent, and another trial would pass search.max_cost_usd ({usd(search.max_cost_usd)})"
        elif self._new_failures >= _GIVE_UP_AFTER and all(trial.state == "failed" for trial in trials):
            self._end = f"the first {_GIVE_UP_AFTER} trials have failed"
        return bool(self._end)

    def _run_trial(self, study: Study, trial: OpenTrial) -> _Outcome:
        """Run a trial's job.

        Raises:
            CloudTrainError: it is not the trial that has failed.
        """
        job = self._job(trial.values)
        receipts: list[Receipt] = []

        def report(step: int, name: str, value: float) -> bool:
            return study.report(trial, step, value if more_is_better(name) == self._goal.maximize else -value)

        judged = report if self._search.pruner != "none" else None
        watcher = TrialWatcher(self._machines.backend.kept(job.folder), self._row, judged)
        error: CloudTrainError | None = None
        values: dict[str, Any] = {}
        try:
            values = job.run(self._machines.backend, watcher, receipts, slots=self._machines.slots, reuse=self._reuse)
        except BudgetExceededError as raised:
            return _Outcome("", error=raised)
        except (JobFailedError, JobTimeoutError, JobLostError, JobPrunedError, HyperparameterError) as raised:
            error = raised
        finally:
            self._uses += [use for receipt in receipts for use in receipt.machines]
        watcher.look()
        receipt = receipts[0] if receipts else None
        if watcher.pruned or isinstance(error, JobPrunedError):
            return _Outcome("pruned", receipt)
        if error is not None:
            return _Outcome("failed", receipt, error=error)
        return self._scored(values["metrics"], receipt, trial)

    def _scored(self, metrics: Mapping[str, Any], receipt: Receipt | None, trial: OpenTrial) -> _Outcome:
        metric = self._goal.metric
        if metric not in metrics:
            raise ConfigError(f"`search.metric` is {metric!r}, and the metrics file has {', '.join(scores_of(metrics)) or 'no number'}.")
        score = scores_of(metrics).get(metric)
        if score is None:
            reason = f"Trial {trial.number} has no {metric}: it is not defined for the rows that validate, or is not a finite number."
            return _Outcome("failed", receipt, error=JobFailedError(reason))
        return _Outcome("complete", receipt, score)

    def _tell(self, study: Study, trial: OpenTrial, outcome: _Outcome, best: FinishedTrial | None) -> FinishedTrial | None:
        """Record how a trial has ended; return the best one by now."""
        receipt, error = outcome.receipt, outcome.error
        if not outcome.state:
            self._first_error = self._first_error or error
            self._end = self._end or f"the budget is used up: {error.message if error is not None else ''}"
            return best
        reused = receipt is not None and receipt.state is JobState.REUSED
        self._reused += reused
        self._ran += not reused
        if outcome.state == "failed":
            self._new_failures += 1
            self._first_error = self._first_error or error
            reason = error.message.partition("\n")[0] if error is not None else ""
            logger.warning("%s: trial %d has failed: %s", self._order.node, trial.number, reason, extra={"markup": False})
        facts = {
            "job": receipt.job if receipt is not None else None,
            "seconds": round(receipt.worked_s, 3) if receipt is not None else None,
            "usd": self._usd_of(receipt) if receipt is not None else None,
            **({"error": error.message} if error is not None and outcome.state == "failed" else {}),
        }
        result = study.tell(trial, outcome.state, outcome.score, facts)
        if result.score is not None and (best is None or best.score is None or self._goal.is_better(result.score, best.score)):
            best = result
            logger.info(
                "%s: best %s %s, of trial %d, with %s",
                self._order.node,
                self._goal.metric,
                score_text(result.score),
                result.number,
                _shown(result.values),
                extra={"markup": False},
            )
        self._show(len(study.finished), best)
        return best

    def _usd_of(self, receipt: Receipt) -> float | None:
        """Return what a trial has cost: its own machines, or its share of those that are kept, by its time."""
        if receipt.machines or receipt.state is JobState.REUSED:
            return receipt.cost_usd
        prices = [use.usd_per_hour for use in self._machines.used]
        return round(receipt.worked_s / 3600 * prices[-1], 6) if prices else None

    def _show(self, done: int, best: FinishedTrial | None) -> None:
        """Show in the display how far the search is."""
        row, most = self._row, self._search.most_trials
        score = "" if best is None or best.score is None else f", best {self._goal.metric} {score_text(best.score)}"
        row.trials = f"trial {min(done + 1, most)} of {most}{score}"
        row.progress = JobProgress(step=min(done, most), of=most)
        if kept := self._machines.used:
            row.machine, row.spent_usd = kept[-1].machine, self._spent_usd
            row.cost_usd = row.spent_usd
        if row.state is not JobState.RUNNING:
            row.moved(self.name, JobState.RUNNING)

    def _job(self, values: Mapping[str, Any], *, winner: bool = False) -> Job:
        order = dataclasses.replace(self._common, parameters=drawn(self._order.parameters, dict(values)), winner=winner)
        return prepare(order, self._generator, project_id=self._project_id)

    def _winner_values(self, job: Job) -> dict[str, Any]:
        """Return all outputs of the best trial; where they are gone, or the code has changed since, it runs again."""
        try:
            return job.outputs(self._machines.backend)
        except JobLostError as error:
            logger.info("%s runs again: %s", job.name, error.message, extra={"markup": False})
        receipts: list[Receipt] = []
        try:
            self._ran += 1
            watcher = TrialWatcher(self._machines.backend.kept(job.folder), self._row)
            return job.run(self._machines.backend, watcher, receipts, slots=self._machines.slots, reuse=self._reuse)
        finally:
            self._uses += [use for receipt in receipts for use in receipt.machines]

    def _failure(self, study: Study) -> CloudTrainError:
        """Return why there is no best trial: the first one's error, in its own class."""
        trials = study.finished
        states = Counter(trial.state for trial in trials)
        summary = f"No trial of {self._order.node} has succeeded: {_counts(states) or 'none was run'}"
        error = self._first_error
        why = f", since {self._end}" if self._end else ""
        if error is None:
            return JobFailedError(f"{summary}{why}.")
        kind = type(error) if isinstance(error, BudgetExceededError | HyperparameterError) else JobFailedError
        return kind(f"{summary}{why}. The first one's error:\n{error.message}")

    def _await_other_client(self) -> None:
        """Called while another client searches the same."""
        if self._machines.slots is not None:
            self._machines.slots.check_open(self.name)

    @property
    def _spent_usd(self) -> float:
        return sum(use.cost_usd for use in (*self._uses, *self._machines.used))

    def _log_end(self, study: Study, best: FinishedTrial, importance: Mapping[str, float]) -> None:
        """Log what was found, why the search has ended, and what opens its study."""
        node, trials = self._order.node, study.finished
        if self._end:
            spent = f", {usd(self._spent_usd)} spent" if self._spent_usd else ""
            logger.warning(
                "%s: %d of %d trials%s: %s. The best so far is the result.",
                node,
                len(trials),
                self._search.most_trials,
                spent,
                self._end.rstrip("."),
                extra={"markup": False},
            )
        counted_most = ", ".join(f"{name} {share:.0%}" for name, share in importance.items())
        logger.info(
            "%s: of %d trials number %d is the best: %s %s with %s%s",
            node,
            len(trials),
            best.number,
            self._goal.metric,
            score_text(best.score or 0.0),
            _shown(best.values),
            f"; what counts: {counted_most}" if counted_most else "",
            extra={"markup": False},
        )
        if self.file is not None:
            logger.info("%s: the study %s is in %s", node, self.name, self.file, extra={"markup": False})

    @property
    def _why(self) -> str:
        """The numbers of trials: `search: 9 trials run, 31 reused; of all 12 pruned, 1 failed`."""
        kinds = [f"{count} {state}" for state in ("pruned", "failed") if (count := self._states.get(state, 0))]
        return f"search: {counted(self._ran, 'trial')} run, {self._reused} reused" + (f"; of all {', '.join(kinds)}" if kinds else "")

    def _receipt(self, state: JobState, winner: Job | None, scores: Mapping[str, float], error: str) -> Receipt:
        total_s = time.monotonic() - self._began
        return Receipt(
            node=self._order.node,
            job=winner.name if winner is not None else self.name,
            where=self._machines.backend.name,
            state=state,
            total_s=total_s,
            machines=(*self._uses, *self._machines.used),
            started_at=time.time() - total_s,
            why=self._why,
            scores=scores,
            data=self._base.fingerprint.input_digests,
            error=error,
            folder=str(winner.folder.path) if winner is not None else "",
        )


def _digest(fingerprint: str, search: Search, seed: int) -> str:
    """Return what identifies a search: the data, the fixed parameters and how it is searched; not for how long."""
    fields = search.model_dump(mode="json", include={"space", "metric", "direction", "sampler", "pruner"})
    return hashlib.sha256(json.dumps([fingerprint, fields, seed], sort_keys=True).encode()).hexdigest()


def _shown(values: Mapping[str, Any]) -> str:
    """Return hyperparameters as a person reads them: `max_depth 4, learning_rate 0.1`."""
    return ", ".join(f"{name} {score_text(value) if isinstance(value, float) else value}" for name, value in values.items())


def _counts(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in states.items())
