"""The machines that RunPod offers, and which of them can run a job, in which order."""

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

    Machine = TypeVar("Machine", Cpu, Gpu)

_STOCK_ORDER = {"HIGH": 0, "MEDIUM": 1, "LOW": 2, "NONE": 3}
# RunPod sells CPU pods by powers of two.
_VCPU_COUNTS = (2, 4, 8, 16, 32)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A kind of machine that can run a job.

    Attributes:
        gpu: the GPU type; None for a CPU pod.
        cpu: the CPU flavour of a CPU pod.
        count: the number of GPUs of each machine, or of vCPUs of a CPU pod.
        usd_per_hour: the price of all of them, of all machines.
        stock: NONE, LOW, MEDIUM or HIGH, as RunPod states it; it reserves nothing.
        memory_gb: the VRAM of one GPU, or the memory of a CPU pod.
        machines: the number of machines; more than one are a cluster.
    """

    gpu: str | None
    cpu: str | None
    count: int
    usd_per_hour: float
    stock: str
    memory_gb: float
    machines: int = 1

    def __str__(self) -> str:
        name = self.gpu if self.gpu is not None else f"{self.cpu} with {self.count} vCPUs"
        kind = f"{self.count} × {name}" if self.gpu is not None and self.count > 1 else str(name)
        return kind if self.machines == 1 else f"{self.machines} machines with {kind}"


@dataclasses.dataclass(frozen=True)
class Choice:
    """The candidates of a job, best first, with the reason for them and the machines that were refused."""

    candidates: tuple[Candidate, ...]
    reason: str
    refused: tuple[str, ...] = ()


class Offers(Protocol):
    """The machines that RunPod offers, with their prices and stock."""

    def gpus(self, count: int = 1, machines: int = 1) -> Sequence[Gpu]:
        """Return the GPU types for pods of `count` GPUs, or for clusters of `machines` machines."""
        ...

    def cpus(self, vcpu_count: int = 4) -> Sequence[Cpu]:
        """Return the CPU flavours for pods of `vcpu_count` vCPUs."""
        ...


class CachedOffers:
    """Offers that are remembered for a while, each number of GPUs or vCPUs by itself; thread-safe.

    Args:
        offers: the offers to ask.
        cached_s: how long an answer is remembered, in seconds. Stock moves and reserves nothing; only a create shows what is free.
    """

    def __init__(self, offers: Offers, cached_s: float = 20.0) -> None:
        self._offers = offers
        self._cached_s = cached_s
        self._lock = threading.Lock()
        self._gpus: dict[tuple[int, ...], tuple[float, Sequence[Gpu]]] = {}
        self._cpus: dict[tuple[int, ...], tuple[float, Sequence[Cpu]]] = {}

    def gpus(self, count: int = 1, machines: int = 1) -> Sequence[Gpu]:
        """Return the GPU types for pods of `count` GPUs, or for clusters of `machines` machines."""
        return self._remembered(self._gpus, (count,) if machines == 1 else (count, machines), self._offers.gpus)

    def cpus(self, vcpu_count: int = 4) -> Sequence[Cpu]:
        """Return the CPU flavours for pods of `vcpu_count` vCPUs."""
        return self._remembered(self._cpus, (vcpu_count,), self._offers.cpus)

    def _remembered(
        self, answers: dict[tuple[int, ...], tuple[float, Sequence[Machine]]], asked: tuple[int, ...], ask: Callable[..., Sequence[Machine]]
    ) -> Sequence[Machine]:
        # The lock is held while RunPod is asked: other threads wait for this answer rather than ask themselves.
        with self._lock:
            answer = answers.get(asked)
            if answer is None or time.monotonic() > answer[0]:
                machines = ask(*asked)
                answer = answers[asked] = (time.monotonic() + self._cached_s, machines)
            return answer[1]


def choose(offers: Offers, settings: NodeSettings, data_center: str | None, workload: Workload) -> Choice:
    """Choose the machines that can run a job: the user's GPUs in their order, or for `auto` all that are large enough, cheapest first.

    Raises:
        ConfigError: RunPod does not offer a GPU that the settings name.
        CapacityError: no machine is left: none is sold in the data centre, large enough and within the allowed price.
    """
    gpu_setting = settings.gpu
    # A cluster's machines have GPUs, all of them.
    if settings.machines == 1 and (gpu_setting == "none" or (gpu_setting == "auto" and not workload.is_worth_a_gpu)):
        reason = "gpu: none" if gpu_setting == "none" else f"auto: {why_no_gpu(workload)}"
        candidates, refused = _cpu_candidates(offers, settings, data_center, workload)
    else:
        gpus = offers.gpus(settings.gpu_count) if settings.machines == 1 else offers.gpus(settings.gpu_count, settings.machines)
        names = _resolve_names(gpu_setting, [gpu.id for gpu in gpus]) if isinstance(gpu_setting, tuple) else None
        candidates, refused = _gpu_candidates(gpus, names, settings, data_center, workload)
        memory = f"{workload.memory_gb:.0f} GB of GPU memory"
        reason = (
            f"auto: the cheapest with {memory}, estimated to be enough for {workload.library}" if names is None else "in the order of `gpu`"
        )
    if not candidates:
        raise CapacityError(
            f"No machine can run this job{_in(data_center)}: {'; '.join(refused) or 'RunPod offers none'}. "
            + _next_step(settings, data_center)
        )
    return Choice(tuple(candidates), reason, tuple(refused))


def no_capacity(tried: Sequence[str], settings: NodeSettings, data_center: str | None, job: str) -> CapacityError:
    """Return the error for a job for which no machine is free: what was tried, where, and what limits the choice."""
    return CapacityError(
        f"No pod could be placed for {job}. Tried{_in(data_center)}: {', '.join(tried)}. {_next_step(settings, data_center)}"
    )


def _in(data_center: str | None) -> str:
    return f" in {data_center} (where the network volume is)" if data_center else ""


def _next_step(settings: NodeSettings, data_center: str | None) -> str:
    place = "The volume's data centre limits the choice: others have other machines. " if data_center else ""
    if settings.gpu == "none" and (settings.min_ram_gb or settings.min_vcpu or "vcpu_count" in settings.model_fields_set):
        return f"{place}Raise vcpu_count, or lower min_ram_gb or min_vcpu, in cloudtrain.yml."
    more = "Add GPUs to `gpu`" if isinstance(settings.gpu, tuple) else "Name GPUs in `gpu`"
    return f"{place}{more} in cloudtrain.yml (kedro cloudtrain gpus lists them), or wait: --runner-params wait_for_capacity_s=1800"


def why_no_gpu(workload: Workload) -> str:
    """Return why a GPU is not worth its price, as a clause."""
    if workload.library == "lightgbm":
        return "LightGBM's wheel has no CUDA, and on tables it is faster on a CPU"
    if workload.device == "cpu":
        return workload.why_device
    return f"a CPU fits {workload.cells or 0:,.0f} numbers sooner than a GPU is ready"


def cheapest_cpu(offers: Offers, settings: NodeSettings, data_center: str | None, workload: Workload) -> Candidate | None:
    """Return the CPU pod that `auto` would take for a job that a GPU is not worth; None where a GPU is, or none is sold."""
    if workload.is_worth_a_gpu:
        return None
    candidates, _ = _cpu_candidates(offers, settings, data_center, workload)
    return candidates[0] if candidates else None


def _resolve_names(wanted: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return the wanted names as RunPod spells them."""
    by_lower = {name.lower(): name for name in names}
    resolved = []
    for name in wanted:
        if name.lower() not in by_lower:
            hint = did_you_mean(name, names) or f" It offers {', '.join(names)}."
            raise ConfigError(f"`gpu` names {name!r}, which RunPod does not offer.{hint} List them: kedro cloudtrain gpus")
        resolved.append(by_lower[name.lower()])
    return resolved


