"""`kedro cloudtrain …`: look before a run, and at what a run has left."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.commands import files as transfers
from kedro_cloudtrain.commands import jobs as upkeep
from kedro_cloudtrain.commands import machines
from kedro_cloudtrain.commands.project import env_option, find_job, job_folders, logs_to_stderr, open_planner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kedro.framework.startup import ProjectMetadata
    from kedro.pipeline import Pipeline

    from kedro_cloudtrain.planning.plan import NodePlan, Planner

_SETTINGS = """\
# Where training nodes run, and within which bounds. Whatever is commented out stands at its default.
# The file of another environment (conf/ENV/cloudtrain.yml) needs only what differs there: the files are merged key by key.

# local: a child process on this computer. runpod: a pod of RunPod's (conf/runpod/cloudtrain.yml is a good place for that).
backend: local

# What a dataset_key is a key of, and where the job folders are (.cloudtrain/jobs). Relative to the project.
volume:
  path: data/volume
# On pods, a network volume, or a bucket for jobs that read URLs alone:
# volume: {id: abc123xyz, data_center: EU-RO-1}
# volume: {bucket: my-jobs}

# For each node that goes to a machine:
# defaults:
#   timeout_s: 86400        # when a job is ended, in seconds from its start
#   gpu: auto               # or names in the order of liking: [NVIDIA L4, NVIDIA A40] (kedro cloudtrain gpus); none takes a CPU pod
#   max_cost_usd: 2         # of the node, its attempts together; left out, no limit
#   max_price_per_hour_usd: 1   # dearer machines are left out; left out, no limit
#   startup_timeout_s: 900  # when a pod that does not start is given up for another
#   retries: 2              # how many more pods are tried after one that was lost
#   requirements: []        # what is installed beside what the recipe needs, as pip writes it
#   upload_warn_mb: 50      # what exists only here and is larger is sent with a warning
#   checkpoint_every_s: 60  # how often a state is written to go on from after a machine was lost
#   checkpoint_every_rounds: 100   # or by rounds; left out, by the seconds

# For some of them, by name, glob, tag or namespace; an exact name wins. Training nodes go to a machine anyway; any other node that is
# named here goes to one, too, as it is:
# nodes:
#   train_flights: {timeout_s: 14400}
#   "train_*": {timeout_s: 7200}
#   "tag:slow": {timeout_s: 172800}
#   "namespace:segments": {group: segments}   # small ones that share a machine, one after another

# For a run as a whole:
# run:
#   max_pods: 1             # jobs at once; on pods, 8
#   max_cost_usd: 20        # left out, no limit
#   cache: true             # finished work is taken instead of being done again
#   on_failure: finish      # or cancel: what becomes of the jobs at work beside a node that fails
"""

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
    machines.reap,
    machines.stop,
    transfers.upload,
    transfers.download,
    upkeep.wait,
    upkeep.clean,
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
    file.write_text(_SETTINGS, encoding="utf-8")
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

    from kedro_cloudtrain.planning.plan import unmatched_selectors
    from kedro_cloudtrain.planning.report import report
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


@cloudtrain.command()
@env_option
@click.pass_obj
def jobs(metadata: ProjectMetadata, env: str | None) -> None:
    """List the jobs that this computer has started or taken, the latest first, with their pods, age and dollars so far, or the bill.

    Pods of this project that no run of this computer has started are listed below.
    """
    from rich.console import Console

    from kedro_cloudtrain.running.display import jobs_table

    folders, pods = job_folders(metadata, env), machines.pods_of(metadata, env)
    console = Console(soft_wrap=True)
    if folders:
        known = {folder.name: one for one in pods for folder in folders if one.works_on(folder.name)}
        bills = machines.bills_of(metadata, env, folders)
        console.print(jobs_table(folders, {**bills, **{name: one.summary for name, one in known.items()}}))
        pods = [one for one in pods if one not in known.values()]
    elif not pods:
        click.echo("No jobs yet. A run makes them: kedro run --runner=cloudtrain")
    if pods:
        console.print("Pods of this project that this computer does not know:", highlight=False)
        console.print(machines.pods_table(pods))


@cloudtrain.command()
@click.argument("job")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job is done.")
@env_option
@click.pass_obj
def logs(metadata: ProjectMetadata, job: str, follow: bool, env: str | None) -> None:
    """Print the log of JOB: its whole name, the beginning of it, or its node's name for the latest.

    While its pod is at work, its lines come from RunPod as they are written.
    """
    folder = find_job(metadata, env, job)
    if machines.print_pod_log(metadata, env, folder, follow=follow):
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


def _pipeline(pipelines: Mapping[str, Pipeline], name: str | None) -> Pipeline:
    from kedro_cloudtrain.wording import nearest

    name = name or "__default__"
    if name not in pipelines:
        raise click.ClickException(f"There is no pipeline {name!r}.{nearest(name, pipelines)} There are: {', '.join(pipelines)}")
    return pipelines[name]


def _plan_of(planner: Planner, pipelines: Mapping[str, Pipeline], node: str, pipeline: str | None) -> NodePlan:
    """Find a node that goes to a machine by its name, in one pipeline or in any."""
    from kedro_cloudtrain.planning.plan import selects_any
    from kedro_cloudtrain.wording import nearest

    names = [pipeline] if pipeline else list(pipelines)
    there = {one.name: one for name in names for one in _pipeline(pipelines, name).nodes if selects_any(planner.settings, one)}
    if node not in there:
        raise click.ClickException(f"No node {node!r} goes to a machine.{nearest(node, there)} There are: {', '.join(there) or 'none'}")
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
