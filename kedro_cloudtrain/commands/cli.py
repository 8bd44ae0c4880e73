"""`kedro cloudtrain …`: look before a run, and at what a run has left."""

from __future__ import annotations

import json
import os
import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.commands import files, jobs, machines, pods, runs
from kedro_cloudtrain.commands.plan import plan
from kedro_cloudtrain.commands.project import env_option, find_pipeline, logs_to_stderr, open_planner, params_option, pipeline_option
from kedro_cloudtrain.commands.rehearse import rehearse
from kedro_cloudtrain.commands.report import report
from kedro_cloudtrain.commands.stop import stop
from kedro_cloudtrain.storage.files import whole
from kedro_cloudtrain.wording import some_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kedro.framework.startup import ProjectMetadata
    from kedro.pipeline import Pipeline

    from kedro_cloudtrain.planning.plan import MachinePlan
    from kedro_cloudtrain.planning.planner import Planner


@click.group(name="kedro-cloudtrain")
def commands() -> None:
    """Train on machines."""


@commands.group()
def cloudtrain() -> None:
    """Training nodes on machines: look before a run, and at what a run has left."""


@cloudtrain.command()
@env_option
@click.pass_obj
def init(metadata: ProjectMetadata, env: str | None) -> None:
    """Write a commented cloudtrain.yml into conf/base, or conf/ENV, and the schema by which an editor completes and checks it.

    A project without a conf/logging.yml gets one: Kedro's default, without the line that Kedro logs to stdout before any command begins.
    """
    from kedro_cloudtrain.config.schema import SCHEMA_FILE, settings_schema

    conf = metadata.project_path / "conf"
    file, logging, schema = conf / (env or "base") / "cloudtrain.yml", conf / "logging.yml", metadata.project_path / SCHEMA_FILE
    texts = {
        target: resources.files("kedro_cloudtrain.templates").joinpath(target.name).read_text(encoding="utf-8")
        for target in (file, logging)
    }
    # The line by which an editor finds the schema.
    editors_line = f"# yaml-language-server: $schema={os.path.relpath(schema, file.parent)}"
    texts[file] = f"{editors_line}\n{texts[file]}"
    texts[schema] = json.dumps(settings_schema(), indent=2) + "\n"
    has_logging = any(conf.glob("logging.y*ml"))
    written = [target for target in texts if not (target.exists() or (target == logging and has_logging))]
    if not written:
        raise click.ClickException(f"{file} exists already; it was left as it is.")
    for target in written:
        with whole(target) as temporary:
            temporary.write_text(texts[target], encoding="utf-8")
    names = some_of(str(target.relative_to(metadata.project_path)) for target in written)
    click.echo(f"Wrote {names}. Next: kedro cloudtrain plan")
    if schema in written and file not in written and editors_line not in file.read_text(encoding="utf-8"):
        click.echo(f"For an editor to find the schema, begin {file.relative_to(metadata.project_path)} with this line: {editors_line}")


@cloudtrain.command()
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the schema to this file instead of printing it.")
@click.pass_obj
def schema(metadata: ProjectMetadata, output: Path | None) -> None:  # noqa: ARG001  # of this release, whatever the project
    """Print the JSON schema of cloudtrain.yml; an editor's YAML extension completes and checks the file by it."""
    from kedro_cloudtrain.config.schema import settings_schema

    text = json.dumps(settings_schema(), indent=2)
    if output is None:
        click.echo(text)
        return
    with whole(output) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    click.echo(f"Wrote {output}")


