"""Quote a node's pod from RunPod's live offers before a cent is spent: which machine it would be, and what it may cost."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING

from kedro_cloudtrain import wording
from kedro_cloudtrain.backends.runpod.budget import lifetime_s, pod_time_s, worst_usd
from kedro_cloudtrain.backends.runpod.offers import Candidate, cheapest_cpu, choose, why_no_gpu
from kedro_cloudtrain.errors import BudgetExceededError, CapacityError, ConfigError
from kedro_cloudtrain.jobs.pieces_checks import PIECE_LIBRARIES
from kedro_cloudtrain.jobs.sharing import SHARED_BY_PROCESSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kedro_cloudtrain.backends.runpod.contract import AccountLimits
    from kedro_cloudtrain.backends.runpod.offers import Choice, Offers
    from kedro_cloudtrain.config import NodeSettings, RunSettings
    from kedro_cloudtrain.jobs.search_space import Search
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.planning.plan import MachinePlan

# From the create call to the first round. The low bound: the host has the image, and the volume the environment; the high one: neither has.
_BEFORE_FIT_S = (120.0, 360.0)
# Seconds of fit for a million numbers: XGBoost's 6 s for 10 million rows of 28 columns on an L4, and a hundred times that.
_FIT_S_A_MILLION_CELLS = (0.02, 2.0)
# A float32 for the processes that share a fit to map; and a GPU library with its environment.
_DISK_BYTES_A_CELL = 4
_PACKAGES_GB = 8


@dataclasses.dataclass(frozen=True)
class Quote:
    """The machine that a node's pod would be, and what it may cost.

    Attributes:
        candidate: the machine that is tried first; None if no machine may take the job.
        reason: why this machine.
        estimate_usd: the lowest and the highest probable cost in dollars; None without a machine.
        worst_usd: the most that one pod of it can cost, in dollars.
        notes: what is worth knowing but is not a problem.
        problems: why the node would not run.
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
        machine = self.candidate
        return "" if machine is None else f"{machine} (${machine.usd_per_hour:.2f}/h, stock {machine.stock.lower()})"


def workload_of(plan: MachinePlan, sizes: Mapping[str, int | None], shapes: Mapping[str, tuple[int, int]]) -> Workload:
    """Return how much a planned node has to compute with, judged by the size of its tables.

    Args:
        plan: the node.
        sizes: each table's size in bytes, None where it is not known.
        shapes: the rows and columns of those tables whose format tells them.
    """
    shape = shapes.get(plan.sized_tables[0]) if len(plan.sized_tables) == 1 else None
    return plan.workload(total_size({name: sizes.get(name) for name in plan.sized_tables}), shape)


def total_size(sizes: Mapping[str, int | None]) -> int | None:
    """Add up the sizes in bytes that are known; None if none is."""
    byte_counts = [size for size in sizes.values() if size is not None]
    return sum(byte_counts) if byte_counts else None


def quote(offers: Offers, node: str, settings: NodeSettings, data_center: str | None, workload: Workload) -> Quote:
    """Quote a node's pod.

    Raises:
        BackendError: RunPod does not answer, or refuses.
    """
    try:
        choice = choose(offers, settings, data_center, workload)
    except (CapacityError, ConfigError) as error:
        return Quote(problems=(error.message,))
    first = choice.candidates[0]
    startup_s = settings.startup_timeout_s
    problems = (*_memory_problems(choice, workload), *disk_problems(settings, workload), *_disk_problems(choice, workload, settings))
    cpu = cheapest_cpu(offers, settings, data_center, workload) if first.gpu is not None and first.machines == 1 else None
    try:
        lives_s = lifetime_s(node, first.usd_per_hour, pod_time_s(settings), startup_s, settings.max_cost_usd)
    except BudgetExceededError as error:
        return Quote(first, choice.reason, problems=(*problems, error.message))
    worst = worst_usd(first.usd_per_hour, startup_s, lives_s)
    return Quote(
        first,
        choice.reason,
        _estimate_usd(first.usd_per_hour, workload, worst),
        worst,
        tuple(_notes(choice, settings, workload, lives_s, cpu)),
        problems,
    )