def _gpu_candidates(
    gpus: Iterable[Gpu], names: list[str] | None, settings: NodeSettings, data_center: str | None, workload: Workload
) -> tuple[list[Candidate], list[str]]:
    """Return the GPUs that can run a job, best first, and why the others cannot; `names` are the user's, None for `auto`."""
    candidates, refused = [], []
    for gpu in gpus:
        if names is not None and gpu.id not in names:
            continue
        price, stock = gpu.price.secure * settings.gpu_count * settings.machines, gpu.stock(data_center)
        candidate = Candidate(gpu.id, None, settings.gpu_count, price, stock or "NONE", gpu.memory, settings.machines)
        if stock is None:
            refused.append(f"{gpu.id} (not sold in {data_center}{' as a cluster' * (settings.machines > 1)})")
        elif not gpu.secure:
            refused.append(f"{gpu.id} (not sold in the secure cloud)")
        elif gpu.max_count.secure is not None and settings.gpu_count > gpu.max_count.secure:
            refused.append(f"{gpu.id} (a machine has {gpu.max_count.secure} at most, and gpu_count is {settings.gpu_count})")
        elif (refusal := _price_refusal(candidate, settings)) is not None:
            refused.append(refusal)
        elif names is None and not workload.fits(gpu.memory, settings.gpu_count):
            refused.append(f"{gpu.id} ({gpu.memory} GB, {workload.memory_gb:.0f} GB needed)")
        else:
            candidates.append(candidate)
    rank = (names or []).index if names is not None else lambda _: 0
    # A machine without stock is tried last, not skipped: the stock may be wrong, and a refused create costs nothing.
    candidates.sort(
        key=lambda candidate: (
            candidate.stock == "NONE",
            rank(str(candidate.gpu)),
            candidate.usd_per_hour,
            _STOCK_ORDER.get(candidate.stock, 3),
        )
    )
    return candidates, refused