@cloudtrain.command()
@click.argument("node")
@click.option(
    "--to", type=click.Path(path_type=Path, file_okay=False), help="Write the whole job to this folder instead of printing its script."
)
@env_option
@pipeline_option
@params_option
@click.pass_obj
def render(metadata: ProjectMetadata, node: str, to: Path | None, env: str | None, pipeline: str | None, params: str) -> None:
    """Print the script of NODE, a training node or one that `nodes` names, or write its job as a folder that runs by hand.

    Logs go to stderr: kedro cloudtrain render NODE > train.py

    With --to, the folder gets train.py and what it imports: cd DIR && python train.py
    """
    from kedro_cloudtrain.planning.training import TrainingPlan  # each command imports what it needs
    from kedro_cloudtrain.running.partition_order import first_order
    from kedro_cloudtrain.running.prepare import prepare
    from kedro_cloudtrain.running.training import TrainingOrder
    from kedro_cloudtrain.worker.protocol import SPEC

    logs_to_stderr()
    with open_planner(metadata, env, params) as (planner, pipelines):
        plan = _machine_plan(planner, pipelines, node, pipeline)
        inputs = {}
        for name in plan.node.inputs:
            source = plan.machine_input(name)
            inputs[name] = source if source is not None else _loaded(planner, name, node)
        order = plan.order(inputs, planner.generator)
        if isinstance(plan, TrainingPlan) and plan.partitioned is not None and isinstance(order, TrainingOrder):
            order = first_order(order, plan.partitioned, plan.inputs.parameters_place, plan.inputs.data)
        if to is None:
            click.echo(prepare(order, planner.generator).script, nl=False)
            return
        if to.exists() and any(to.iterdir()) and not (to / SPEC).is_file():
            raise click.ClickException(f"{to} is not empty and is not a job's folder: name another one, or empty it.")
        job = prepare(order, planner.generator, to)
        with job.folder.held():
            job.write()
        click.echo(f"Wrote {to}. By hand: cd {shlex.quote(str(to))} && python train.py")
        for variable in job.secrets:
            click.echo(f"It needs {variable} in its environment: the secrets of its source, which no file holds.")


for command in (
    plan,
    machines.gpus,
    machines.doctor,
    rehearse,
    jobs.jobs,
    jobs.logs,
    jobs.wait,
    jobs.clean,
    runs.runs,
    runs.cost,
    report,
    stop,
    pods.reap,
    files.upload,
    files.download,
):
    cloudtrain.add_command(command)


def _machine_plan(planner: Planner, pipelines: Mapping[str, Pipeline], name: str, pipeline: str | None) -> MachinePlan:
    """Return the plan of a node that goes to a machine, found by its name in one pipeline or in any."""
    from kedro_cloudtrain.planning.plan import MachinePlan
    from kedro_cloudtrain.planning.selectors import goes_to_machine
    from kedro_cloudtrain.planning.training import TrainingPlan
    from kedro_cloudtrain.wording import did_you_mean

    names = [pipeline] if pipeline else list(pipelines)
    every = {node.name: node for key in names for node in find_pipeline(pipelines, key).nodes}
    nodes = {key: node for key, node in every.items() if goes_to_machine(planner.settings, node)}
    if name in every and name not in nodes:
        raise click.ClickException(
            f"{name} is an ordinary node, which runs in Kedro's own process: it has no script. "
            f"To send it to a machine: `nodes: {{{name}: {{}}}}` in cloudtrain.yml."
        )
    if name not in nodes:
        hint = did_you_mean(name, nodes) or did_you_mean(name, every) or f" There are: {some_of(nodes)}."
        raise click.ClickException(f"No node {name!r} goes to a machine.{hint} To list all: kedro cloudtrain plan")
    (node_plan,) = planner.plan([nodes[name]])
    if node_plan.problems or not isinstance(node_plan, MachinePlan):
        raise click.ClickException("\n".join(node_plan.problems))
    if isinstance(node_plan, TrainingPlan) and node_plan.parameters is None:
        raise click.ClickException(
            f"Another node makes the parameters of {name}. After a run, its script is in the job's folder: kedro cloudtrain jobs"
        )
    return node_plan


def _loaded(planner: Planner, name: str, node: str) -> Any:
    from kedro.io import DatasetError

    try:
        return planner.catalog.load(name)
    except DatasetError as error:
        reason = str(error).strip().splitlines()[-1]
        raise click.ClickException(
            f"`{name}` is sent with the job of {node}, and does not exist before a run: {reason}\n"
            f"After a run, its script is in the job's folder: kedro cloudtrain jobs"
        ) from error