def of_search(price: Quote, search: Search, at_once: int) -> Quote:
    """Return what the trials of a search may cost together, of what one of them may cost.

    Args:
        price: that of one trial.
        search: the search.
        at_once: how many trials run at once.
    """
    if price.worst_usd is None:
        return price
    most, bound = price.worst_usd * search.most_trials, "its trials"
    if search.max_cost_usd is not None and search.max_cost_usd + price.worst_usd * at_once < most:
        most, bound = search.max_cost_usd + price.worst_usd * at_once, "search.max_cost_usd and what is under way then"
    return _of_jobs(price, search.most_trials, at_once, most, f"the search costs at most ${most:.2f} in the worst case: {bound}")


def of_partitions(price: Quote, jobs: int | None, max_pods: int) -> Quote:
    """Return what the trainings of a partitioned node may cost together, of what one of them may cost.

    Args:
        price: that of one training.
        jobs: how many there are; None where another node of the run makes their data.
        max_pods: how many run at once.
    """
    if price.worst_usd is None:
        return price
    if jobs is None:
        note = f"the number of its groups is not known yet: the estimate is for one, at most ${price.worst_usd:.2f} in the worst case"
        return dataclasses.replace(price, notes=(*price.notes, note))
    most = price.worst_usd * jobs
    note = f"its {wording.counted(jobs, 'training')} cost{'s' * (jobs == 1)} at most ${most:.2f} in the worst case"
    return _of_jobs(price, jobs, min(jobs, max_pods), most, note)


def _of_jobs(price: Quote, jobs: int, machines: int, most_usd: float, note: str) -> Quote:
    """Return what many jobs of one node may cost together.

    A machine is kept from one job to the next, so its start is paid for once; `worst_usd` stays that of one pod.
    """
    if price.candidate is None or price.estimate_usd is None:
        return price
    usd_per_s = price.candidate.usd_per_hour / 3600
    low, high = (
        min(most_usd, (start_s * machines * usd_per_s) + max(0.0, usd - start_s * usd_per_s) * jobs)
        for start_s, usd in zip(_BEFORE_FIT_S, price.estimate_usd, strict=True)
    )
    return dataclasses.replace(price, estimate_usd=(low, high), notes=(*price.notes, note))


def run_problems(quotes: Iterable[Quote], run: RunSettings, shared_taken_usd: float | None = None) -> Iterator[str]:
    """Yield a problem if a pod can never be started within the run's dollars, or within what is left of the shared budget.

    Args:
        quotes: of the nodes.
        run: the run's settings.
        shared_taken_usd: what all clients have spent or reserved of the shared budget; None if there is none, or it is not known.
    """
    limit, budget = run.max_cost_usd, run.budget
    worst = max((quoted.worst_usd for quoted in quotes if quoted.worst_usd is not None), default=0.0)
    if limit is not None and worst > limit:
        yield (
            f"run.max_cost_usd is ${limit:.2f}, but the worst case of one pod is ${worst:.2f}: it would not be started. "
            "Raise run.max_cost_usd, or lower the node's timeout_s or max_cost_usd."
        )
    if budget is None or shared_taken_usd is None:
        return
    left = budget.max_cost_usd - shared_taken_usd
    if worst > left > 0:  # With nothing left, that is a problem of its own.
        yield (
            f"Of the shared budget {budget.name!r}, ${left:.2f} of ${budget.max_cost_usd:.2f} a {budget.per} is left, but the worst case "
            f"of one pod is ${worst:.2f}: it would not be started. Raise run.budget.max_cost_usd, lower the node's timeout_s or "
            f"max_cost_usd, or wait for the next {budget.per}."
        )


