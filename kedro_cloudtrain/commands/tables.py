"""The tables that the commands print."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from kedro_cloudtrain.commands.run_tables import comparison_table
from kedro_cloudtrain.jobs.spec import work_of
from kedro_cloudtrain.running.display import STATE_STYLES, metric, state_word
from kedro_cloudtrain.running.fitted_table import Column, FittedTable
from kedro_cloudtrain.terminal import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kedro_cloudtrain.backends.runpod.contract import Gpu
    from kedro_cloudtrain.backends.runpod.fleet import JobPod
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.runs.comparison import Comparison


def print_table(table: FittedTable) -> None:
    """Print a table to stdout."""
    Console(soft_wrap=True).print(table)


def print_comparison(comparison: Comparison) -> None:
    """Print a comparison of runs to stdout, as wide as the console."""
    console = Console()
    console.print(comparison_table(comparison, console.width), soft_wrap=False)


def pods_table(pods: Sequence[JobPod]) -> FittedTable:
    """Return pods as a table: name, id, state, machine, what is known of their client, age, dollars an hour and so far."""
    names = [Column(name) for name in ("pod", "id", "state", "machine", "client")]
    table = FittedTable(*names, *(Column(name, right=True) for name in ("age", "$/h", "$ so far")))
    for pod in pods:
        machine = pod.pod.gpu.id if pod.pod.gpu is not None else "CPU"
        table.add_row(pod.pod.name, pod.pod.id, pod.state, machine, str(pod.client), pod.age, f"{pod.pod.cost:.2f}", f"{pod.cost_usd:.2f}")
    return table


def gpus_table(gpus: Sequence[Gpu], data_center: str | None) -> FittedTable:
    """Return RunPod's GPUs as a table: name, memory, price, stock in a data centre and elsewhere, CUDA versions."""
    table = FittedTable(
        Column("gpu"),
        Column("GB", right=True),
        Column("$/h", right=True),
        Column(f"stock in {data_center}" if data_center else "stock"),
        Column("elsewhere" if data_center else "where"),
        Column("CUDA"),
    )
    for gpu in gpus:
        stock = gpu.stock(data_center) if gpu.secure else None
        elsewhere = [f"{center.id} {center.availability.lower()}" for center in gpu.data_centers if center.id != data_center]
        table.add_row(
            gpu.id,
            str(gpu.memory),
            f"{gpu.price.secure:.2f}",
            "not offered" if stock is None else stock.lower(),
            ", ".join(elsewhere) or "–",
            ", ".join(cuda.version for cuda in gpu.cuda_versions) or "–",
            style="dim" if stock in (None, "NONE") else "",
        )
    return table


def jobs_table(folders: Iterable[JobFolder], pods: Mapping[str, str] | None = None) -> FittedTable:
    """Return jobs as a table: state, model, when each was rendered, seconds of fit, rows, last round, why it ran, its pod.

    Args:
        folders: the jobs.
        pods: by a job's name, what its pod does or has cost.
    """
    figures = [Column(name, right=True) for name in ("fit s", "rows")]
    names = ("last round", "why", "pod")
    table = FittedTable(*(Column(name) for name in ("job", "state", "model", "when")), *figures, *(Column(name) for name in names))
    for folder in folders:
        state, result, progress = folder.state(), folder.last_result(), folder.last_progress()
        spec = folder.read_json(folder.spec) or {}
        rendered_at = dt.datetime.fromtimestamp(folder.spec.stat().st_mtime, tz=dt.UTC).astimezone()
        table.add_row(
            folder.name,
            Text(state_word(state), STATE_STYLES.get(state, "")),
            work_of(spec) or f"{len(folder.jobs)} jobs",
            f"{rendered_at:%Y-%m-%d %H:%M}",
            f"{result.seconds['fit']:.1f}" if result is not None and "fit" in result.seconds else "",
            f"{result.rows['read']:,}" if result is not None and "read" in result.rows else "",
            f"{progress.step}/{progress.of} {metric(progress)}" if progress is not None and progress.in_rounds else "",
            _why(folder),
            (pods or {}).get(folder.name, ""),
        )
    return table


def _why(folder: JobFolder) -> str:
    """Return why a job ran the last time, or was reused."""
    reason = folder.read_json(folder.why) or {}
    return plain_text(f"{reason['state']}: {reason['why']}") if {"state", "why"} <= set(reason) else ""
