"""`kedro cloudtrain rehearse`: a run on RunPod's stand-in, which needs no account and costs nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kedro_cloudtrain.commands.project import env_option, logs_to_stderr, open_planner, project_volumes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro.framework.startup import ProjectMetadata

    from kedro_cloudtrain.rehearsal.rehearsal import Rehearsal, Seed


_WHY_NOT = {"no-cuda": "no pod had a GPU"}


class _Fault(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """`NAME`, or `NAME:TIMES`."""

    name = "name[:times]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check a fault.

        Raises:
            BadParameter: there is none of that name.
        """
        from kedro_cloudtrain.rehearsal.named_faults import parse_fault

        try:
            parse_fault(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


@click.command()
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    metavar="FOLDER|KEY=PATH",
    help="What the volumes have from the start: a folder's content, or a file or folder under a key. May be repeated.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=_Fault(),
    help="What goes wrong, once, or as often as NAME:TIMES says: vanish, never-starts, loops, errors, no-cuda, dear, cannot-end, "
    "no-capacity, lost-answer, api-down, api-slow, cannot-terminate or volume-down. May be repeated.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the volumes in this folder: another rehearsal goes on from them, and does no finished work twice.",
)
@click.option("--serve", is_flag=True, help="Print the variables that lead another shell's commands here, and serve until Ctrl-C.")
@env_option
@click.pass_obj
def rehearse(
    metadata: ProjectMetadata,
    command: tuple[str, ...],
    seeds: tuple[str, ...],
    faults: tuple[str, ...],
    keep: Path | None,
    serve: bool,
    env: str | None,
) -> None:
    """Run COMMAND on a RunPod that is on this computer: no account, no network volume, no cost.

    Left out, the command is: kedro run --runner=cloudtrain, with --env.

    The pods are processes that see the volume, and neither the project's folder, the home folder nor your environment, as far as this
    user may hide them: what would be missing on a pod is mostly missing here. GPUs are computed on the CPU, and the dollars are play
    money. What the run saves goes where the catalog says. A fault that found no occasion is named, and ends the rehearsal with 1.

    kedro cloudtrain rehearse --seed data/volume -- kedro run --runner=cloudtrain --env=runpod
    """
    logs_to_stderr()
    of_command = _env_of(command)
    if env is not None and of_command not in (None, env):
        raise click.UsageError(f"--env is {env}, and the command has --env={of_command}: name one environment.")
    env = env or of_command or os.environ.get("KEDRO_ENV")
    contents = [_seed(text) for text in seeds]
    _check_kept(keep, contents)
    with _rehearsal(metadata, env, contents, faults, keep) as rehearsal:
        _introduce(rehearsal)
        status = _serve(rehearsal) if serve else _run(list(command) or ["kedro", "run", "--runner=cloudtrain"], rehearsal, env)
        lines = list(_last_lines(rehearsal, status, keep))
        has_missed = any(not fault.happened() for fault in rehearsal.faults)
    for line in lines:
        click.echo(line, err=True)
    # A rehearsal of a fault that has not happened has shown nothing of it.
    sys.exit(status or (1 if has_missed and not serve else 0))


@contextlib.contextmanager
def _rehearsal(
    metadata: ProjectMetadata, env: str | None, seeds: Sequence[Seed], faults: Sequence[str], keep: Path | None
) -> Iterator[Rehearsal]:
    """Serve the volumes and the machines that the project's settings name.

    Raises:
        ClickException: they name no network volume, or the S3 server is not installed.
    """
    from kedro_cloudtrain.rehearsal.rehearsal import Rehearsal
    from kedro_cloudtrain.storage.network_volume import NetworkVolume

    if importlib.util.find_spec("boto3") is None or not _has_rclone():
        raise click.ClickException('A rehearsal needs rclone and boto3: pip install "kedro-cloudtrain[rehearsal]"')
    with open_planner(metadata, env) as (planner, _):
        settings, volumes = planner.settings, project_volumes(planner)
    where = f"The environment {env}" if env else "The base environment"
    network_volumes = {volume.id: volume.data_center for volume in volumes if isinstance(volume, NetworkVolume)}
    if settings.volume.bucket is not None:
        raise click.ClickException(
            f"{where} keeps its jobs in the bucket {settings.volume.bucket}, and a rehearsal has network volumes alone. Rehearse it in an "
            "environment with `volume: {id: abc123xyz, data_center: EU-RO-1}`."
        )
    if settings.backend != "runpod" or not network_volumes:
        raise click.ClickException(
            f"{where} has no `backend: runpod` with a network volume, and a rehearsal needs both. Name an environment that has them: kedro "
            "cloudtrain rehearse --env=runpod"
        )
    gpus = {name for node in (settings.defaults, *settings.nodes.values()) if isinstance(node.gpu, tuple) for name in node.gpu}
    for name in sorted(gpus):
        if (note := _unusual(name)) is not None:
            click.echo(note, err=True)
    with Rehearsal(network_volumes, seeds, faults, sorted(gpus), keep, (metadata.project_path,)) as rehearsal:
        yield rehearsal


def _unusual(gpu: str) -> str | None:
    """Return a sentence about a GPU that RunPod is not known to offer; None for one that it is."""
    from kedro_cloudtrain.rehearsal.offers import Offers
    from kedro_cloudtrain.wording import did_you_mean

    names = Offers.known_gpus()
    if gpu.lower() in (name.lower() for name in names):
        return None
    return (
        f"`gpu` names {gpu!r}, and this rehearsal does not know whether RunPod has it: the rehearsal accepts it.{did_you_mean(gpu, names)} "
        "To ask RunPod: kedro cloudtrain gpus"
    )


