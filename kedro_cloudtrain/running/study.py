"""A study: the trials of a search, asked of Optuna and told to it in memory, and kept in a file that Optuna's own tools open.

Optuna's file takes some 3 ms for each number that a trial reports and 50 ms for a question, its memory a hundredth of that. So the file
gets a trial once it is done, whole and in the order of the numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import logging
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.storage.disk import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import optuna
    import pandas as pd

    from kedro_cloudtrain.jobs.search_checks import Goal
    from kedro_cloudtrain.jobs.search_space import Dimension, Search

logger = logging.getLogger("kedro.cloudtrain")

# The study's own attribute: what was asked while others were under way, and is not written yet, by the trials' numbers.
_PENDING = "asked"
_LOCK_POLL_S = 0.2
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclasses.dataclass(frozen=True)
class OpenTrial:
    """A trial that Optuna has asked for.

    Attributes:
        number: its number, from 0 on.
        values: its hyperparameters.
        handle: Optuna's own of it.
    """

    number: int
    values: Mapping[str, Any]
    handle: optuna.trial.Trial


@dataclasses.dataclass(frozen=True)
class FinishedTrial:
    """A trial that is done.

    Attributes:
        number: its number, from 0 on.
        state: `complete`, `pruned` or `failed`.
        values: its hyperparameters.
        score: what it is compared by; of one that was pruned, None.
        facts: `job`, `seconds`, `usd` and `error`, as far as they are known.
    """

    number: int
    state: str
    values: Mapping[str, Any]
    score: float | None
    facts: Mapping[str, Any]


class Study:
    """The trials of one search; thread-safe.

    What is asked depends on the seed, the trial's number and the trials that are done, and on no state of a random generator: a search
    that was interrupted goes on as if it had not been.

    Args:
        name: of the study, which is that of the same search alone.
        search: what is searched, and how.
        goal: what trials are compared by.
        seed: of the sampler.
        file: where it is kept, beside the same node's other studies; None keeps it in memory.
        fresh: whether an earlier study of this name is deleted.
    """

    def __init__(self, name: str, search: Search, goal: Goal, seed: int, file: Path | None = None, *, fresh: bool = False) -> None:
        import optuna  # noqa: PLC0415  # takes half a second, which a run without a search need not wait for

        self.name = name
        self.file = file
        self._optuna = optuna
        self._search, self._goal, self._seed = search, goal, seed
        self._lock = threading.RLock()
        self._kept: optuna.Study | None = None
        self._written = 0
        self._attributes: dict[int, Mapping[str, Any]] = {}
        self._memory = optuna.storages.InMemoryStorage()
        with self._quiet():
            self._load(fresh=fresh)
            self._study = optuna.create_study(
                storage=self._memory,
                study_name=name,
                direction="maximize" if goal.maximize else "minimize",
                pruner=self._pruner(),
                load_if_exists=True,
            )
        self._written = len(self._study.get_trials(deepcopy=False))
        self._pending: dict[int, dict[str, Any]] = {
            int(number): trial for number, trial in self._study.user_attrs.get(_PENDING, {}).items()
        }

    def ask(self) -> OpenTrial:
        """Return the next trial: one that is still pending from an earlier client, else what the finished ones suggest."""
        space = {name: self._distribution(dimension) for name, dimension in self._search.space.items()}
        with self._lock, self._quiet():
            trials = self._study.get_trials(deepcopy=False)
            number, study_id = len(trials), self._memory.get_study_id_from_name(self.name)
            self._study.sampler = self._sampler(number)
            before = self._pending.get(number)
            if before is not None:
                self._study.enqueue_trial(before["params"])
            trial = self._study.ask(space)
            for key, value in before["attributes"].items() if before is not None else ():
                self._memory.set_study_system_attr(study_id, key, value)
            self._attributes[number] = dict(self._memory.get_study_system_attrs(study_id))
            if not all(earlier.state.is_finished() for earlier in trials):
                self._pending[number] = {"params": trial.params, "attributes": self._attributes[number]}
        values = {name: _decoded(self._search.space[name], value) for name, value in trial.params.items()}
        return OpenTrial(trial.number, values, trial)

    def report(self, trial: OpenTrial, step: int, value: float) -> bool:
        """Report what a trial has measured after a round; return whether it is to be pruned."""
        with self._lock:
            trial.handle.report(value, step)
            return bool(trial.handle.should_prune())

    def tell(self, trial: OpenTrial, state: str, score: float | None, facts: Mapping[str, Any]) -> FinishedTrial:
        """Record how a trial has ended.

        Args:
            trial: the one that has ended.
            state: `complete`, `pruned` or `failed`.
            score: of one that is complete.
            facts: as for `FinishedTrial`.
        """
        states = {word: self._optuna.trial.TrialState[name] for name, word in _STATES.items()}
        with self._lock, self._quiet():
            for key, value in facts.items():
                trial.handle.set_user_attr(key, value)
            # A sampler learns from the trials, not from `tell`; a grid's would stop Optuna's own loop here, which does not run.
            self._study.sampler = self._optuna.samplers.RandomSampler()
            self._study.tell(trial.handle, score if state == "complete" else None, states[state])
        return FinishedTrial(trial.number, state, trial.values, score if state == "complete" else None, facts)

    @property
    def finished(self) -> list[FinishedTrial]:
        """The trials that are done, in the order of their numbers, as many as the search has."""
        with self._lock:
            trials = self._study.get_trials(deepcopy=False)
        return [
            FinishedTrial(
                trial.number,
                _STATES[trial.state.name],
                {name: _decoded(self._search.space[name], value) for name, value in trial.params.items()},
                trial.value if trial.state.name == "COMPLETE" else None,
                trial.user_attrs,
            )
            for trial in trials[: self._search.most_trials]
            if trial.state.is_finished()
        ]

    def best(self) -> FinishedTrial | None:
        """Return the best trial, of equals the first; None where none is complete."""
        best: FinishedTrial | None = None
        for trial in self.finished:
            if trial.score is not None and (best is None or best.score is None or self._goal.is_better(trial.score, best.score)):
                best = trial
        return best

    def importance(self) -> dict[str, float]:
        """Return how much each hyperparameter counts for the score, as shares of 1; empty where there are too few trials to tell."""
        with self._lock, self._quiet(), contextlib.suppress(ValueError, RuntimeError, ZeroDivisionError):
            shares = self._optuna.importance.get_param_importances(self._study)
            return {name: float(share) for name, share in shares.items()}
        return {}

    def table(self) -> pd.DataFrame:
        """Return a row for each trial: number, state, the hyperparameters, the score, seconds, dollars, and the name of its job.

        `attrs["importance"]` of the table has what `importance` returns.
        """
        import pandas as pd  # noqa: PLC0415  # as Optuna

        rows = [
            {
                "number": trial.number,
                "state": trial.state,
                **trial.values,  # noqa: PD011  # no frame
                "score": trial.score,
                **{fact: trial.facts.get(fact) for fact in ("seconds", "usd", "job")},
            }
            for trial in self.finished
        ]
        table = pd.DataFrame(rows, columns=["number", "state", *self._search.space, "score", "seconds", "usd", "job"])
        # A list, as of the units of layers, has no column type that files have.
        for name, dimension in self._search.space.items():
            if any(_coded(value) is not value for value in dimension.choices):
                table[name] = [_coded(value) for value in table[name]]
        table.attrs["importance"] = self.importance()
        return table

    def note_pending(self) -> None:
        """Write the pending trials to the file before they begin, so that a later client asks for the same ones."""
        if self.file is not None and self._pending:
            self._set_pending(self._open())

    def flush(self) -> None:
        """Write the finished trials to the file, up to the first one that is not finished."""
        if self.file is None:
            return
        with self._lock:
            trials = self._study.get_trials(deepcopy=True)
        done = self._written
        while done < len(trials) and trials[done].state.is_finished():
            done += 1
        if done == self._written:
            return
        kept, storage = self._open(), self._storage
        with self._quiet():
            for trial in trials[self._written : done]:
                kept.add_trial(trial)
                # Samplers that number their points: the attributes as they were when the trial was asked for.
                for key, value in self._attributes.pop(trial.number, {}).items():
                    storage.set_study_system_attr(storage.get_study_id_from_name(self.name), key, value)
        self._written = done
        self._set_pending(kept)

    def _set_pending(self, kept: optuna.Study) -> None:
        with self._lock:
            self._pending = {number: trial for number, trial in self._pending.items() if number >= self._written}
            pending = {str(number): trial for number, trial in self._pending.items()}
        if pending or kept.user_attrs.get(_PENDING):
            kept.set_user_attr(_PENDING, pending)

    def _load(self, *, fresh: bool) -> None:
        """Take over the trials of the study's file."""
        if self.file is None or not self.file.is_file():
            return
        storage = self._storage
        if self.name not in self._optuna.get_all_study_names(storage):
            return
        kept = self._optuna.load_study(study_name=self.name, storage=storage)
        if fresh or not any(trial.state.name in ("COMPLETE", "PRUNED") for trial in kept.get_trials(deepcopy=False)):
            self._optuna.delete_study(study_name=self.name, storage=storage)
            return
        self._kept = kept
        self._optuna.copy_study(from_study_name=self.name, from_storage=storage, to_storage=self._memory)

    @functools.cached_property
    def _storage(self) -> optuna.storages.RDBStorage:
        return self._optuna.storages.RDBStorage(f"sqlite:///{self.file}")

    def _open(self) -> optuna.Study:
        if self._kept is None and self.file is not None:
            with writing(self.file), self._quiet():
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self._kept = self._optuna.create_study(
                    storage=self._storage,
                    study_name=self.name,
                    direction="maximize" if self._goal.maximize else "minimize",
                    load_if_exists=True,
                )
        return self._kept if self._kept is not None else self._study

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Keep Optuna's lines about studies and trials out of the run's log."""
        before = self._optuna.logging.get_verbosity()
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
                yield
        finally:
            self._optuna.logging.set_verbosity(before)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        samplers, search = self._optuna.samplers, self._search
        seed = (self._seed + number) % 2**32
        if search.sampler == "grid":
            # Its seed orders the points, each of which the number of a trial names.
            return samplers.GridSampler(
                {name: list(map(_coded, dimension.values() or ())) for name, dimension in search.space.items()}, seed=self._seed
            )
        if search.sampler == "qmc":
            # One scrambled sequence; each trial takes its next point.
            return samplers.QMCSampler(
                seed=self._seed,
                scramble=True,
                independent_sampler=samplers.RandomSampler(seed),
                warn_asynchronous_seeding=False,
                warn_independent_sampling=False,
            )
        if search.sampler == "cmaes":
            return samplers.CmaEsSampler(seed=seed, independent_sampler=samplers.RandomSampler(seed), warn_independent_sampling=False)
        return samplers.RandomSampler(seed) if search.sampler == "random" else samplers.TPESampler(seed=seed)

    def _pruner(self) -> optuna.pruners.BasePruner:
        pruners = self._optuna.pruners
        kinds = {
            "none": pruners.NopPruner,
            "median": pruners.MedianPruner,
            "hyperband": pruners.HyperbandPruner,
            "successive_halving": pruners.SuccessiveHalvingPruner,
        }
        pruner: optuna.pruners.BasePruner = kinds[self._search.pruner]()
        return pruner

    def _distribution(self, dimension: Dimension) -> optuna.distributions.BaseDistribution:
        distributions = self._optuna.distributions
        if dimension.kind == "choice":
            return distributions.CategoricalDistribution([_coded(value) for value in dimension.choices])
        if dimension.kind == "int":
            return distributions.IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
        return distributions.FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)


@contextlib.contextmanager
def hold(file: Path | None, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a node's studies while this client searches: another client waits, and then finds what was found.

    Args:
        file: the studies' file; None for studies in memory, which nobody else has.
        waiting: called repeatedly while another client holds them.
    """
    if file is None:
        yield
        return
    place = file.with_suffix(".lock")
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.open("a")
    with lock as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                time.sleep(_LOCK_POLL_S)
            else:
                break
        yield


def _coded(value: Any) -> Any:
    """Return a choice as Optuna's files hold it: a list or a mapping as its JSON."""
    return value if value is None or isinstance(value, str | int | float | bool) else json.dumps(value)


def _decoded(dimension: Dimension, value: Any) -> Any:
    """Return a drawn value as a library takes it."""
    if dimension.kind != "choice":
        return value
    return next((choice for choice in dimension.choices if type(_coded(choice)) is type(value) and _coded(choice) == value), value)
