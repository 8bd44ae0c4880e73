"""`kedro cloudtrain …`: look before a run, and at what a run has left."""

from __future__ import annotations

import dataclasses
import json
import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.commands import files, jobs, machines, pods
from kedro_cloudtrain.commands.project import env_option, logs_to_stderr, open_planner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kedro.framework.startup import ProjectMetadata
    from kedro.pipeline import Pipeline

    from kedro_cloudtrain.planning.planner import NodePlan, Planner


pipeline_option = click.option("--pipeline", "-p", default=None, help="The registered pipeline; left out, the default one.")
params_option = click.option("--params", default="", help="Parameters over those of parameters.yml, as for kedro run.")
runner_params_option = click.option("--runner-params", default="", help="Settings over cloudtrain.yml, as for kedro run.")


@click.group(name="kedro-cloudtrain")
def commands() -> None:
    """Train on machines."""


@commands.group()
def cloudtrain() -> None:
    """Training nodes on machines: look before a run, and at what a run has left."""


for command in (
    machines.gpus,
    machines.doctor,
    jobs.jobs,
    jobs.logs,
    jobs.wait,
    jobs.clean,
    pods.stop,
    pods.reap,
    files.upload,
    files.download,
):
    cloudtrain.add_command(command)


@cloudtrain.command()
@env_option
@click.pass_obj
def init(metadata: ProjectMetadata, env: str | None) -> None:
    """Write a commented cloudtrain.yml into conf/base, or conf/ENV."""
    file = metadata.project_path / "conf" / (env or "base") / "cloudtrain.yml"
    if file.exists():
        raise click.ClickException(f"{file} is there already; it was left as it is.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(resources.files("kedro_cloudtrain.templates").joinpath("cloudtrain.yml").read_text(encoding="utf-8"), encoding="utf-8")
    click.echo(f"Wrote {file.relative_to(metadata.project_path)}. Next: kedro cloudtrain plan")


@cloudtrain.command()
@click.argument("node")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="Write the whole job there instead of printing its script.")
@env_option
@pipeline_option
@params_option
@click.pass_obj
def render(metadata: ProjectMetadata, node: str, to: Path | None, env: str | None, pipeline: str | None, params: str) -> None:
    """Show the script of NODE, a training node or one that `nodes` names, or write its job as a folder that runs by hand.

    With --to, the folder gets train.py and what it imports: cd DIR && python train.py
    """
    from kedro_cloudtrain.planning.orders import order_of  # each command imports what it needs

    with open_planner(metadata, env, params) as (planner, pipelines):
        plan = _plan_of(planner, pipelines, node, pipeline)
        _refuse(plan)
        if plan.inputs is not None and plan.parameters is None:
            raise click.ClickException(f"The parameters of {node} are made by another node: run that one first.")
        inputs = {name: plan.there(name) for name in plan.node.inputs}
        for name, source in inputs.items():
            if source is None:
                inputs[name] = _loaded(planner, name, node)
        order = order_of(plan, inputs, planner.generator)
        if to is None:
            click.echo(order.prepare(planner.generator).script, nl=False)
            return
        if to.exists() and any(to.iterdir()) and not (to / "job.json").is_file():
            raise click.ClickException(f"{to} is not empty and is no job's folder: name another one, or empty it.")
        attempt = order.prepare(planner.generator, to=to)
        with attempt.folder.held():
            attempt.write()
        click.echo(f"Wrote {to}. By hand: cd {shlex.quote(str(to))} && python train.py")
        for name in attempt.environment:
            click.echo(f"It needs {name} in its environment: the secrets of its source, which no file holds.")


@cloudtrain.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table; logs go to stderr.")
@env_option
@pipeline_option
@params_option
@runner_params_option
@click.pass_obj
def plan(metadata: ProjectMetadata, as_json: bool, env: str | None, pipeline: str | None, params: str, runner_params: str) -> None:
    """Show where each node will run, what it reads and may cost, and what is wrong; nothing is run, nothing is paid.

    For pods, the account, the volume, price and stock are asked for, too. Exits with 1 when something would fail. The very first line of
    Kedro's own log comes before any command and goes to stdout; a project's conf/logging.yml can send it elsewhere.
    """
    from rich.console import Console

    from kedro_cloudtrain.planning.report import report
    from kedro_cloudtrain.planning.selectors import unmatched_selectors
    from kedro_cloudtrain.plugin.runner import jobs_at_once

    if as_json:
        logs_to_stderr()
    with open_planner(metadata, env, params, runner_params) as (planner, pipelines):
        found = report(planner, planner.plan(_pipeline(pipelines, pipeline).nodes), jobs_at_once(planner.settings))
        selectors = unmatched_selectors(planner.settings, [node for one in pipelines.values() for node in one.nodes])
    found = dataclasses.replace(found, notes=[*selectors, *found.notes])
    problems = list(found.all_problems())
    if as_json:
        click.echo(json.dumps(found.json(), indent=2, ensure_ascii=False))
    else:
        console = Console(soft_wrap=True)
        console.print(found.table())
        for name, note in found.all_notes():
            console.print(f"  {name or 'run'}  {note}", markup=False, highlight=False, style="dim")
        if planner.settings.backend == "runpod":
            console.print(found.limits(), markup=False, highlight=False)
        if problems:
            console.print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}", style="bold red")
        for name, problem in problems:
            console.print(f"  {name or 'run'}  {problem}", markup=False, highlight=False)
    if problems:
        raise click.exceptions.Exit(1)


def _pipeline(pipelines: Mapping[str, Pipeline], name: str | None) -> Pipeline:
    from kedro_cloudtrain.wording import did_you_mean

    name = name or "__default__"
    if name not in pipelines:
        raise click.ClickException(f"There is no pipeline {name!r}.{did_you_mean(name, pipelines)} There are: {', '.join(pipelines)}")
    return pipelines[name]


def _plan_of(planner: Planner, pipelines: Mapping[str, Pipeline], node: str, pipeline: str | None) -> NodePlan:
    """Find a node that goes to a machine by its name, in one pipeline or in any."""
    from kedro_cloudtrain.planning.selectors import selects_any
    from kedro_cloudtrain.wording import did_you_mean

    names = [pipeline] if pipeline else list(pipelines)
    there = {one.name: one for name in names for one in _pipeline(pipelines, name).nodes if selects_any(planner.settings, one)}
    if node not in there:
        raise click.ClickException(
            f"No node {node!r} goes to a machine.{did_you_mean(node, there)} There are: {', '.join(there) or 'none'}"
        )
    return planner.plan([there[node]])[0]


def _loaded(planner: Planner, name: str, node: str) -> Any:
    from kedro.io import DatasetError

    try:
        return planner.catalog.load(name)
    except DatasetError as error:
        said = str(error).strip().splitlines()[-1]
        raise click.ClickException(
            f"`{name}` goes along with {node}, and is not there before a run: {said}\n"
            f"After a run, its script lies in the job's folder: kedro cloudtrain jobs"
        ) from error


def _refuse(plan: NodePlan) -> None:
    if plan.problems:
        raise click.ClickException("\n".join(plan.problems))
