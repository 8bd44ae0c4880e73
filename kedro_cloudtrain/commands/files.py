"""`kedro cloudtrain upload` and `download`: files between this computer and the volume."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.commands.project import env_option, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kedro.framework.startup import ProjectMetadata


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("key")
@env_option
@click.pass_obj
def upload(metadata: ProjectMetadata, file: Path, key: str, env: str | None) -> None:
    """Upload FILE to the volume as KEY, the name to write as `dataset_key`.

    A file that the volume already has, by size and hash, is not sent again; a large upload that was interrupted continues where it stopped.
    """
    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    size_bytes = file.stat().st_size
    with _bar(f"{file.name} → {volume.name}", size_bytes) as advance:
        sent = volume.upload(file, key, advance)
    click.echo(f"{key} is {volume.where}, {size_bytes:,} bytes." if sent else f"{key} is already {volume.where}.")


@click.command()
@click.argument("key")
@click.argument("file", type=click.Path(path_type=Path))
@env_option
@click.pass_obj
def download(metadata: ProjectMetadata, key: str, file: Path, env: str | None) -> None:
    """Download KEY from the volume to FILE, or into it if it is a folder. An interrupted download leaves no file."""
    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    target = file / key.rpartition("/")[2] if file.is_dir() else file
    with _bar(f"{key} → {target}", volume.identity(key).size) as advance:
        volume.download(key, target, advance)
    click.echo(f"Downloaded {target}, {target.stat().st_size:,} bytes.")


@contextlib.contextmanager
def _bar(description: str, size_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, and nothing elsewhere: the line at the end is enough for a log."""
    from rich.console import Console  # each command imports what it needs
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(description, total=size_bytes)
        yield lambda count: progress.advance(task, count)
