"""What a node's pod would be and cost, asked of the live catalogue before a cent is spent."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.budget import lifetime_s, pod_time_s, worst_usd
from kedro_cloudtrain.backends.runpod.offers import Candidate, choose
from kedro_cloudtrain.errors import BudgetExceededError, CapacityError, ConfigError
from kedro_cloudtrain.jobs.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kedro_cloudtrain.backends.runpod.offers import Choice, Offers
    from kedro_cloudtrain.config import NodeSettings, RunSettings
    from kedro_cloudtrain.planning.planner import NodePlan

# From the create call to the first round: an image that the host has and an environment that the volume has, or neither of them.
_BEFORE_FIT_S = (120.0, 360.0)
# Seconds of fit for a million numbers: XGBoost's 6 s for 10 million rows of 28 columns on an L4, and a hundred times that.
_FIT_S_A_MILLION_CELLS = (0.02, 2.0)


@dataclasses.dataclass(frozen=True)
class Quote:
    """What a node's pod would be, and what it may cost.

    Attributes:
        candidate: the machine that is tried first; None where there is none.
        reason: why this one.
        estimate_usd: between which dollars it will probably cost; None where there is no machine.
        worst_usd: what it can cost at the most, one pod of it.
        notes: what is worth knowing and no problem.
        problems: why it would not run.
    """

    candidate: Candidate | None = None
    reason: str = ""
    estimate_usd: tuple[float, float] | None = None
    worst_usd: float | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def machine(self) -> str:
        """The machine, its price and its stock: `NVIDIA L4 ($0.43/h, stock high)`."""
        one = self.candidate
        return "" if one is None else f"{one} (${one.usd_per_hour:.2f}/h, stock {one.stock.lower()})"


def work_of(plan: NodePlan, sizes: Mapping[str, int | None]) -> Workload:
    """Say how much a planned node has to compute with, by the size of its table.

    Args:
        plan: the node.
        sizes: each table's size in bytes, None where it is not known.
    """
    columns = plan.parameters.feature_columns if plan.parameters is not None else None
    tables = [plan.inputs.data] if plan.inputs is not None else list(plan.sources)
    known = [size for name in tables if (size := sizes.get(name)) is not None]
    size = sum(known) if known else None
    return Workload(plan.kind, columns=None if columns is None else len(columns) + 1, size_bytes=size)


def quote(catalogue: Offers, node: str, settings: NodeSettings, data_center: str | None, work: Workload) -> Quote:
    """Say what a node's pod would be and cost.

    Raises:
        BackendError: RunPod does not answer, or refuses.
    """
    try:
        choice = choose(catalogue, settings, data_center, work)
    except (CapacityError, ConfigError) as error:
        return Quote(problems=(error.message,))
    first = choice.candidates[0]
    startup_s = settings.startup_timeout_s
    problems = [*_too_small(choice, work)]
    try:
        lives_s = lifetime_s(node, first.usd_per_hour, pod_time_s(settings), startup_s, settings.max_cost_usd)
    except BudgetExceededError as error:
        return Quote(first, choice.reason, problems=(*problems, error.message))
    worst = worst_usd(first.usd_per_hour, startup_s, lives_s)
    return Quote(
        first,
        choice.reason,
        _estimate_usd(first.usd_per_hour, work, worst),
        worst,
        tuple(_notes(choice, settings, work, lives_s)),
        tuple(problems),
    )


def run_problems(quotes: Sequence[Quote], run: RunSettings) -> list[str]:
    """Say which pods can never be started within the run's dollars."""
    limit = run.max_cost_usd
    worst = [one.worst_usd for one in quotes if one.worst_usd is not None]
    if limit is None or not worst or max(worst) <= limit:
        return []
    said = f"run.max_cost_usd is ${limit:.2f}, and the worst case of one pod is ${max(worst):.2f}: it would not be started."
    return [f"{said} Raise run.max_cost_usd, or lower the node's timeout_s or max_cost_usd."]


def run_notes(quotes: Iterable[Quote], run: RunSettings, max_pods: int) -> list[str]:
    """Say what the run's dollars mean for pods that run at once."""
    worst = sorted((one.worst_usd for one in quotes if one.worst_usd is not None), reverse=True)[:max_pods]
    if run.max_cost_usd is None or sum(worst) <= run.max_cost_usd:
        return []
    said = f"{len(worst)} pods at once may come to ${sum(worst):.2f} in the worst case, beyond run.max_cost_usd (${run.max_cost_usd:.2f}):"
    return [f"{said} one for which the money may not last is not started. Lower timeout_s, max_cost_usd of the nodes or max_pods."]


def _estimate_usd(usd_per_hour: float, work: Workload, most_usd: float) -> tuple[float, float]:
    """Give a rough range of dollars for one pod.

    Before the fit, two to six minutes, as the image and the environment are there already or not. For the fit, 0.02 to 2 s for a million
    numbers: the lower one is what XGBoost was reported to take for 10 million rows on an L4, the upper one leaves room for a CPU, for
    more rounds and deeper trees. It is a guess of the order: nobody has timed this job. Where the table's size is not known, the upper
    bound is the worst case.
    """
    low_s, high_s = _BEFORE_FIT_S
    millions = (work.cells or 0.0) / 1e6
    low_usd = usd_per_hour * (low_s + millions * _FIT_S_A_MILLION_CELLS[0]) / 3600
    high_usd = usd_per_hour * (high_s + millions * _FIT_S_A_MILLION_CELLS[1]) / 3600 if work.cells is not None else most_usd
    return min(low_usd, most_usd), min(high_usd, most_usd)


def _too_small(choice: Choice, work: Workload) -> list[str]:
    # LightGBM's wheel has no CUDA: it fits in the memory of the host.
    gpus = [one for one in choice.candidates if one.gpu is not None]
    if not gpus or work.library == "lightgbm" or work.cells is None:
        return []
    largest = max(gpus, key=_memory_gb)
    if _memory_gb(largest) >= work.memory_gb:
        return []
    said = f"The table's {work.cells / 1e6:,.0f} million numbers are thought to take {work.memory_gb:.0f} GB of GPU memory, and the largest"
    has = f"of `gpu` has {_memory_gb(largest):.0f} GB ({largest})."
    return [f"{said} {has} Name a larger one (kedro cloudtrain gpus), raise gpu_count, or write gpu: auto."]


def _memory_gb(candidate: Candidate) -> float:
    return candidate.memory_gb * (candidate.count if candidate.gpu is not None else 1)


def _notes(choice: Choice, settings: NodeSettings, work: Workload, lives_s: float) -> list[str]:
    first = choice.candidates[0]
    notes = []
    if not isinstance(settings.gpu, tuple):
        notes.append(choice.reason)
    if first.stock == "NONE":
        notes.append(f"{first} is sold out by the catalogue; it is tried all the same, and wait_for_capacity_s says for how long.")
    elif len(choice.candidates) > 1:
        others = ", ".join(f"{one} ${one.usd_per_hour:.2f}/h" for one in choice.candidates[1:4])
        notes.append(f"if it is taken: {others}" + (", …" if len(choice.candidates) > 4 else ""))  # noqa: PLR2004  # a line's worth
    if lives_s < settings.timeout_s and settings.max_cost_usd is not None:
        notes.append(
            f"max_cost_usd ${settings.max_cost_usd:g} ends it after {lives_s / 3600:.2g} h, before its timeout_s "
            f"({settings.timeout_s / 3600:.3g} h)"
        )
    if work.cells is None:
        notes.append("the size of its table is not known: the upper estimate is its worst case")
    return notes
