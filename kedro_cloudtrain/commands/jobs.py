"""`kedro cloudtrain wait` and `clean`: until a job is done, and when its folder is wanted no more."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.commands.pods import bills_of, pods_of, print_pod_log
from kedro_cloudtrain.commands.project import env_option, find_job, job_folders, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro.framework.startup import ProjectMetadata

    from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult


_POLL_S = 1.0
_DAY_S = 86_400.0
# A pod that was asked for and has not begun is given up long before that.
_STARTS_WITHIN_S = _DAY_S
_AGES_S = {"d": _DAY_S, "h": 3600.0, "m": 60.0}


@click.command()
@click.argument("job")
@env_option
@click.pass_obj
def wait(metadata: ProjectMetadata, job: str, env: str | None) -> None:
    """Wait until JOB is done: its whole name, the beginning of it, or its node's name. Exits with 1 where it has failed.

    Its results are taken by the run that asks for them: the same `kedro run` again.
    """
    folder = find_job(metadata, env, job)
    remote = _remote(metadata, env, folder)
    if remote is None:
        result = _awaited_here(folder)
    else:
        group = _group_of(folder, remote, job_folders(metadata, env))
        if group is not None:
            # Its machine is its group's, which comes to it sooner or later.
            _awaited_there(group, remote.sibling(group))
        result = _awaited_there(folder, remote)
    if result is None:
        raise click.ClickException(f"{folder.name} is gone and has left no result. What it wrote: kedro cloudtrain logs {folder.name}")
    if result.state != "succeeded":
        said = result.error.message if result.error is not None else ""
        raise click.ClickException(f"{folder.name} {result.state}: {said} What it wrote: kedro cloudtrain logs {folder.name}")
    click.echo(f"{folder.name} is done.")


@click.command()
@click.option("--older-than", default="30d", show_default=True, help="An age: 30d, 12h or 45m.")
@click.option("--dry-run", is_flag=True, help="Show what would be taken away, and take nothing away.")
@env_option
@click.pass_obj
def clean(metadata: ProjectMetadata, older_than: str, dry_run: bool, env: str | None) -> None:
    """Take the folders of old jobs away from the volume; those at work stay, whatever their age.

    What a run would have taken from them is done again when it is asked for. The catalog's own files are not touched.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([dhm])", older_than.strip())
    if found is None:
        raise click.UsageError(f"--older-than is {older_than!r}: write an age, 30d, 12h or 45m say.")
    before = time.time() - float(found[1]) * _AGES_S[found[2]]
    folders = job_folders(metadata, env)
    old = [folder for folder in folders if folder.touched_at < before and not folder.is_running() and not _may_be_at_work(folder)]
    # Jobs share what was sent along with them: what a young one names stays.
    wanted = {file for folder in folders if folder not in old for file in folder.sent}
    freed = 0
    for folder in old:
        sent = [file for file in folder.sent if file not in wanted and file.is_file()]
        freed += sum(file.stat().st_size for file in (*folder.path.rglob("*"), *sent) if file.is_file())
        click.echo(folder.name)
        if dry_run:
            continue
        remote = _remote(metadata, env, folder)
        if remote is not None:
            remote.delete_all()
            remote.delete_sent(file.name for file in sent)
        for file in sent:
            file.unlink()
        shutil.rmtree(folder.path)
    what = f"{len(old)} job{'' if len(old) == 1 else 's'}, {freed / 1e6:.1f} MB"
    click.echo(f"{what} would be taken away." if dry_run else f"{what} taken away.")


def _may_be_at_work(folder: JobFolder) -> bool:
    """Tell whether a machine elsewhere may be at a job that nobody here holds: it has not said that it is over, nor run out of time."""
    machine = folder.read_json(folder.machine) or {}
    began = float(machine.get("created_at") or machine.get("claimed_at") or 0.0)
    lives_s = float(machine.get("lifetime_s") or 0.0)
    return bool(machine.get("attempt")) and not folder.result.is_file() and time.time() < began + lives_s + _STARTS_WITHIN_S


