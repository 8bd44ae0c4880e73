"""`kedro cloudtrain stop`: end jobs, processes on this computer and pods alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.commands.pods import fleet_of
from kedro_cloudtrain.commands.project import env_option, job_folders, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kedro.framework.startup import ProjectMetadata

    from kedro_cloudtrain.backends.runpod.fleet import Fleet, JobPod
    from kedro_cloudtrain.jobs.folder import JobFolder


@click.command()
@click.argument("job", required=False)
@click.option("--all", "every", is_flag=True, help="End all jobs of this project.")
@env_option
@click.pass_obj
def stop(metadata: ProjectMetadata, job: str | None, every: bool, env: str | None) -> None:
    """End JOB: its whole name, the beginning of it, or its node's name. Ends its process on this computer, or its pods.

    A run that waits for the job is told that it was stopped, and pays for no other pod. A job of a group ends with its whole group.
    """
    from kedro_cloudtrain.wording import did_you_mean

    if (job is None) == (not every):
        raise click.UsageError("Name a job, or give --all. To list the jobs: kedro cloudtrain jobs")
    folders = job_folders(metadata, env)
    running = [folder for folder in folders if folder.is_running()]
    processes = running if job is None else _named(running, job)
    fleet = _fleet(metadata, env, asked=job is None or not processes)
    pods = fleet.pods() if fleet is not None else []
    chosen = pods if job is None else _pods_of(job, pods, folders)
    if job is not None and not processes and not chosen:
        names = [*(folder.name for folder in running), *(pod.job for pod in pods)]
        raise click.ClickException(f"{job!r} is not running.{did_you_mean(job, names)} Running: {', '.join(names) or 'none'}")
    failed = 0
    for line, ended in [*_end_processes(processes), *(_end_pods(fleet, chosen) if fleet is not None else ())]:
        click.echo(line, err=not ended)
        failed += not ended
    if not processes and not chosen:
        click.echo(f"No job of {metadata.project_path.name} is running.")
    if failed:
        raise click.ClickException(f"{failed} may still run and cost money: try again, or end pods in RunPod's console.")


def _end_processes(folders: Iterable[JobFolder]) -> Iterator[tuple[str, bool]]:
    """End processes one by one; yield a line about each, and whether it has ended."""
    from kedro_cloudtrain.backends.kept_process import KeptProcess

    for folder in folders:
        if KeptProcess(folder).stop():
            yield f"Ended {folder.name}. Its folder is kept: {folder.path}", True
        elif folder.is_running():
            yield f"Not ended: {folder.name} has no process on this computer yet: a client holds it.", False


def _end_pods(fleet: Fleet, pods: Sequence[JobPod]) -> Iterator[tuple[str, bool]]:
    """End pods one by one; yield a line about each, and whether it has ended."""
    for pod, reason in fleet.terminate(pods):
        name = f"{pod.pod.name} ({pod.pod.id})"
        yield (f"Ended {name}, {pod.age} old, ${pod.cost_usd:.2f}.", True) if reason is None else (f"Not ended: {name}: {reason}", False)


def _named(folders: Sequence[JobFolder], job: str) -> list[JobFolder]:
    from kedro_cloudtrain.jobs.fingerprint import name_patterns

    matches = ([folder for folder in folders if re.fullmatch(pattern, folder.name)] for pattern in name_patterns(job))
    return next((named for named in matches if named), [])


def _pods_of(job: str, pods: Sequence[JobPod], folders: Sequence[JobFolder]) -> list[JobPod]:
    """Return the pods of a job; of a group's job, those of its group."""
    from kedro_cloudtrain.backends.runpod.fleet import select_pods

    groups = [group.name for folder in _named(folders, job) if (group := folder.group()) is not None]
    return next((selected for name in (job, *groups) if (selected := select_pods(pods, name))), [])


def _fleet(metadata: ProjectMetadata, env: str | None, *, asked: bool) -> Fleet | None:
    """Return the project's pods: always in an environment for pods, in any other if they are asked for and there is an API key."""
    from kedro_cloudtrain.errors import CloudTrainError

    if read_settings(metadata, env).backend == "runpod":
        return fleet_of(metadata, env)
    if not asked:
        return None
    try:
        return fleet_of(metadata, env)
    except CloudTrainError:  # No key, or no client: there is nothing to stop but what is on this computer.
        return None
