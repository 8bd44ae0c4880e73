"""The tables that the commands print."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kedro_cloudtrain.running.display import _STYLES, metric, state_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kedro_cloudtrain.backends.runpod.contract import Gpu
    from kedro_cloudtrain.backends.runpod.fleet import JobPod
    from kedro_cloudtrain.jobs.folder import JobFolder


def pods_table(pods: Sequence[JobPod]) -> Table:
    """Lay pods out as a table: name, id, state, age, machine, dollars an hour and so far."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("pod", no_wrap=True)
    for name in ("id", "state", "machine"):
        table.add_column(name)
    for name in ("age", "$/h", "$ so far"):
        table.add_column(name, justify="right")
    for one in pods:
        machine = one.pod.gpu.id if one.pod.gpu is not None else "CPU"
        table.add_row(Text(one.pod.name), Text(one.pod.id), one.state, Text(machine), one.age, f"{one.pod.cost:.2f}", f"{one.cost_usd:.2f}")
    return table


def print_table(table: Table) -> None:
    """Print a table, its cells unbroken."""
    Console(soft_wrap=True).print(table)


def gpus_table(found: Sequence[Gpu], place: str | None) -> Table:
    """Lay RunPod's GPUs out as a table: name, memory, price, stock in a data centre and elsewhere, CUDA versions."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("gpu", no_wrap=True)
    for name in ("GB", "$/h"):
        table.add_column(name, justify="right")
    for name in (f"stock in {place}" if place else "stock", "elsewhere" if place else "where", "CUDA"):
        table.add_column(name)
    for gpu in found:
        stock = gpu.stock(place) if gpu.secure else None
        elsewhere = ", ".join(f"{one.id} {one.availability.lower()}" for one in gpu.data_centers if one.id != place)
        cuda = ", ".join(one.version for one in gpu.cuda_versions)
        table.add_row(
            Text(gpu.id),
            str(gpu.memory),
            f"{gpu.price.secure:.2f}",
            "not offered" if stock is None else stock.lower(),
            Text(elsewhere or "–"),
            Text(cuda or "–"),
            style="dim" if stock in (None, "NONE") else "",
        )
    return table


def jobs_table(folders: Iterable[JobFolder], pods: Mapping[str, str] | None = None) -> Table:
    """Lay the jobs of a volume out as a table: state, age, seconds, rows, the metrics of the validation rows.

    Args:
        folders: the jobs.
        pods: what the pods that work on some of them are about, by the job's name.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("job", no_wrap=True)
    for name in ("state", "model", "when"):
        table.add_column(name)
    for name in ("fit s", "rows"):
        table.add_column(name, justify="right")
    table.add_column("last round")
    table.add_column("why")
    if pods:
        table.add_column("pod")
    for folder in folders:
        state, result, progress = folder.state(), folder.read_result(), folder.last_progress()
        spec = folder.read_json(folder.spec)
        when = dt.datetime.fromtimestamp(folder.spec.stat().st_mtime, tz=dt.UTC).astimezone()
        table.add_row(
            Text(folder.name),
            Text(state_word(state), _STYLES.get(state, "")),
            Text(str(spec.get("model_type") or spec.get("function") or f"{len(spec.get('jobs', ()))} jobs")),
            f"{when:%Y-%m-%d %H:%M}",
            f"{result.seconds['fit']:.1f}" if result is not None and "fit" in result.seconds else "",
            f"{result.rows['read']:,}" if result is not None and "read" in result.rows else "",
            Text(f"{progress.step}/{progress.of} {metric(progress)}" if progress is not None and progress.in_rounds else ""),
            Text(_why(folder)),
            *((Text(pods.get(folder.name, "")),) if pods else ()),
        )
    return table


def _why(folder: JobFolder) -> str:
    """Say why a job ran the last time, or was reused."""
    said = folder.read_json(folder.why) or {}
    return f"{said['state']}: {said['why']}" if {"state", "why"} <= set(said) else ""
