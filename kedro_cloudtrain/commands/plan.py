"""`kedro cloudtrain plan`: where each node will run, what it may cost, and what is wrong."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING, Any

import click

from kedro_cloudtrain.commands.json_output import json_options, print_json
from kedro_cloudtrain.commands.project import (
    env_option,
    load_versions_option,
    logs_to_stderr,
    open_planner,
    params_option,
    runner_params_option,
)
from kedro_cloudtrain.commands.selection import select, selection_options

if TYPE_CHECKING:
    from pathlib import Path

    from kedro.framework.startup import ProjectMetadata

    from kedro_cloudtrain.planning.report import Report


@click.command()
@json_options
@env_option
@selection_options
@params_option
@load_versions_option
@runner_params_option
@click.pass_obj
def plan(
    metadata: ProjectMetadata,
    /,
    as_json: bool,
    output: Path | None,
    env: str | None,
    params: str,
    load_versions: str,
    runner_params: str,
    **selection: Any,
) -> None:
    """Show where each node will run, what it reads and may cost, and what is wrong; nothing is run, nothing is paid.

    Nodes are selected as for kedro run: the default pipeline, or what --pipelines, --nodes, --tags and the other options name.

    For pods, the account, the volume, prices and stock are asked for as well. Exits with 1 when something would fail, and with 2 when
    that cannot be told: RunPod or the volume does not answer.

    With --out FILE, a run can be held to what was planned: kedro run --runner=cloudtrain --runner-params plan=FILE refuses to run anything
    else. Nodes, their code, parameters, settings, templates, entries of the catalog and what these hold are compared, by digests that tell
    no secret; prices, stock and estimates are not.
    """
    from kedro_cloudtrain.planning.record import make_record
    from kedro_cloudtrain.planning.report import report
    from kedro_cloudtrain.planning.selectors import selectors_elsewhere, unmatched_selectors
    from kedro_cloudtrain.plugin.runner import jobs_at_once

    if as_json:
        logs_to_stderr()
    with open_planner(metadata, env, params, runner_params, load_versions) as (planner, pipelines):
        nodes = select(pipelines, selection).nodes
        plans = planner.plan(nodes)
        examined = report(planner, plans, jobs_at_once(planner.settings))
        # It reads whole files on this computer, which the table does not need.
        record = make_record(planner, plans) if as_json or output is not None else None
        registered = [node for registered in pipelines.values() for node in registered.nodes]
        unmatched = unmatched_selectors(planner.settings, registered)
        elsewhere = selectors_elsewhere(planner.settings, nodes, registered)
    examined = dataclasses.replace(
        examined,
        problems=[*unmatched, *examined.problems],
        notes=[*([elsewhere] if elsewhere else []), *examined.notes],
        record=record,
    )
    if record is not None and not examined.exit_code:
        examined = dataclasses.replace(examined, notes=[*examined.notes, *map(_run_note, record.opaque)])
    if as_json or output is not None:
        print_json(examined.json(), output)
    if not as_json:
        _print(examined)
        if output is not None:
            click.echo(_written(examined, output))
    if examined.exit_code:
        raise click.exceptions.Exit(examined.exit_code)


def _run_note(text: str) -> str:
    return f"By this plan: {text}. A run takes it as it is when the run starts."


def _written(examined: Report, file: Path) -> str:
    """Return a line that names the written plan, and says whether a run can be held to it."""
    if examined.exit_code:
        reason = "it has problems" if examined.exit_code == 1 else "something did not answer"
        return f"Wrote {file}. No run can be held to it, since {reason}."
    return f"Wrote {file}. To run this and nothing else: kedro run --runner=cloudtrain --runner-params plan={shlex.quote(str(file))}"


def _print(examined: Report) -> None:
    from rich.console import Console

    from kedro_cloudtrain.wording import counted

    console = Console(soft_wrap=True)
    console.print(examined.table())
    for name, note in examined.all_notes():
        console.print(f"  {name or 'run'}  {note}", markup=False, highlight=False, style="dim")
    if examined.settings.backend == "runpod":
        console.print(examined.limits(), markup=False, highlight=False)
    problems, doubts = list(examined.all_problems()), list(examined.all_doubts())
    for findings, title, style in ((problems, counted(len(problems), "problem"), "bold red"), (doubts, "Cannot be told", "bold yellow")):
        if findings:
            console.print(title, style=style)
        for name, text in findings:
            console.print(f"  {name or 'run'}  {text}", markup=False, highlight=False)