def _cpu_candidates(
    offers: Offers, settings: NodeSettings, data_center: str | None, workload: Workload
) -> tuple[list[Candidate], list[str]]:
    """Return the CPU flavours that can run a job, cheapest first, and why the others cannot.

    Without a `vcpu_count` of the user's, they have as many vCPUs as the table's memory needs.
    """
    least_gb = settings.min_ram_gb or workload.ram_gb
    for count in _vcpu_counts(settings):
        candidates, refused, small = [], [], []
        for cpu in offers.cpus(count):
            stock = cpu.stock(data_center)
            candidate = Candidate(None, cpu.id, count, cpu.price.per_vcpu * count, stock or "NONE", cpu.ram_gb_per_vcpu * count)
            if stock is None:
                refused.append(f"{cpu.id} (not sold in {data_center})")
            elif not cpu.vcpu.min <= count <= cpu.vcpu.max:
                refused.append(f"{cpu.id} (not sold with {count} vCPUs)")
            elif (refusal := _price_refusal(candidate, settings)) is not None:
                refused.append(refusal)
            elif candidate.memory_gb < least_gb:
                small.append(f"{candidate} ({candidate.memory_gb:.0f} GB, {least_gb:.0f} GB needed)")
            else:
                candidates.append(candidate)
        if candidates or not small:
            break
    candidates.sort(key=lambda candidate: (candidate.stock == "NONE", candidate.usd_per_hour))
    return candidates, [*refused, *small]


def _vcpu_counts(settings: NodeSettings) -> Sequence[int]:
    """Return the numbers of vCPUs to try, in turn."""
    if "vcpu_count" in settings.model_fields_set:
        return (settings.vcpu_count,)
    least = max(settings.min_vcpu or 0, settings.vcpu_count)
    return [count for count in _VCPU_COUNTS if count >= least]


def _price_refusal(candidate: Candidate, settings: NodeSettings) -> str | None:
    if candidate.usd_per_hour <= 0:  # Nothing is free, and no limit holds for what has no price.
        return f"{candidate} (RunPod states no price)"
    limit = settings.max_price_per_hour_usd
    if limit is None or candidate.usd_per_hour <= limit:
        return None
    return f"{candidate} (${candidate.usd_per_hour:.2f}/h, over max_price_per_hour_usd {limit:g})"
