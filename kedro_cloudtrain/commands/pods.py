"""`kedro cloudtrain reap`: list the pods that a project has left, with their cost, and end them."""

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
@click.option("--dry-run", is_flag=True, help="Show the pods and what would become of them, and end nothing.")
@click.option("--all-projects", is_flag=True, help="Show the pods of every project of the account, not of this one alone.")
@click.option("--yes", is_flag=True, help="Also end, without asking, the pods that somebody may still need.")
@env_option
@click.pass_obj
def reap(metadata: ProjectMetadata, dry_run: bool, all_projects: bool, yes: bool, env: str | None) -> None:
    """End the pods that this project's killed clients have left.

    These are ended without asking. It asks before it ends any other pod: one whose client still runs, that a run with `detach` left
    running, that another computer asked for, or that belongs to another project of this name.
    """
    from kedro_cloudtrain.commands import tables
    from kedro_cloudtrain.wording import counted

    fleet = fleet_of(metadata, env, all_projects=all_projects)
    pods = fleet.namesakes()
    if not pods:
        click.echo(f"There is no pod of {'any project' if all_projects else metadata.project_path.name}.")
        return
    tables.print_table(tables.pods_table(pods))
    forgotten = [pod for pod in pods if pod.forgotten]
    doubtful = [pod for pod in pods if not pod.forgotten]
    if dry_run:
        question = f"; it would ask about {counted(len(doubtful), 'other')}" if doubtful else ""
        click.echo(f"{counted(len(forgotten), 'pod')} would be ended{question}. End them: kedro cloudtrain reap")
        return
    end_pods(fleet, forgotten)
    if doubtful and (yes or _confirmed(doubtful)):
        end_pods(fleet, doubtful)


def _confirmed(pods: Sequence[JobPod]) -> bool:
    """Ask whether to end pods that somebody may need; without a terminal, print the command that ends them, and return False."""
    import sys

    from kedro_cloudtrain.wording import counted

    if sys.stdin is not None and sys.stdin.isatty():
        return click.confirm(f"Somebody may still need {counted(len(pods), 'pod')}, as the table shows. End them too?", default=False)
    click.echo(f"{counted(len(pods), 'pod')} left, which somebody may still need. End them too: kedro cloudtrain reap --yes")
    return False


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
    from kedro_cloudtrain.backends.runpod.clusters import is_cluster
    from kedro_cloudtrain.errors import CloudTrainError

    pods = {folder.name: folder.read_machine().pod for folder in folders}
    if read_settings(metadata, env).backend != "runpod" or not any(pods.values()):
        return {}
    try:
        bills = connect().bills_usd(clusters=any(pod is not None and is_cluster(pod) for pod in pods.values()))
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
    from kedro_cloudtrain.jobs.owner import project_id
    from kedro_cloudtrain.storage.s3 import S3Store

    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    project = project_id(metadata.project_path)
    return Fleet(connect(), project, volume if isinstance(volume, S3Store) else None, all_projects=all_projects)


def end_pods(fleet: Fleet, pods: Sequence[JobPod]) -> None:
    """End pods, print each, and exit with 1 if one could not be ended."""
    from kedro_cloudtrain.wording import counted

    ended: list[JobPod] = []
    failed = 0
    for pod, reason in fleet.terminate(pods):
        if reason is None:
            ended.append(pod)
        else:
            failed += 1
            click.echo(f"Not ended: {pod.pod.name} ({pod.pod.id}): {reason}", err=True)
    left = fleet.remaining(ended)
    for pod in ended:
        if pod in left:
            failed += 1
            click.echo(f"Not ended: {pod.pod.name} ({pod.pod.id}): RunPod accepted the request, but still lists the pod", err=True)
        else:
            click.echo(f"Ended {pod.pod.name} ({pod.pod.id}), {pod.age} old, ${pod.cost_usd:.2f}.")
    if failed:
        raise click.ClickException(
            f"{failed} of {counted(len(pods), 'pod')} may still run and cost money: try again, or end them in RunPod's console."
        )
