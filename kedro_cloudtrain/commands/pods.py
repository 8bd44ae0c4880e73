"""`kedro cloudtrain reap`: the pods that a project has left, what they cost, and the end of them."""

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
    """End every pod that this project has left, those that are working included.

    A pod is recognised by the beginning of its name, which is the name of the project's folder. There is no confirmation.
    """
    from kedro_cloudtrain.commands import tables
    from kedro_cloudtrain.wording import counted

    fleet = fleet_of(metadata, env, all_projects=all_projects)
    pods = fleet.pods()
    if not pods:
        click.echo(f"There is no pod of {'any project' if all_projects else metadata.project_path.name}.")
        return
    if dry_run:
        tables.print_table(tables.pods_table(pods))
        click.echo(f"{counted(len(pods), 'pod')} would be ended. End them: kedro cloudtrain reap")
        return
    end_pods(fleet, pods)


def pods_of(metadata: ProjectMetadata, env: str | None) -> list[JobPod]:
    """Return the pods of a project, if its environment is for pods; if RunPod does not answer, print why and return none."""
    from kedro_cloudtrain.errors import CloudTrainError

    if read_settings(metadata, env).backend != "runpod":
        return []
    try:
        return fleet_of(metadata, env).pods()
    except CloudTrainError as error:
        click.echo(f"Pods are not shown: {error.message}", err=True)
        return []


def bills_of(metadata: ProjectMetadata, env: str | None, folders: Sequence[JobFolder]) -> dict[str, float]:
    """Return what the pods of jobs have cost by RunPod's bill, in dollars by the job's name, as far as the bill lists them."""
    from kedro_cloudtrain.backends.runpod.account import connect
    from kedro_cloudtrain.errors import CloudTrainError

    pods = {folder.name: folder.read_machine().pod for folder in folders}
    if read_settings(metadata, env).backend != "runpod" or not any(pods.values()):
        return {}
    try:
        bills = connect().bills_usd()
    except CloudTrainError:
        return {}  # `pods_of` has printed that RunPod does not answer.
    return {job: bills[pod] for job, pod in pods.items() if pod is not None and pod in bills}


def fleet_of(metadata: ProjectMetadata, env: str | None, *, all_projects: bool = False) -> Fleet:
    """Return the pods of this project, or of every project of the account.

    Raises:
        AuthError: there is no API key.
    """
    from kedro_cloudtrain.backends.runpod.account import connect
    from kedro_cloudtrain.backends.runpod.fleet import Fleet
    from kedro_cloudtrain.storage.s3 import S3Store

    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    project = None if all_projects else metadata.project_path.name
    return Fleet(connect(), project, volume if isinstance(volume, S3Store) else None)


def end_pods(fleet: Fleet, pods: Sequence[JobPod]) -> None:
    """End pods, print each, and exit with 1 if one could not be ended."""
    from kedro_cloudtrain.commands import tables
    from kedro_cloudtrain.wording import counted

    tables.print_table(tables.pods_table(pods))
    failed = 0
    for pod, reason in fleet.terminate(pods):
        if reason is None:
            click.echo(f"Ended {pod.pod.name} ({pod.pod.id}), {pod.age} old, ${pod.cost_usd:.2f}.")
        else:
            failed += 1
            click.echo(f"Not ended: {pod.pod.name} ({pod.pod.id}): {reason}", err=True)
    if failed:
        raise click.ClickException(
            f"{failed} of {counted(len(pods), 'pod')} may still run and cost money: try again, or end them in RunPod's console."
        )