def run_notes(quotes: Iterable[Quote], run: RunSettings, max_pods: int) -> Iterator[str]:
    """Yield a note if the pods that run at once may together exceed the run's dollars."""
    limit = run.max_cost_usd
    worst = sorted((quoted.worst_usd for quoted in quotes if quoted.worst_usd is not None), reverse=True)[:max_pods]
    if limit is not None and sum(worst) > limit:
        yield (
            f"{len(worst)} pods at once may cost ${sum(worst):.2f} in the worst case, more than run.max_cost_usd (${limit:.2f}): "
            "a pod for which the money may not last is not started. Lower the nodes' timeout_s or max_cost_usd, or max_pods."
        )


def most_usd_per_hour(quotes: Iterable[Quote], max_pods: int) -> list[float]:
    """Return the prices an hour, in dollars, of the dearest pods that may run at once, dearest first."""
    prices = (quoted.candidate.usd_per_hour for quoted in quotes if quoted.worst_usd is not None and quoted.candidate is not None)
    return sorted(prices, reverse=True)[:max_pods]


def spend_rate_notes(quotes: Iterable[Quote], limits: AccountLimits | None, max_pods: int) -> Iterator[str]:
    """Yield a note if the pods that run at once would pass the account's own limit: RunPod refuses the pod that would."""
    cap = None if limits is None else limits.cap_usd_per_hour
    if limits is None or cap is None:
        return
    prices = most_usd_per_hour(quotes, max_pods)
    left = max(0.0, cap - limits.running_usd_per_hour)
    if sum(prices) <= left:
        return
    fitting = sum(together <= left for together in itertools.accumulate(prices))
    running = f", of which ${limits.running_usd_per_hour:.2f} are in use" if limits.running_usd_per_hour else ""
    step = f"Lower max_pods to {fitting}, or have" if fitting else "Have"
    yield (
        f"{wording.counted(len(prices), 'pod')} at once may cost ${sum(prices):.2f} an hour, and the RunPod account may spend "
        f"${cap:.2f} an hour{running}: RunPod refuses the pod that would pass it. {step} RunPod raise the limit."
    )


def _estimate_usd(usd_per_hour: float, workload: Workload, most_usd: float) -> tuple[float, float]:
    """Estimate the dollars for one pod, as a rough range.

    Before the fit, two to six minutes, depending on whether image and environment are in place. For the fit, 0.02 to 2 s for a million
    numbers: the lower bound is what XGBoost was reported to take for 10 million rows on an L4, the upper one leaves room for a CPU, for
    more rounds and deeper trees. It is a guess of the order of magnitude: nobody has timed this job. If the table's size is not known,
    the upper bound is the worst case.
    """
    low_s, high_s = _BEFORE_FIT_S
    millions = (workload.cells or 0.0) / 1e6
    low_usd = usd_per_hour * (low_s + millions * _FIT_S_A_MILLION_CELLS[0]) / 3600
    high_usd = usd_per_hour * (high_s + millions * _FIT_S_A_MILLION_CELLS[1]) / 3600 if workload.cells is not None else most_usd
    return min(low_usd, most_usd), min(high_usd, most_usd)


def _memory_problems(choice: Choice, workload: Workload) -> Iterator[str]:
    """Yield a problem if the table does not fit into the memory of the largest GPU."""
    gpus = [candidate for candidate in choice.candidates if candidate.gpu is not None]
    if not gpus or not workload.uses_gpu or workload.cells is None:
        return  # It fits in the memory of the host.
    largest = max(gpus, key=lambda candidate: candidate.memory_gb)
    if not workload.fits(largest.memory_gb, largest.count):
        more = ", raise gpu_count" if workload.shares_gpus else ""
        pieces = ", or in_pieces: true in its parameters, which fits it in pieces on a CPU" if workload.library in PIECE_LIBRARIES else ""
        each = " each" if largest.count > 1 else ""
        yield (
            f"The table's {workload.cells / 1e6:,.0f} million numbers will take about {workload.memory_gb:.0f} GB of GPU memory, and the "
            f"largest of `gpu` has {largest.memory_gb:.0f} GB{each} ({largest}). Name a larger GPU (kedro cloudtrain gpus){more}, or write "
            f"gpu: auto{pieces}."
        )


