"""`kedro cloudtrain stop` and `reap`: end pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.commands.project import env_option, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro.framework.startup import ProjectMetadata

    from kedro_cloudtrain.backends.runpod.fleet import Fleet, JobPod
    from kedro_cloudtrain.jobs.folder import JobFolder


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be ended, and end nothing.")
@click.option("--all-projects", is_flag=True, help="End the pods of every project of the account, not of this one alone.")
@env_option
@click.pass_obj
def reap(metadata: ProjectMetadata, dry_run: bool, all_projects: bool, env: str | None) -> None:
    """End every pod that this project has left, those at work included.

    A pod is known by the beginning of its name, which is the name of the project's folder. Nothing is asked.
    """
    from kedro_cloudtrain.commands import tables

    fleet = _fleet(metadata, env, all_projects=all_projects)
    pods = fleet.pods()
    if not pods:
        click.echo(f"There is no pod of {'any project' if all_projects else metadata.project_path.name}.")
        return
    if dry_run:
        tables.print_table(tables.pods_table(pods))
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
    from kedro_cloudtrain.backends.runpod.fleet import select_pods
    from kedro_cloudtrain.wording import did_you_mean

    if (job is None) == (not every):
        raise click.UsageError("Name a job, or say --all. Those that run: kedro cloudtrain jobs")
    fleet = _fleet(metadata, env)
    pods = fleet.pods()
    chosen = pods if job is None else select_pods(pods, job)
    if job is not None and not chosen:
        names = [one.job for one in pods]
        raise click.ClickException(f"No pod works on {job!r}.{did_you_mean(job, names)} There are: {', '.join(names) or 'none'}")
    if not chosen:
        click.echo(f"There is no pod of {metadata.project_path.name}.")
        return
    _end(fleet, chosen)


def pods_of(metadata: ProjectMetadata, env: str | None) -> list[JobPod]:
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
    from kedro_cloudtrain.backends.runpod.account import connect
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
    from kedro_cloudtrain.backends.runpod.account import connect
    from kedro_cloudtrain.backends.runpod.pod_log import PodLog
    from kedro_cloudtrain.errors import CloudTrainError

    machine = folder.read_json(folder.machine) or {}
    if machine.get("backend") != "runpod" or not machine.get("pod"):
        return False
    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    log = PodLog(connect(), volume, folder.name, str(machine["pod"]))
    try:
        for line in log.follow() if follow else log.read():
            click.echo(line)
    except CloudTrainError:
        if log.line_count:
            raise
    return log.line_count > 0


def _fleet(metadata: ProjectMetadata, env: str | None, *, all_projects: bool = False) -> Fleet:
    from kedro_cloudtrain.backends.runpod.account import connect
    from kedro_cloudtrain.backends.runpod.fleet import Fleet
    from kedro_cloudtrain.storage.network_volume import NetworkVolume

    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    project = None if all_projects else metadata.project_path.name
    return Fleet(connect(), project, volume if isinstance(volume, NetworkVolume) else None)


def _end(fleet: Fleet, pods: Sequence[JobPod]) -> None:
    """End pods, say so, and exit with 1 where one could not be."""
    from kedro_cloudtrain.commands import tables

    tables.print_table(tables.pods_table(pods))
    failed = 0
    for one, reason in fleet.terminate(pods):
        if reason is None:
            click.echo(f"Ended {one.pod.name} ({one.pod.id}), {one.age} old, ${one.cost_usd:.2f}.")
        else:
            failed += 1
            click.echo(f"Not ended: {one.pod.name} ({one.pod.id}): {reason}", err=True)
    if failed:
        raise click.ClickException(f"{failed} of {_count(pods)} may still run and cost money: try again, or end them in RunPod's console.")


def _count(pods: Sequence[JobPod]) -> str:
    return f"{len(pods)} pod{'' if len(pods) == 1 else 's'}"
