"""`kedro cloudtrain jobs`, `logs`, `wait` and `clean`: what runs have left, on this computer and on a volume alike."""

from __future__ import annotations

import re
import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.commands.json_output import json_options, print_json
from kedro_cloudtrain.commands.pods import bills_of, pods_of
from kedro_cloudtrain.commands.project import all_option, env_option, find_job, job_folders, kept_jobs, logs_to_stderr, read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from kedro.framework.startup import ProjectMetadata

    from kedro_cloudtrain.config import Settings
    from kedro_cloudtrain.jobs.result import JobProgress

_AGES_S = {"d": 86_400.0, "h": 3600.0, "m": 60.0}


@click.command()
@all_option
@json_options
@env_option
@click.pass_obj
def jobs(metadata: ProjectMetadata, of_all: bool, as_json: bool, output: Path | None, env: str | None) -> None:
    """List the jobs that this computer has started or reused, the latest first, with their pods, age and dollars so far, or the bill.

    They are this project's; with --all, those of all projects on its volumes. Pods of this project that no run of this computer has
    started are listed below.
    """
    from rich.console import Console

    from kedro_cloudtrain.backends.runpod.dear import over_limit
    from kedro_cloudtrain.commands import tables
    from kedro_cloudtrain.commands.job_record import job_record, pod_record
    from kedro_cloudtrain.runs.costs import job_costs
    from kedro_cloudtrain.runs.ledger import RunLedger
    from kedro_cloudtrain.wording import usd

    if as_json:
        logs_to_stderr()
    folders, pods = job_folders(metadata, env, of_all=of_all), pods_of(metadata, env)
    pods_by_job = {folder.name: pod for pod in pods for folder in folders if pod.works_on(folder.name)}
    bills, spent = bills_of(metadata, env, folders), job_costs(RunLedger(metadata.project_path).records(paid=True))
    pods = [pod for pod in pods if pod not in pods_by_job.values()]
    if as_json or output is not None:
        records = [job_record(folder, pods_by_job.get(folder.name), bills.get(folder.name), spent.get(folder.name)) for folder in folders]
        print_json({"version": 1, "jobs": records, "pods": [pod_record(pod) for pod in pods]}, output)
    if as_json:
        return
    console = Console(soft_wrap=True)
    if folders:
        dollars = {name: usd(cost) for name, cost in spent.items()} | {name: f"{usd(cost)} billed" for name, cost in bills.items()}
        console.print(tables.jobs_table(folders, dollars | {name: pod.summary for name, pod in pods_by_job.items()}))
        for folder in folders:
            pod = pods_by_job.get(folder.name)
            if pod is not None and (warning := over_limit(folder.name, folder.read_machine(), pod.pod, pod.now)):
                click.echo(warning)
    elif not pods:
        click.echo("No jobs yet. A run makes them: kedro run --runner=cloudtrain")
    if pods:
        console.print("Pods of this project whose jobs this computer does not have:", highlight=False)
        console.print(tables.pods_table(pods))


@click.command()
@click.argument("job")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job is done.")
@all_option
@env_option
@click.pass_obj
def logs(metadata: ProjectMetadata, job: str, follow: bool, of_all: bool, env: str | None) -> None:
    """Print the log of JOB: its whole name, the beginning of it, or its node's name for the latest.

    While its pod is alive, its lines come from RunPod as they are written.
    """
    from kedro_cloudtrain.terminal import for_stream

    (kept,) = kept_jobs(metadata, env, [find_job(metadata, env, job, of_all=of_all)])
    empty = True
    for line in kept.log(follow=follow):
        click.echo(for_stream(line, sys.stdout), nl=False, color=True)  # click would take colours out of a pipe
        empty = False
    if empty and not kept.folder.log.is_file():
        raise click.ClickException(f"{kept.folder.name} has no log yet.")


@click.command()
@click.argument("job")
@env_option
@click.pass_obj
def wait(metadata: ProjectMetadata, job: str, env: str | None) -> None:
    """Wait until JOB is done: its whole name, the beginning of it, or its node's name. Exits with 1 where it has failed.

    Its end is added to the record of the run that left it running. To take its results, start the same `kedro run` again. A pod whose
    price has risen above its node's limits is reported with the price, and goes on: `kedro cloudtrain stop JOB` ends it.
    """
    from kedro_cloudtrain.errors import CloudTrainError
    from kedro_cloudtrain.jobs.owner import project_id
    from kedro_cloudtrain.running.display import metric
    from kedro_cloudtrain.runs.notices import Notices

    (kept,) = kept_jobs(metadata, env, [find_job(metadata, env, job)])
    name = kept.folder.name

    def report(running: str, progress: JobProgress) -> None:
        click.echo(f"{running}  {progress.step}/{progress.of}  {metric(progress)}")

    result = kept.wait(report)
    settings = read_settings(metadata, env)
    _enter_end(metadata, settings, name, gone=result is None)
    reason = "" if result is None or result.error is None else result.error.headline
    if settings.run.notify is not None:
        # The run that has left the job is over, and cannot tell of it.
        state = "gone" if result is None else result.state
        Notices(settings.run.notify).job_ended(project_id(metadata.project_path), name, state, reason)
    if result is None:
        raise click.ClickException(f"{name} is gone and has left no result. What it wrote: kedro cloudtrain logs {name}")
    if result.state != "succeeded":
        raise CloudTrainError(f"{name} {result.state}: {reason.removesuffix('.')}. What it wrote: kedro cloudtrain logs {name}")
    click.echo(f"{name} is done.")


