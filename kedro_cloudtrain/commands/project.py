"""A project as a command sees it: opened in a Kedro session, with its settings, its catalog and its pipelines."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kedro_cloudtrain.plugin.configuration import read_config
from kedro_cloudtrain.plugin.hooks import register

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kedro.framework.startup import ProjectMetadata
    from kedro.pipeline import Pipeline

    from kedro_cloudtrain.backends.backend import KeptJob
    from kedro_cloudtrain.config import ProjectConfig, Settings
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.planning.planner import Planner
    from kedro_cloudtrain.storage.volumes import Volume


register()  # wherever Kedro loads the commands, the runner has its short name

all_option = click.option("--all", "of_all", is_flag=True, help="Include the jobs of all projects on the same volume.")
env_option = click.option("--env", "-e", default=None, help="The configuration environment, as for kedro run.")
pipeline_option = click.option("--pipeline", "-p", default=None, help="The registered pipeline; left out, the default one.")
params_option = click.option("--params", default="", help="Parameters that override those of parameters.yml, as for kedro run.")
load_versions_option = click.option(
    "--load-versions", default="", help="The versions to load of versioned entries, NAME:VERSION, as for kedro run."
)
runner_params_option = click.option("--runner-params", default="", help="Settings that override cloudtrain.yml, as for kedro run.")


@contextlib.contextmanager
def open_planner(
    metadata: ProjectMetadata, env: str | None, params: str = "", runner_params: str = "", load_versions: str = ""
) -> Iterator[tuple[Planner, Mapping[str, Pipeline]]]:
    """Open a session, and yield a planner and the registered pipelines.

    The runner parameters `plan` and `max_workers` change nothing here: a plan takes the same options as its run.
    """
    from kedro.framework.project import pipelines

    from kedro_cloudtrain.config import RUN_PARAMETERS
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.planning.planner import Planner

    with _opened(metadata, env, params) as (context, config):
        parameters = _parameters(runner_params)
        settings = config.settings({name: value for name, value in parameters.items() if name not in RUN_PARAMETERS})
        yield (
            Planner(_catalog(context, load_versions), settings, TrainingScriptGenerator(config.templates), config.path, config.package),
            pipelines,
        )


def find_pipeline(pipelines: Mapping[str, Pipeline], name: str | None) -> Pipeline:
    """Return a registered pipeline; without a name, the default one.

    Raises:
        ClickException: there is none of that name.
    """
    from kedro_cloudtrain.wording import did_you_mean

    name = name or "__default__"
    if name not in pipelines:
        raise click.ClickException(f"There is no pipeline {name!r}.{did_you_mean(name, pipelines)} There are: {', '.join(pipelines)}")
    return pipelines[name]


def read_settings(metadata: ProjectMetadata, env: str | None) -> Settings:
    """Return the settings of an environment; the catalog is not read.

    Raises:
        ConfigError: naming file, line and key.
    """
    with _opened(metadata, env, "") as (_, config):
        return config.settings()


def job_folders(metadata: ProjectMetadata, env: str | None, *, of_all: bool = False) -> list[JobFolder]:
    """Return the job folders of the project's volumes, the latest first: the project's own, or those of all projects."""
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.owner import is_of, project_id
    from kedro_cloudtrain.worker.protocol import SPEC

    with open_planner(metadata, env) as (planner, _):
        roots = job_roots(planner)
    paths = [path for root in roots for path in root.glob("*") if (path / SPEC).is_file()]
    folders = [JobFolder(path) for path in sorted(paths, key=lambda path: (path / SPEC).stat().st_mtime, reverse=True)]
    project = project_id(metadata.project_path)
    return [folder for folder in folders if of_all or is_of(folder, project)]


def find_job(metadata: ProjectMetadata, env: str | None, job: str, *, of_all: bool = False) -> JobFolder:
    """Return the folder of a job: by its whole name, else the latest of the node of that name, else the latest whose name begins so.

    Raises:
        ClickException: there is no such job.
    """
    from kedro_cloudtrain.jobs.fingerprint import name_patterns
    from kedro_cloudtrain.wording import did_you_mean

    folders = job_folders(metadata, env, of_all=of_all)
    match = next((folder for pattern in name_patterns(job) for folder in folders if re.fullmatch(pattern, folder.name)), None)
    if match is None:
        hint = did_you_mean(job, [folder.name for folder in folders])
        raise click.ClickException(f"There is no job {job!r}.{hint} To list the jobs: kedro cloudtrain jobs")
    return match


def kept_jobs(metadata: ProjectMetadata, env: str | None, folders: Iterable[JobFolder]) -> list[KeptJob]:
    """Return what earlier clients have left of some jobs: on the volume of the environment's settings, or on this computer."""
    from kedro_cloudtrain.backends import kept_job

    volume = read_settings(metadata, env).volume.make(metadata.project_path)
    return [kept_job(folder, volume) for folder in folders]


