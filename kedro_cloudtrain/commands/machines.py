"""`kedro cloudtrain gpus` and `doctor`: what can be rented, and whether all is well."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from kedro_cloudtrain.commands.project import env_option, logs_to_stderr, open_planner, read_settings

if TYPE_CHECKING:
    from kedro.framework.startup import ProjectMetadata

    from kedro_cloudtrain.backends.runpod.contract import Gpu
    from kedro_cloudtrain.planning.doctor import Examination


@click.command()
@click.option("--data-center", default=None, help="Show the stock there, EU-RO-1 say; left out, where the network volume is.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table; logs go to stderr.")
@env_option
@click.pass_obj
def gpus(metadata: ProjectMetadata, data_center: str | None, as_json: bool, env: str | None) -> None:
    """Show RunPod's GPUs, the cheapest first: the name to write in `gpu`, memory, price, stock, CUDA versions.

    What is not offered where the volume is stands there dimmed.
    """
    from kedro_cloudtrain.backends.runpod.account import connect  # each command imports what it needs
    from kedro_cloudtrain.commands import tables

    if as_json:
        logs_to_stderr()
    place = data_center or read_settings(metadata, env).volume.data_center
    found = sorted(connect().gpus(), key=lambda gpu: (gpu.price.secure, gpu.id))
    if as_json:
        click.echo(json.dumps([_gpu_json(gpu, place) for gpu in found], indent=2))
        return
    tables.print_table(tables.gpus_table(found, place))


@click.command()
@env_option
@click.pass_obj
def doctor(metadata: ProjectMetadata, env: str | None) -> None:
    """Look at account, keys, volume, clock and packages, and say how to mend what is wrong; nothing is created.

    Exits with 1 when something is wrong.
    """
    from kedro_cloudtrain.planning.doctor import examine_runpod

    settings = read_settings(metadata, env)
    runpod = settings.backend == "runpod"
    seen = examine_runpod(settings, metadata.project_path) if runpod else _examine_local(metadata, env)
    width = max(len(finding.what) for finding in seen.findings)
    for finding in seen.findings:
        mark = click.style("ok     ", fg="green") if finding.ok else click.style("problem", fg="red", bold=True)
        click.echo(f"{mark}  {finding.what.ljust(width)}  {finding.seen}")
        if finding.fix:
            click.echo(f"{' ' * (width + 11)}{finding.fix}")
    if seen.problems:
        raise click.exceptions.Exit(1)


def _examine_local(metadata: ProjectMetadata, env: str | None) -> Examination:
    from kedro_cloudtrain.planning.doctor import Finding, examine_local

    needed: set[str] = set()
    try:
        with open_planner(metadata, env) as (planner, pipelines):
            for pipeline in pipelines.values():
                needed |= {plan.kind for plan in planner.plan(pipeline.nodes) if plan.inputs is not None}
        catalog = Finding("project", ok=True, seen=f"{', '.join(sorted(needed - {''})) or 'nothing'} to train")
    except Exception as error:  # noqa: BLE001  # whatever is wrong with a project's own code is a finding, and the rest is looked at
        catalog = Finding("project", ok=False, seen=f"it cannot be opened: {type(error).__name__}: {error}")
    seen = examine_local(read_settings(metadata, env), metadata.project_path, needed)
    seen.findings.append(catalog)
    return seen


def _gpu_json(gpu: Gpu, place: str | None) -> dict[str, Any]:
    return {
        "id": gpu.id,
        "memory_gb": gpu.memory,
        "usd_per_hour": gpu.price.secure,
        "stock": gpu.stock(place) if gpu.secure else None,
        "data_center": place,
        "data_centers": {one.id: one.availability for one in gpu.data_centers},
        "cuda_versions": [one.version for one in gpu.cuda_versions],
    }
