"""A project as a command sees it: opened in a Kedro session, with its settings, its catalog and its pipelines."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import click

from kedro_cloudtrain.plugin.configuration import read_config
from kedro_cloudtrain.plugin.hooks import register

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kedro.framework.startup import ProjectMetadata
    from kedro.pipeline import Pipeline

    from kedro_cloudtrain.config import ProjectConfig, Settings
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.planning.planner import Planner


register()  # wherever Kedro loads the commands, the runner has its short name

env_option = click.option("--env", "-e", default=None, help="The configuration environment, as for kedro run.")


@contextlib.contextmanager
def open_planner(
    metadata: ProjectMetadata, env: str | None, params: str = "", runner_params: str = ""
) -> Iterator[tuple[Planner, Mapping[str, Pipeline]]]:
    """Open a session, and give what plans nodes and the registered pipelines."""
    from kedro.framework.project import pipelines

    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.planning.planner import Planner

    with _opened(metadata, env, params) as (context, config):
        settings = config.settings(_parameters(runner_params))
        yield Planner(context.catalog, settings, TrainingScriptGenerator(config.templates), config.path, config.package), pipelines


def read_settings(metadata: ProjectMetadata, env: str | None) -> Settings:
    """Give the settings of an environment; the catalog is not read.

    Raises:
        ConfigError: naming file, line and key.
    """
    with _opened(metadata, env, "") as (_, config):
        return config.settings()


def job_folders(metadata: ProjectMetadata, env: str | None) -> list[JobFolder]:
    """Give the job folders of the project's volumes, the latest first."""
    from kedro_cloudtrain.jobs.folder import JobFolder

    with open_planner(metadata, env) as (planner, _):
        roots = job_roots(planner)
    paths = [path for root in roots for path in root.glob("*") if (path / "job.json").is_file()]
    return [JobFolder(path) for path in sorted(paths, key=lambda path: (path / "job.json").stat().st_mtime, reverse=True)]


def find_job(metadata: ProjectMetadata, env: str | None, job: str) -> JobFolder:
    """Give the folder of a job by its whole name, else the latest of its node's name, else the latest whose name begins so."""
    from kedro_cloudtrain.jobs.fingerprint import job_name
    from kedro_cloudtrain.wording import did_you_mean

    folders = job_folders(metadata, env)
    node = re.escape(job_name(job, ""))
    ways = (re.escape(job), f"{node}[0-9a-f]{{12}}", f"{re.escape(job)}.*")
    found = next((one for way in ways for one in folders if re.fullmatch(way, one.name)), None)
    if found is None:
        hint = did_you_mean(job, [one.name for one in folders])
        raise click.ClickException(f"There is no job {job!r}.{hint} Those there are: kedro cloudtrain jobs")
    return found


def logs_to_stderr() -> None:
    """Send what is logged from here on to stderr, so that stdout is a command's JSON; Kedro logs to stdout."""
    import rich

    rich.reconfigure(stderr=True)


@contextlib.contextmanager
def _opened(metadata: ProjectMetadata, env: str | None, params: str) -> Iterator[tuple[Any, ProjectConfig]]:
    from kedro.framework.session import KedroSession

    sessions: Any = KedroSession
    with sessions.create(metadata.project_path, env=env, runtime_params=_parameters(params)) as session:
        context: Any = session.load_context()
        yield context, read_config(context)


def _parameters(text: str) -> dict[str, Any]:
    """Read `a=1,b.c=2` as `kedro run` reads it."""
    from kedro.framework.cli.utils import _split_params

    read: Any = _split_params
    context = click.get_current_context()
    option = next((one for one in context.command.params if context.params.get(str(one.name)) == text), context.command.params[0])
    parameters: dict[str, Any] = read(context, option, text)
    return parameters


def job_roots(planner: Planner) -> list[Path]:
    """Return the folders that hold the project's jobs, on the volume of its settings, then on those of its datasets."""
    from kedro_cloudtrain.jobs.folder import JOBS
    from kedro_cloudtrain.planning.entries import dataset_source, dataset_volume
    from kedro_cloudtrain.storage.sources import VolumeSource

    volumes = [planner.settings.volume.make(planner.project)]
    for name in list(planner.catalog):
        dataset = planner.catalog.get(name)
        if isinstance(dataset_source(dataset), VolumeSource):
            volumes.append(dataset_volume(dataset))
    return list(dict.fromkeys(volume.folder(JOBS).resolve() for volume in volumes))