def logs_to_stderr() -> None:
    """Send what is logged from now on to stderr, so that stdout holds only the command's output; Kedro logs to stdout.

    Kedro's first line, which names its logging configuration, is logged before any command begins; `conf/logging.yml` can turn it off.
    """
    import rich

    rich.reconfigure(stderr=True)
    if not sys.stdout.isatty() and "KEDRO_LOGGING_CONFIG" not in os.environ and not any(Path("conf").glob("logging.y*ml")):
        click.echo("Kedro has logged a line to stdout before this command. To keep it out: kedro cloudtrain init", err=True)


@contextlib.contextmanager
def _opened(metadata: ProjectMetadata, env: str | None, params: str) -> Iterator[tuple[Any, ProjectConfig]]:
    from kedro.framework.session import KedroSession

    _check_environment(metadata, env)
    sessions: Any = KedroSession
    with sessions.create(metadata.project_path, env=env, runtime_params=_parameters(params)) as session:
        context: Any = session.load_context()
        yield context, read_config(context)


def _check_environment(metadata: ProjectMetadata, env: str | None) -> None:
    """Check that there is a configuration environment of a name.

    Raises:
        ClickException: there is none.
    """
    from kedro.framework.project import settings

    from kedro_cloudtrain.wording import did_you_mean

    name = env or os.environ.get("KEDRO_ENV")
    conf = metadata.project_path / str(settings.CONF_SOURCE)
    if name and conf.is_dir() and not (conf / name).is_dir():
        names = sorted(place.name for place in conf.iterdir() if place.is_dir())
        raise click.ClickException(f"There is no environment {name!r}.{did_you_mean(name, names)} {conf} has: {', '.join(names)}")


def _catalog(context: Any, load_versions: str = "") -> Any:
    """Return the project's catalog, with some versions to load as `kedro run` reads them.

    Raises:
        ConfigError: Kedro cannot make it.
    """
    from kedro_cloudtrain.planning.catalog import making_the_catalog

    with making_the_catalog():
        if not load_versions:
            return context.catalog
        from kedro.framework.cli.utils import _split_load_versions

        read: Any = _split_load_versions
        return context._get_catalog(load_versions=read(None, None, load_versions))  # noqa: SLF001  # as KedroSession.run does


def _parameters(text: str) -> dict[str, Any]:
    """Read `a=1,b.c=2` as `kedro run` reads it."""
    from kedro.framework.cli.utils import _split_params

    read: Any = _split_params
    context = click.get_current_context()
    options = context.command.params
    option = next((option for option in options if context.params.get(str(option.name)) == text), options[0])
    parameters: dict[str, Any] = read(context, option, text)
    return parameters


def job_roots(planner: Planner) -> list[Path]:
    """Return the folders that hold the project's jobs, on the volume of its settings, then on those of its datasets."""
    from kedro_cloudtrain.worker.protocol import JOBS

    return list(dict.fromkeys(volume.folder(JOBS).resolve() for volume in project_volumes(planner)))


def project_volumes(planner: Planner) -> list[Volume]:
    """Return the volume of the project's settings, then those of its datasets."""
    from kedro_cloudtrain.planning.catalog import unmade_entries
    from kedro_cloudtrain.planning.entries import dataset_source, dataset_volume
    from kedro_cloudtrain.storage.sources import VolumeSource

    volumes = [planner.settings.volume.make(planner.project)]
    names = list(planner.catalog)
    unmade = unmade_entries(planner.catalog, names)  # `plan` reports them: a job is found all the same.
    for name in names:
        dataset = None if name in unmade else planner.catalog.get(name)
        if isinstance(dataset_source(dataset), VolumeSource):
            volumes.append(dataset_volume(dataset))
    return volumes
