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
    """Put FILE on the volume as KEY, which is what `dataset_key` says.

    What is there already, by its size and its hash, is not sent again; a large upload that broke goes on where it was.
    """
    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    size_bytes = file.stat().st_size
    with _bar(f"{file.name} → {volume.name}", size_bytes) as told:
        new = volume.upload(file, key, told)
    click.echo(f"{key} is on the volume {volume.name}, {size_bytes:,} bytes." if new else f"{key} is on the volume {volume.name} already.")


@click.command()
@click.argument("key")
@click.argument("file", type=click.Path(path_type=Path))
@env_option
@click.pass_obj
def download(metadata: ProjectMetadata, key: str, file: Path, env: str | None) -> None:
    """Bring KEY of the volume here as FILE, or into it where it is a folder; whole or not at all."""
    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    target = file / key.rpartition("/")[2] if file.is_dir() else file
    with _bar(f"{key} → {target}", volume.identity(key).size) as told:
        volume.download(key, target, told)
    click.echo(f"{target} is here, {target.stat().st_size:,} bytes.")


@contextlib.contextmanager
def _bar(what: str, size_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal; where there is none, what is said at the end is enough."""
    from rich.console import Console  # each command imports what it needs
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=size_bytes)
        yield lambda count: progress.advance(task, count)