def _remote(metadata: ProjectMetadata, env: str | None, folder: JobFolder) -> RemoteFolder | None:
    """Give a job's folder on the network volume; None where the volume is a directory here."""
    from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
    from kedro_cloudtrain.storage.directory import DirectoryVolume

    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    return None if isinstance(volume, DirectoryVolume) else RemoteFolder(folder, volume)


def _group_of(folder: JobFolder, remote: RemoteFolder, folders: list[JobFolder]) -> JobFolder | None:
    """Give the group whose machine has a job, as the machine has noted beside it, or as the group's own folder here says."""
    from kedro_cloudtrain.jobs.folder import JobFolder

    machine = remote.machine()
    if machine.get("attempt"):
        return None
    mine = (one for one in folders if folder.name in (one.read_json(one.spec) or {}).get("jobs", ()))
    said = folder.path.with_name(str(machine["group"])) if machine.get("group") else None
    return JobFolder(said) if said is not None else next(mine, None)


def _awaited_here(folder: JobFolder) -> JobResult | None:
    say = _progress_of(folder)
    while folder.is_running():
        say()
        time.sleep(_POLL_S)
    return folder.read_result()


def _awaited_there(folder: JobFolder, remote: RemoteFolder) -> JobResult | None:
    from kedro_cloudtrain.backends.runpod.account import connect

    api, say = connect(), _progress_of(folder)
    while True:
        machine = remote.machine()
        attempt, pod_id = str(machine.get("attempt", "")), machine.get("pod")
        # Before the volume is asked: a pod that is gone by then has written its result, or never will.
        gone = not attempt or (pod_id is not None and api.pod(str(pod_id)) is None)
        result = remote.result(attempt or None)
        if result is not None or gone:
            return result
        if remote.heartbeat(attempt) is not None:
            remote.follow()
        say()
        time.sleep(_POLL_S * 5)


def _progress_of(folder: JobFolder) -> Callable[[], None]:
    """Give a function that prints how far a job is, where it is further than the last time."""
    from kedro_cloudtrain.running.display import metric

    seen: list[int] = [0]

    def say() -> None:
        progress = folder.last_progress()
        if progress is not None and progress.step != seen[0]:
            seen[0] = progress.step
            click.echo(f"{folder.name}  {progress.step}/{progress.of}  {metric(progress)}")

    return say


@click.command()
@env_option
@click.pass_obj
def jobs(metadata: ProjectMetadata, env: str | None) -> None:
    """List the jobs that this computer has started or taken, the latest first, with their pods, age and dollars so far, or the bill.

    Pods of this project that no run of this computer has started are listed below.
    """
    from rich.console import Console

    from kedro_cloudtrain.commands import tables

    folders, pods = job_folders(metadata, env), pods_of(metadata, env)
    console = Console(soft_wrap=True)
    if folders:
        known = {folder.name: one for one in pods for folder in folders if one.works_on(folder.name)}
        bills = bills_of(metadata, env, folders)
        console.print(tables.jobs_table(folders, {**bills, **{name: one.summary for name, one in known.items()}}))
        pods = [one for one in pods if one not in known.values()]
    elif not pods:
        click.echo("No jobs yet. A run makes them: kedro run --runner=cloudtrain")
    if pods:
        console.print("Pods of this project that this computer does not know:", highlight=False)
        console.print(tables.pods_table(pods))


@click.command()
@click.argument("job")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job is done.")
@env_option
@click.pass_obj
def logs(metadata: ProjectMetadata, job: str, follow: bool, env: str | None) -> None:
    """Print the log of JOB: its whole name, the beginning of it, or its node's name for the latest.

    While its pod is at work, its lines come from RunPod as they are written.
    """
    folder = find_job(metadata, env, job)
    if print_pod_log(metadata, env, folder, follow=follow):
        return
    if not folder.log.is_file():
        raise click.ClickException(f"{folder.name} has no log yet.")
    with folder.log.open(encoding="utf-8", errors="replace") as stream:
        while True:
            over = not follow or not folder.is_running()
            for line in stream:
                click.echo(line, nl=False)
            if over:
                return
            time.sleep(0.2)
