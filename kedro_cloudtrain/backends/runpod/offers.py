"""What RunPod sells, and which of its machines may take a job, in which order."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from kedro_cloudtrain.errors import CapacityError, ConfigError
from kedro_cloudtrain.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kedro_cloudtrain.backends.runpod.contract import Cpu, Gpu
    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.workload import Workload


_STOCK = {"HIGH": 0, "MEDIUM": 1, "LOW": 2, "NONE": 3}
# The least that a table of this many cells is worth a GPU for; below, its start costs more than its fit.
_GPU_CELLS = 20_000_000


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A kind of machine that may take a job.

    Attributes:
        gpu: the GPU type; None for a CPU pod.
        cpu: the CPU flavour of a CPU pod.
        count: GPUs, or vCPUs of a CPU pod.
        usd_per_hour: what all of it costs an hour.
        stock: NONE, LOW, MEDIUM or HIGH, as the catalogue says; it reserves nothing.
        memory_gb: the VRAM of one GPU, or the memory of a CPU pod.
    """

    gpu: str | None
    cpu: str | None
    count: int
    usd_per_hour: float
    stock: str
    memory_gb: float

    def __str__(self) -> str:
        name = self.gpu if self.gpu is not None else f"{self.cpu} with {self.count} vCPUs"
        return f"{self.count} × {name}" if self.gpu is not None and self.count > 1 else str(name)


@dataclasses.dataclass(frozen=True)
class Choice:
    """The candidates of a job, the first one first; why these, and why not others."""

    candidates: tuple[Candidate, ...]
    reason: str
    refused: tuple[str, ...] = ()


class Offers(Protocol):
    """What RunPod sells, and how much of it is free."""

    def gpus(self, count: int = 1) -> Sequence[Gpu]:
        """Give the GPU types, for pods of so many."""
        ...

    def cpus(self, vcpu_count: int = 4) -> Sequence[Cpu]:
        """Give the CPU flavours, for pods of so many vCPUs."""
        ...


def choose(api: Offers, settings: NodeSettings, data_center: str | None, work: Workload) -> Choice:
    """Give the machines that may take a job: the user's GPUs in their order, or for `auto` the cheapest that does.

    Raises:
        ConfigError: a GPU is not in the catalogue.
        CapacityError: no kind of machine is left: not sold in the data centre, or dearer than allowed.
    """
    wanted = settings.gpu
    if wanted == "none" or (wanted == "auto" and not _worth_a_gpu(work)):
        reason = "gpu: none" if wanted == "none" else _why_no_gpu(work)
        found, refused = _cpus(api.cpus(settings.vcpu_count), settings, data_center, work)
    else:
        catalogue = api.gpus(settings.gpu_count)
        names = _known([gpu.id for gpu in catalogue], wanted) if isinstance(wanted, tuple) else None
        found, refused = _gpus(catalogue, names, settings, data_center, work)
        needs = f"{work.memory_gb:.0f} GB of GPU memory"
        reason = (
            "in the order of `gpu`" if names is not None else f"auto: the cheapest with {needs}, thought to be enough for {work.library}"
        )
    if not found:
        raise CapacityError(
            f"No machine may take this job{_in(data_center)}: {'; '.join(refused) or 'the catalogue has none'}. "
            + _next_step(settings, data_center)
        )
    return Choice(tuple(found), reason, tuple(refused))


def no_capacity(tried: Sequence[str], settings: NodeSettings, data_center: str | None, what: str) -> CapacityError:
    """Say that nothing is free: what was tried, where, and what narrows it."""
    return CapacityError(
        f"No pod could be placed for {what}. Tried{_in(data_center)}: {', '.join(tried)}. {_next_step(settings, data_center)}"
    )


def _in(data_center: str | None) -> str:
    return f" in {data_center} (where the network volume is)" if data_center else ""


def _next_step(settings: NodeSettings, data_center: str | None) -> str:
    narrow = "The volume's data centre narrows it: a volume elsewhere has other machines. " if data_center else ""
    more = "Add GPUs to `gpu`" if isinstance(settings.gpu, tuple) else "Name GPUs in `gpu`"
    return f"{narrow}{more} in cloudtrain.yml (kedro cloudtrain gpus shows them), or wait: --runner-params wait_for_capacity_s=1800"


def _worth_a_gpu(work: Workload) -> bool:
    # LightGBM's wheel has no CUDA, and on 10 million rows its CPU beats its GPU anyway.
    return work.library != "lightgbm" and (work.library == "keras" or work.cells is None or work.cells >= _GPU_CELLS)


def _why_no_gpu(work: Workload) -> str:
    if work.library == "lightgbm":
        return "auto: LightGBM's wheel has no CUDA, and its CPU is the quicker one on tables"
    return f"auto: {work.cells or 0:,.0f} numbers are fitted sooner than a GPU is ready"


