"""A trial of a search: a training like any other, whose metrics alone come back and whose rounds tell whether it is worth its time."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import BackendError, SourceError
from kedro_cloudtrain.running.order import Inputs
from kedro_cloudtrain.running.outputs import read_outputs
from kedro_cloudtrain.running.training import TrainingOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kedro_cloudtrain.backends.backend import KeptJob
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobProgress, JobResult, JobState
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.running.display import Row
    from kedro_cloudtrain.storage.volumes import Volume

# Each of the first twenty rounds counts, every second one of the next twenty, every fourth of the next forty, and so on: Optuna's file
# takes 3 ms for each, and the later a round, the less it tells beside the one before it.
_EACH_UP_TO = 20
# The metrics of which more is better, in the libraries' own words.
_MORE_IS_BETTER = re.compile(r"auc|accuracy|precision|recall|kappa|ndcg|gini|\bmap\b|\bmcc\b|\bmrr\b|f1|\br2", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class KnownInputs(Inputs):
    """Inputs whose identities are looked up once, for all trials of a search or all groups of a partitioned node.

    Attributes:
        identities_and_sizes: their identities and sizes.
    """

    identities_and_sizes: tuple[Mapping[str, Any], Mapping[str, int | None]] = ({}, {})

    def identities(self, volume: Volume) -> tuple[dict[str, Any], dict[str, int | None]]:  # noqa: ARG002  # they are known
        """Return each input's identity, and the sizes of those that the machine reads."""
        identities, sizes = self.identities_and_sizes
        return {**identities, **dict.fromkeys(self.doubts)}, dict(sizes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialOrder(TrainingOrder):
    """What a search asks of a machine.

    Attributes:
        common: the inputs of all its trials.
        size: how much each of them has to compute with.
        winner: whether it is the best one, all of whose outputs come back.
    """

    common: KnownInputs
    size: Workload | None = None
    winner: bool = False

    @classmethod
    def of(cls, order: TrainingOrder) -> TrialOrder:
        """Return the order of a trial with the fixed hyperparameters alone.

        Args:
            order: what the node asks for.

        Raises:
            SourceError: a table cannot be sent, does not exist, or cannot be reached.
        """
        fixed = dataclasses.replace(order, parameters=order.parameters.model_copy(update={"search": None}))
        inputs = fixed.inputs()
        fields = {field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)}
        # The score is in the metrics.
        outputs = order.outputs if "metrics" in order.outputs else (*order.outputs, "metrics")
        own = {field.name: getattr(fixed, field.name) for field in dataclasses.fields(TrainingOrder)}
        return cls(**{**own, "outputs": outputs}, common=KnownInputs(**fields, identities_and_sizes=inputs.identities(order.volume)))

    @property
    def trial(self) -> bool:
        """Whether its metrics alone come back."""
        return not self.winner

    def inputs(self) -> Inputs:
        """Return the inputs, with what is doubtful about this trial's hyperparameters."""
        doubt = self.doubt()
        return dataclasses.replace(self.common, doubts={} if doubt is None else {"hyperparameters": doubt})

    def workload(self, sizes: Mapping[str, int | None]) -> Workload:
        """Return how much there is to compute with, the same for all trials: they share their machine."""
        return self.size if self.size is not None else super().workload(sizes)

    def values(self, folder: JobFolder, result: JobResult, *, earlier: bool = False) -> dict[str, Any]:
        """Return the metrics; of the winner, all outputs.

        Raises:
            JobLostError: an output is missing, or is not what the result describes.
        """
        return super().values(folder, result, earlier=earlier) if self.winner else read_outputs(folder, result, ("metrics",))


class TrialWatcher:
    """Reads the rounds of a trial in their order, and ends the trial at the first after which it is to be pruned.

    It does not matter when it is looked at: rounds that were done meanwhile are not counted.

    Args:
        kept: the job, as its backend has it.
        row: the search's row in the display.
        report: reports a round, by its number, the name of what was measured and its value; returns whether the trial is to be pruned.
            None where nothing is pruned.

    Attributes:
        pruned: whether the trial is to be pruned.
    """

    def __init__(self, kept: KeptJob, row: Row, report: Callable[[int, str, float], bool] | None = None) -> None:
        self.pruned = False
        self._kept = kept
        self._report = report
        self._last = 0
        self.placed, self.busy, self.used = row.placed, row.busy, row.used

    def moved(self, job: str, state: JobState) -> None:
        """Do nothing: the row shows the search, and not each of its trials."""

    def progressed(self, job: str, progress: JobProgress) -> None:
        """Look at the rounds that are new."""
        del job, progress
        if self._report is None:
            return
        with contextlib.suppress(BackendError, SourceError):  # The next look has them, or the last.
            self._kept.refresh()
            self.look()
            if self.pruned:
                # Each time: a machine that replaces a lost one has not seen it.
                self._kept.prune()

    def look(self) -> None:
        """Report the rounds that are new, up to the first after which the trial is to be pruned."""
        if self._report is None:
            return
        for progress in self._kept.folder.new_rounds():
            measured = next(((name, value) for name, value in progress.metrics.items() if name.startswith("validation_")), None)
            if self.pruned or progress.step <= self._last or not counts(progress.step) or measured is None or measured[1] is None:
                continue
            self._last = progress.step
            self.pruned = self._report(progress.step, measured[0].removeprefix("validation_"), measured[1])


def counts(step: int) -> bool:
    """Return whether a round is reported."""
    every = 1
    while step > _EACH_UP_TO * every:
        every *= 2
    return step % every == 0


def more_is_better(name: str) -> bool:
    """Return whether more of what a library measures after each round is better: of a loss or an error, less."""
    return _MORE_IS_BETTER.search(name) is not None