def _has_rclone() -> bool:
    return any(shutil.which("rclone", path=path) for path in (str(Path(sys.executable).parent), None))


def _seed(text: str) -> Seed:
    """Read `FOLDER` or `KEY=PATH`.

    Raises:
        UsageError: there is no such file or folder, or the key leads out of the volume.
    """
    from kedro_cloudtrain.rehearsal.rehearsal import Seed

    key, equals, path = text.partition("=")
    source = Path(path if equals else text)
    if not source.exists():
        raise click.UsageError(f"--seed {text}: there is no file or folder {source}.")
    if not equals and not source.is_dir():
        raise click.UsageError(
            f"--seed {text}: {source} is a file. Write the key that it gets on the volume: --seed datasets/table.csv={source}"
        )
    parts = key.split("/") if equals else ()
    if equals and (not key or any(part in ("", ".", "..") for part in parts)):
        raise click.UsageError(f"--seed {text}: {key!r} is not a key of a volume. Write it like datasets/table.csv={path}")
    return Seed(source, key if equals else "")


def _check_kept(keep: Path | None, seeds: Sequence[Seed]) -> None:
    """Check the folder that the volumes are to be kept in.

    Raises:
        UsageError: it is a seed, lies in one or has one in it; or it has something else in it.
    """
    from kedro_cloudtrain.rehearsal.rehearsal import VOLUMES

    if keep is None:
        return
    place = keep.resolve()
    for seed in seeds:
        source = seed.source.resolve()
        if place.is_relative_to(source) or source.is_relative_to(place):
            raise click.UsageError(f"--keep {keep} and --seed {seed.source} overlap: keep the volumes in a folder of their own.")
    if place.is_dir() and any(place.iterdir()) and not (place / VOLUMES).is_dir():
        raise click.UsageError(f"--keep {keep}: the folder has something else in it. Name an empty one, or one that a rehearsal has kept.")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--keep {keep}: the folder cannot be made ({error.strerror}). Name another one.") from None


def _last_lines(rehearsal: Rehearsal, status: int, keep: Path | None) -> Iterator[str]:
    """Yield what a rehearsal has come to."""
    from kedro_cloudtrain.wording import counted, usd

    yield f"Rehearsal over: {counted(len(rehearsal.pods), 'pod')}, {usd(rehearsal.cost_usd)} of play money."
    left = len(rehearsal.runpod.living)
    if left:
        yield f"{counted(left, 'pod')} had not ended with the command: on RunPod, they would go on, and be paid for."
    for fault in rehearsal.faults:
        happened = fault.happened()
        if happened < fault.times:
            what = f"happened {happened} of {fault.times} times" if happened else "did not happen"
            yield f"The fault {fault.name} {what}: {_WHY_NOT.get(fault.name, 'there was no occasion for it')}."
    if status and keep is None:
        yield "What its jobs have left is gone with it. To look at their logs, rehearse again with --keep FOLDER."
    elif status:
        yield f"What its jobs have written: kedro cloudtrain rehearse --keep {shlex.quote(str(keep))} -- kedro cloudtrain logs JOB"


def _introduce(rehearsal: Rehearsal) -> None:
    volumes = ", ".join(f"{volume.id} in {volume.data_center}" for volume in rehearsal.runpod.offers.volumes.values())
    click.echo(f"Rehearsal on this computer: volume {volumes}, play money.", err=True)
    if any(fault.name == "never-starts" for fault in rehearsal.faults):
        waits = "A pod that never starts is given up after startup_timeout_s. To wait less, lower it under `defaults` in cloudtrain.yml."
        click.echo(waits, err=True)
    if not rehearsal.runpod.isolated:
        click.echo(
            "This user may not hide files from the pods (unshare is refused or missing): they see this computer's files, so the rehearsal "
            "does not show what they would lack on RunPod.",
            err=True,
        )


def _env_of(command: Sequence[str]) -> str | None:
    """Return the environment that a Kedro command names."""
    for number, part in enumerate(command):
        name, equals, value = part.partition("=")
        if name in ("--env", "-e"):
            return value if equals else next(iter(command[number + 1 : number + 2]), None)
    return None


def _serve(rehearsal: Rehearsal) -> int:
    """Print the rehearsal's environment, and wait for Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        for name, value in rehearsal.environment.items():
            click.echo(f"export {name}={shlex.quote(value)}")
        signal.pause()
    return 0


def _run(command: list[str], rehearsal: Rehearsal, env: str | None) -> int:
    """Run a command to its end, and return its exit status; the signals that end this process are the command's to answer.

    A Kedro command that names no environment has that of the rehearsal.
    """
    # The programs beside this Python come first, as in an activated environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    program = shutil.which(command[0], path=path)
    if program is None:
        raise click.ClickException(f"There is no program {command[0]!r}: write a command after --, such as kedro run --runner=cloudtrain.")
    named = {"KEDRO_ENV": env} if env else {}
    process = subprocess.Popen([program, *command[1:]], env={**os.environ, "PATH": path, **named, **rehearsal.environment})

    def pass_on(number: int, _: Any) -> None:
        process.send_signal(number)

    # A terminal sends Ctrl-C to the command as well, which then ends its pods.
    answers: Mapping[signal.Signals, Any] = {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: pass_on, signal.SIGHUP: pass_on}
    before = {number: signal.signal(number, answer) for number, answer in answers.items()}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
