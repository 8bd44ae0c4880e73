"""`kedro cloudtrain gpus`, `doctor`, `reap` and `stop`: what can be rented, whether all is well, and the end of what was left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from kedro_cloudtrain.commands.project import env_option, logs_to_stderr, open_planner, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro.framework.startup import ProjectMetadata
    from rich.table import Table

    from kedro_cloudtrain.backends.runpod.api import Gpu
    from kedro_cloudtrain.backends.runpod.fleet import Fleet, FleetPod
    from kedro_cloudtrain.jobs.folder import JobFolder
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
    from kedro_cloudtrain.backends.runpod.api import connect  # each command imports what it needs

    if as_json:
        logs_to_stderr()
    place = data_center or read_settings(metadata, env).volume.data_center
    found = sorted(connect().gpus(), key=lambda gpu: (gpu.price.secure, gpu.id))
    if as_json:
        click.echo(json.dumps([_gpu_json(gpu, place) for gpu in found], indent=2))
        return
    _print(_gpu_table(found, place))


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


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be ended, and end nothing.")
@click.option("--all-projects", is_flag=True, help="End the pods of every project of the account, not of this one alone.")
@env_option
@click.pass_obj
def reap(metadata: ProjectMetadata, dry_run: bool, all_projects: bool, env: str | None) -> None:
    """End every pod that this project has left, those at work included.

    A pod is known by the beginning of its name, which is the name of the project's folder. Nothing is asked.
    """
    fleet = _fleet(metadata, env, all_projects=all_projects)
    pods = fleet.pods()
    if not pods:
        click.echo(f"There is no pod of {'any project' if all_projects else metadata.project_path.name}.")
        return
    if dry_run:
        _print(pods_table(pods))
        click.echo(f"{_count(pods)} would be ended. End them: kedro cloudtrain reap")
        return
    _end(fleet, pods)


@click.command()
@click.argument("job", required=False)
@click.option("--all", "every", is_flag=True, help="End the pods of all jobs of this project.")
@env_option
@click.pass_obj
def stop(metadata: ProjectMetadata, job: str | None, every: bool, env: str | None) -> None:
    """End the pods of JOB: its whole name, the beginning of it, or its node's name.

    A run that waits for the job hears that it was stopped, and pays for no other pod.
    """
    from kedro_cloudtrain.backends.runpod.fleet import matching
    from kedro_cloudtrain.wording import nearest

    if (job is None) == (not every):
        raise click.UsageError("Name a job, or say --all. Those that run: kedro cloudtrain jobs")
    fleet = _fleet(metadata, env)
    pods = fleet.pods()
    chosen = pods if job is None else matching(pods, job)
    if job is not None and not chosen:
        names = [one.job for one in pods]
        raise click.ClickException(f"No pod works on {job!r}.{nearest(job, names)} There are: {', '.join(names) or 'none'}")
    if not chosen:
        click.echo(f"There is no pod of {metadata.project_path.name}.")
        return
    _end(fleet, chosen)


def pods_of(metadata: ProjectMetadata, env: str | None) -> list[FleetPod]:
    """Give the pods of a project whose environment is for pods; where RunPod cannot be asked, say so and give none."""
    from kedro_cloudtrain.errors import CloudTrainError

    if read_settings(metadata, env).backend != "runpod":
        return []
    try:
        return _fleet(metadata, env).pods()
    except CloudTrainError as error:
        click.echo(f"Pods are not shown: {error.message}", err=True)
        return []


def bills_of(metadata: ProjectMetadata, env: str | None, folders: Sequence[JobFolder]) -> dict[str, str]:
    """Give what the pods of jobs have cost by RunPod's bill, by the job's name, as far as the bill has them."""
    from kedro_cloudtrain.backends.runpod.api import connect
    from kedro_cloudtrain.errors import CloudTrainError

    pods = {folder.name: (folder.read_json(folder.machine) or {}).get("pod") for folder in folders}
    if read_settings(metadata, env).backend != "runpod" or not any(pods.values()):
        return {}
    try:
        bills = connect().bills_usd()
    except CloudTrainError:
        return {}  # That RunPod does not answer has been said of the pods.
    return {job: f"${bills[pod]:.2f} billed" for job, pod in pods.items() if pod in bills}


def print_pod_log(metadata: ProjectMetadata, env: str | None, folder: JobFolder, *, follow: bool) -> bool:
    """Print the log of a job whose pod is at work, until the pod is gone where `follow` says so; False where there is no such pod."""
    from kedro_cloudtrain.backends.runpod.api import connect
    from kedro_cloudtrain.backends.runpod.pod_log import PodLog
    from kedro_cloudtrain.errors import CloudTrainError

    machine = folder.read_json(folder.machine) or {}
    if machine.get("backend") != "runpod" or not machine.get("pod"):
        return False
    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    log = PodLog(connect(), volume, folder.name, str(machine["pod"]))
    try:
        for line in log.follow() if follow else log.now():
            click.echo(line)
    except CloudTrainError:
        if log.printed:
            raise
    return log.printed > 0


def pods_table(pods: Sequence[FleetPod]) -> Table:
    """Lay pods out as a table: name, id, state, age, machine, dollars an hour and so far."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

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


def _fleet(metadata: ProjectMetadata, env: str | None, *, all_projects: bool = False) -> Fleet:
    from kedro_cloudtrain.backends.runpod.api import connect
    from kedro_cloudtrain.backends.runpod.fleet import Fleet
    from kedro_cloudtrain.storage.network_volume import NetworkVolume

    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    project = None if all_projects else metadata.project_path.name
    return Fleet(connect(), project, volume if isinstance(volume, NetworkVolume) else None)


def _end(fleet: Fleet, pods: Sequence[FleetPod]) -> None:
    """End pods, say so, and exit with 1 where one could not be."""
    _print(pods_table(pods))
    failed = 0
    for one, reason in fleet.end(pods):
        if reason is None:
            click.echo(f"Ended {one.pod.name} ({one.pod.id}), {one.age} old, ${one.cost_usd:.2f}.")
        else:
            failed += 1
            click.echo(f"Not ended: {one.pod.name} ({one.pod.id}): {reason}", err=True)
    if failed:
        raise click.ClickException(f"{failed} of {_count(pods)} may still run and cost money: try again, or end them in RunPod's console.")


def _count(pods: Sequence[FleetPod]) -> str:
    return f"{len(pods)} pod{'' if len(pods) == 1 else 's'}"


def _print(table: Table) -> None:
    from rich.console import Console

    Console(soft_wrap=True).print(table)


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


def _gpu_table(found: Sequence[Gpu], place: str | None) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

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