def _known(names: Sequence[str], wanted: Iterable[str]) -> list[str]:
    by_lower = {name.lower(): name for name in names}
    found = []
    for name in wanted:
        if name.lower() not in by_lower:
            hint = did_you_mean(name, names) or f" Known: {', '.join(names)}."
            raise ConfigError(f"`gpu` names {name!r}, which RunPod's catalogue does not have.{hint} All: kedro cloudtrain gpus")
        found.append(by_lower[name.lower()])
    return found


def _gpus(
    catalogue: Iterable[Gpu], names: list[str] | None, settings: NodeSettings, data_center: str | None, work: Workload
) -> tuple[list[Candidate], list[str]]:
    found, refused = [], []
    for gpu in catalogue:
        if names is not None and gpu.id not in names:
            continue
        price, stock = gpu.price.secure * settings.gpu_count, gpu.stock(data_center)
        candidate = Candidate(gpu.id, None, settings.gpu_count, price, stock or "NONE", gpu.memory)
        if stock is None or not gpu.secure:
            refused.append(f"{gpu.id} (not sold there)")
        elif (too_dear := _too_dear(candidate, settings)) is not None:
            refused.append(too_dear)
        elif names is None and gpu.memory * settings.gpu_count < work.memory_gb:
            refused.append(f"{gpu.id} ({gpu.memory} GB, {work.memory_gb:.0f} GB needed)")
        else:
            found.append(candidate)
    order = (names or []).index if names is not None else lambda _: 0
    # What the catalogue says is sold out is tried last: it may be wrong, and a refused create costs nothing.
    found.sort(key=lambda one: (one.stock == "NONE", order(str(one.gpu)), one.usd_per_hour, _STOCK.get(one.stock, 3)))
    return found, refused


def _cpus(catalogue: Iterable[Cpu], settings: NodeSettings, data_center: str | None, work: Workload) -> tuple[list[Candidate], list[str]]:
    found, refused = [], []
    for cpu in catalogue:
        count, stock = settings.vcpu_count, cpu.stock(data_center)
        candidate = Candidate(None, cpu.id, count, cpu.price.per_vcpu * count, stock or "NONE", cpu.ram_gb_per_vcpu * count)
        if stock is None or not cpu.vcpu.min <= count <= cpu.vcpu.max:
            refused.append(f"{cpu.id} (not sold there with {count} vCPUs)")
        elif (too_dear := _too_dear(candidate, settings)) is not None:
            refused.append(too_dear)
        elif candidate.memory_gb < work.memory_gb:
            refused.append(f"{cpu.id} ({candidate.memory_gb:.0f} GB, {work.memory_gb:.0f} GB needed)")
        else:
            found.append(candidate)
    found.sort(key=lambda one: (one.stock == "NONE", one.usd_per_hour))
    return found, refused


def _too_dear(candidate: Candidate, settings: NodeSettings) -> str | None:
    limit = settings.max_price_per_hour_usd
    if limit is None or candidate.usd_per_hour <= limit:
        return None
    return f"{candidate} (${candidate.usd_per_hour:.2f}/h, over max_price_per_hour_usd {limit:g})"


Kind = TypeVar("Kind")


class KnownOffers:
    """A catalogue that is asked for each kind of pod once in a while; safe to be used from many threads.

    Args:
        catalogue: whom it asks.
        known_s: for how long an answer holds, in seconds. Stock moves, and reserves nothing anyway: a create finds out.
    """

    def __init__(self, catalogue: Offers, known_s: float = 20.0) -> None:
        self._catalogue = catalogue
        self._known_s = known_s
        self._lock = threading.Lock()
        self._gpus: dict[int, tuple[float, Sequence[Gpu]]] = {}
        self._cpus: dict[int, tuple[float, Sequence[Cpu]]] = {}

    def gpus(self, count: int = 1) -> Sequence[Gpu]:
        """Give the GPU types, for pods of so many."""
        return self._known(self._gpus, count, self._catalogue.gpus)

    def cpus(self, vcpu_count: int = 4) -> Sequence[Cpu]:
        """Give the CPU flavours, for pods of so many vCPUs."""
        return self._known(self._cpus, vcpu_count, self._catalogue.cpus)

    def _known(self, answers: dict[int, tuple[float, Sequence[Kind]]], count: int, ask: Callable[[int], Sequence[Kind]]) -> Sequence[Kind]:
        # Whoever comes meanwhile waits for the one answer.
        with self._lock:
            known = answers.get(count)
            if known is None or time.monotonic() > known[0]:
                found = ask(count)
                known = answers[count] = (time.monotonic() + self._known_s, found)
            return known[1]