def _enter_end(metadata: ProjectMetadata, settings: Settings, job: str, *, gone: bool) -> None:
    """Add a job's end to the records of the runs that left it running, on this computer and where others see them."""
    from kedro_cloudtrain.errors import CloudTrainError
    from kedro_cloudtrain.jobs.owner import project_id
    from kedro_cloudtrain.runs.ledger import RunLedger, SharedRuns, is_shared

    volume = settings.volume.make(metadata.project_path)
    try:
        for record in RunLedger(metadata.project_path).enter_end(job, gone=gone):
            if is_shared(volume, metadata.project_path):
                SharedRuns(volume, record.project or project_id(metadata.project_path)).write(record)
    except CloudTrainError as error:
        click.echo(f"The end of {job} could not be recorded: {error.message}", err=True)


@click.command()
@click.option("--older-than", default="30d", show_default=True, help="An age: 30d, 12h or 45m.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@click.option("--environments", is_flag=True, help="Instead of jobs, delete the packages that no pod has used for that long.")
@env_option
@click.pass_obj
def clean(metadata: ProjectMetadata, older_than: str, dry_run: bool, environments: bool, env: str | None) -> None:
    """Delete the folders of this project's old jobs from the volume; those that are running stay, whatever their age.

    A run that would have reused a deleted job does its work again. The catalog's own files are not touched. With --environments,
    delete the packages that pods have kept on the network volume for this computer's jobs and that no pod has used since: a job that needs
    them installs them anew.
    """
    from kedro_cloudtrain.jobs.owner import is_of, project_id
    from kedro_cloudtrain.wording import counted

    age = re.fullmatch(r"(\d+(?:\.\d+)?)([dhm])", older_than.strip())
    if age is None:
        raise click.UsageError(f"--older-than is {older_than!r}: write an age, for example 30d, 12h or 45m.")
    before = time.time() - float(age[1]) * _AGES_S[age[2]]
    if environments:
        _clean_environments(metadata, env, before, dry_run=dry_run)
        return
    kept = kept_jobs(metadata, env, job_folders(metadata, env, of_all=True))
    project = project_id(metadata.project_path)
    old = [job for job in kept if is_of(job.folder, project) and job.folder.touched_at < before and not job.is_running()]
    # Jobs share sent inputs: those that a kept job names stay.
    shared = {file for job in kept if job not in old for file in job.folder.sent}
    freed_bytes = 0
    for job in old:
        sent = [file for file in job.folder.sent if file not in shared and file.is_file()]
        # What a link leads to is somebody's own, and stays.
        linked = job.folder.path.is_symlink()
        files = [] if linked else [file for file in job.folder.path.rglob("*") if not file.is_symlink()]
        freed_bytes += sum(file.stat().st_size for file in (*files, *sent) if file.is_file())
        click.echo(job.folder.name)
        if not dry_run:
            job.delete(sent)
            for file in sent:
                file.unlink()
            if linked:
                job.folder.path.unlink()
            else:
                shutil.rmtree(job.folder.path)
    count = f"{counted(len(old), 'job')}, {freed_bytes / 1e6:.1f} MB"
    click.echo(f"{count} would be deleted." if dry_run else f"{count} deleted.")


def _clean_environments(metadata: ProjectMetadata, env: str | None, before: float, *, dry_run: bool) -> None:
    """Delete the environments on the volume that no pod has used since a moment."""
    from kedro_cloudtrain.backends.runpod.environments import Environments
    from kedro_cloudtrain.storage.network_volume import NetworkVolume
    from kedro_cloudtrain.wording import counted, size

    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    if not isinstance(volume, NetworkVolume):
        raise click.ClickException(f"Pods keep environments on a network volume alone, and the volume is {volume.name}: try --env=runpod.")
    kept = Environments(volume)
    old = [environment for environment in kept.kept() if environment.used_at < before]
    for environment in old:
        click.echo(
            f"{environment.name}  {size(environment.size_bytes)}  last used {time.strftime('%Y-%m-%d', time.gmtime(environment.used_at))}"
        )
        if not dry_run:
            kept.delete(environment)
    count = f"{counted(len(old), 'environment')}, {size(sum(environment.size_bytes for environment in old))}"
    click.echo(f"{count} would be deleted." if dry_run else f"{count} deleted.")