def disk_problems(settings: NodeSettings, workload: Workload) -> Iterator[str]:
    """Yield a problem if the encoded rows of a table in pieces do not fit on the pod's own disk, half of which its packages may take."""
    needed_gb = workload.disk_gb
    if needed_gb > settings.disk_gb / 2:
        yield (
            f"disk_gb is {settings.disk_gb}, and the encoded rows of a table in pieces take about {needed_gb:.0f} GB of the pod's disk: "
            f"set disk_gb: {math.ceil(needed_gb * 2)} for the node."
        )


def _disk_problems(choice: Choice, workload: Workload, settings: NodeSettings) -> Iterator[str]:
    """Yield a problem if the processes that share a fit cannot map its numbers from the pod's own disk, beside the packages."""
    shared = settings.gpu_count > 1 and workload.library in SHARED_BY_PROCESSES and choice.candidates[0].gpu is not None
    shared = shared and not workload.in_pieces  # those are fitted in one process
    needed_gb = math.ceil((workload.cells or 0.0) * _DISK_BYTES_A_CELL / 1e9 + _PACKAGES_GB)
    if shared and needed_gb > settings.disk_gb:
        yield (
            f"The processes that share the fit map its {(workload.cells or 0.0) / 1e6:,.0f} million numbers from the pod's own disk, and "
            f"`disk_gb` is {settings.disk_gb}: set disk_gb: {needed_gb} for the node in cloudtrain.yml."
        )


def _notes(choice: Choice, settings: NodeSettings, workload: Workload, lives_s: float, cpu: Candidate | None) -> Iterator[str]:
    """Yield what is worth knowing; `cpu` is the CPU pod that would do as well as the GPU that was asked for."""
    first, *others = choice.candidates
    if cpu is not None and cpu.usd_per_hour < first.usd_per_hour:
        verdict = "does not use its GPU" if not workload.uses_gpu else "is not worth a GPU"
        yield (
            f"{workload.library} {verdict}: {why_no_gpu(workload)}. A CPU pod ({cpu}) costs ${cpu.usd_per_hour:.2f}/h instead of "
            f"${first.usd_per_hour:.2f}/h: gpu: auto or gpu: none takes it."
        )
    if not isinstance(settings.gpu, tuple):
        yield choice.reason
    if first.stock == "NONE":
        yield f"{first} is sold out according to RunPod; it is tried all the same, for as long as wait_for_capacity_s allows."
    elif others:
        shown = ", ".join(f"{other} ${other.usd_per_hour:.2f}/h" for other in others[:3])
        yield f"if it is taken: {shown}" + (", …" if len(others) > 3 else "")  # noqa: PLR2004  # a line's worth
    if lives_s < settings.timeout_s and settings.max_cost_usd is not None:
        yield (
            f"max_cost_usd ${settings.max_cost_usd:g} ends it after {lives_s / 3600:.2g} h, before its timeout_s "
            f"({settings.timeout_s / 3600:.3g} h)"
        )
    if first.machines > 1:
        yield (
            f"its {first.machines} machines are one cluster, whose members RunPod ends together and not by their own key: what ends it is "
            "this client, or kedro cloudtrain reap. The network between them is charged as well"
        )
    if settings.prepare and first.gpu is not None:
        yield "if the volume does not have its environment, a CPU pod makes it first, within the node's limits"
    if settings.keep_s:
        idle_s = min(settings.keep_s, lives_s)
        yield (
            f"its pod is kept {settings.keep_s:g} s for the run's next job: ${first.usd_per_hour * idle_s / 3600:.4f} at most each time, "
            f"within the pod's worst case (${worst_usd(first.usd_per_hour, settings.startup_timeout_s, lives_s):.2f})"
        )
    if workload.cells is None:
        yield "the size of its table is not known: the upper estimate is its worst case"
