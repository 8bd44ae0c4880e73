"""`kedro cloudtrain gpus` and `doctor`: what can be rented, and whether a run has what it needs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from kedro_cloudtrain.commands.json_output import json_options, print_json
from kedro_cloudtrain.commands.project import env_option, logs_to_stderr, open_planner, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kedro.framework.startup import ProjectMetadata

    from kedro_cloudtrain.backends.runpod.contract import Gpu
    from kedro_cloudtrain.planning.doctor import Examination, Finding


@click.command()
@click.option("--data-center", default=None, help="Show the stock of this data centre, for example EU-RO-1. Default: the network volume's.")
@json_options
@env_option
@click.pass_obj
def gpus(metadata: ProjectMetadata, data_center: str | None, as_json: bool, output: Path | None, env: str | None) -> None:
    """List RunPod's GPUs, the cheapest first: the name to write in `gpu`, memory, price, stock, CUDA versions.

    GPUs that the data centre does not offer are dimmed.
    """
    from kedro_cloudtrain.backends.runpod.account import connect  # each command imports what it needs
    from kedro_cloudtrain.commands import tables

    if as_json:
        logs_to_stderr()
    data_center = data_center or read_settings(metadata, env).volume.data_center
    offered = sorted(connect().gpus(), key=lambda gpu: (gpu.price.secure, gpu.id))
    if as_json or output is not None:
        print_json([_gpu_json(gpu, data_center) for gpu in offered], output)
    if not as_json:
        tables.print_table(tables.gpus_table(offered, data_center))


@click.command()
@click.option(
    "--try-key",
    is_flag=True,
    help="Also ask RunPod to end a pod that does not exist, to see whether the key may end pods. The account's audit log records it.",
)
@json_options
@env_option
@click.pass_obj
def doctor(metadata: ProjectMetadata, try_key: bool, as_json: bool, output: Path | None, env: str | None) -> None:
    """Check account, keys, volume, clock and packages, and print a fix for each problem. Nothing is created or changed.

    Exits with 1 if there is a problem.
    """
    from kedro_cloudtrain.planning.doctor import examine_runpod

    if as_json:
        logs_to_stderr()
    settings = read_settings(metadata, env)
    on_runpod = settings.backend == "runpod"
    examination = examine_runpod(settings, metadata.project_path, try_key=try_key) if on_runpod else _examine_local(metadata, env)
    if as_json or output is not None:
        findings = [dataclasses.asdict(finding) for finding in examination.findings]
        print_json({"version": 1, "ok": not examination.problems, "findings": findings}, output)
    if not as_json:
        _print(examination.findings)
    if examination.problems:
        raise click.exceptions.Exit(1)


def _print(findings: Sequence[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = click.style("ok     ", fg="green") if finding.ok else click.style("problem", fg="red", bold=True)
        click.echo(f"{mark}  {finding.name.ljust(width)}  {finding.message}")
        if finding.fix:
            click.echo(f"{' ' * (width + 11)}{finding.fix}")


def _examine_local(metadata: ProjectMetadata, env: str | None) -> Examination:
    from kedro_cloudtrain.planning.doctor import Finding, examine_local
    from kedro_cloudtrain.planning.training import TrainingPlan

    libraries: set[str] = set()
    try:
        with open_planner(metadata, env) as (planner, pipelines):
            for pipeline in pipelines.values():
                libraries |= {plan.kind for plan in planner.plan(pipeline.nodes) if isinstance(plan, TrainingPlan)}
        project = Finding("project", ok=True, message=f"{', '.join(sorted(libraries - {''})) or 'nothing'} to train")
    except Exception as error:  # noqa: BLE001  # an error in the project's own code is a finding, and the rest is still examined
        project = Finding("project", ok=False, message=f"it cannot be opened: {type(error).__name__}: {error}")
    examination = examine_local(read_settings(metadata, env), metadata.project_path, libraries)
    examination.findings.append(project)
    return examination


def _gpu_json(gpu: Gpu, data_center: str | None) -> dict[str, Any]:
    return {
        "id": gpu.id,
        "memory_gb": gpu.memory,
        "usd_per_hour": gpu.price.secure,
        "stock": gpu.stock(data_center) if gpu.secure else None,
        "data_center": data_center,
        "data_centers": {center.id: center.availability for center in gpu.data_centers},
        "cuda_versions": [cuda.version for cuda in gpu.cuda_versions],
    }
