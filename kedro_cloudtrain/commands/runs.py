"""`kedro cloudtrain runs` and `cost`: what the project's runs were, how they compare, and what they have cost."""

from __future__ import annotations

import csv
import datetime as dt
import io
import itertools
import re
from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.commands.json_output import json_options, print_json, print_text
from kedro_cloudtrain.commands.project import env_option, logs_to_stderr, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kedro.framework.startup import ProjectMetadata

    from kedro_cloudtrain.runs.ledger import RunLedger, SharedRuns
    from kedro_cloudtrain.runs.record import RunRecord

_AGES = {"d": "days", "h": "hours", "m": "minutes"}
_BY = ("node", "pipeline", "gpu", "month")

since_option = click.option(
    "--since", default=None, metavar="TIME", help="Only runs that began since then: an age (30d, 12h, 45m) or a date (2026-11-01)."
)


@click.group(invoke_without_command=True)
@click.option("--limit", type=click.IntRange(min=1), default=None, help="How many of the latest runs; left out, 20 in a table, else all.")
@since_option
@click.option("--pipeline", "-p", default=None, help="Only runs of this pipeline.")
@click.option("--all", "of_all", is_flag=True, help="Also the runs that other computers have left on the volume.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, one line per node; with --output, write it to that file.")
@json_options
@env_option
@click.pass_context
def runs(
    context: click.Context,
    limit: int | None,
    since: str | None,
    pipeline: str | None,
    of_all: bool,
    as_csv: bool,
    as_json: bool,
    output: Path | None,
    env: str | None,
) -> None:
    """List the project's runs, the latest first: state, nodes, main scores, time and dollars. `show` and `compare` look closer.

    RUN is a run's id, the beginning of it, or `latest`.
    """
    if context.invoked_subcommand is not None:
        return
    from kedro_cloudtrain.commands import run_tables, tables

    metadata: ProjectMetadata = context.obj
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two forms of the same: name one of them.")
    if as_json or as_csv:
        logs_to_stderr()
    ledger = _ledger(metadata)
    candidates = _records(metadata, ledger, env, since, of_all=of_all)
    chosen = (record for record in candidates if pipeline is None or record.pipeline == pipeline)
    table = not (as_json or as_csv or output is not None)
    records = list(itertools.islice(chosen, limit or (20 if table else None)))
    if as_csv:
        print_text(_csv(records), output)
    elif not table:
        print_json({"version": 1, "runs": [record.model_dump(mode="json") for record in records]}, output)
    if table and not records:
        click.echo(
            "No runs yet. A run leaves a record: kedro run --runner=cloudtrain" if pipeline is None and since is None else "No such runs."
        )
    elif table:
        tables.print_table(run_tables.runs_table(records))
    _warn_of_unreadable(ledger)


@runs.command()
@click.argument("run", default="latest")
@json_options
@click.pass_obj
def show(metadata: ProjectMetadata, run: str, as_json: bool, output: Path | None) -> None:
    """Show one run: what was asked for, what became of each node, what it scored and cost, and where its outputs went."""
    from kedro_cloudtrain.commands import run_tables, tables

    if as_json:
        logs_to_stderr()
    record = _ledger(metadata).find(run)
    if as_json or output is not None:
        print_json({"version": 1, "run": record.model_dump(mode="json")}, output)
    if as_json:
        return
    for name, value in run_tables.facts(record):
        click.echo(f"{name:<12}{value}")
    click.echo()
    tables.print_table(run_tables.nodes_table(record))
    for line in run_tables.remarks(record):
        click.echo(line)


@runs.command()
@click.argument("run", nargs=-1, required=True)
@json_options
@click.pass_obj
def compare(metadata: ProjectMetadata, run: tuple[str, ...], as_json: bool, output: Path | None) -> None:
    """Compare two or more runs: parameters and data that differ, every score with the better one marked, time and dollars."""
    from kedro_cloudtrain.commands import run_tables, tables
    from kedro_cloudtrain.runs.comparison import Comparison

    ledger = _ledger(metadata)
    if len(run) < 2:  # noqa: PLR2004
        raise click.UsageError(_second_run(ledger, run[0]))
    if as_json:
        logs_to_stderr()
    comparison = Comparison.of([ledger.find(name) for name in run])
    if as_json or output is not None:
        print_json(comparison.json(), output)
    if as_json:
        return
    tables.print_comparison(comparison)
    for line in run_tables.comparison_remarks(comparison):
        click.echo(line)


@click.command()
@since_option
@click.option("--by", type=click.Choice(_BY), default="month", show_default=True, help="Group the dollars by this.")
@json_options
@env_option
@click.pass_obj
def cost(metadata: ProjectMetadata, since: str | None, by: str, as_json: bool, output: Path | None, env: str | None) -> None:
    """Show what the project's runs have cost, beside what RunPod has charged for the same pods.

    RunPod's bill is about an hour late and is asked for the last 30 days; what it had is kept with the runs.
    """
    import dataclasses

    from kedro_cloudtrain.commands import run_tables, tables
    from kedro_cloudtrain.runs.costs import costs, reconcile

    if as_json:
        logs_to_stderr()
    ledger = _ledger(metadata)
    records = list(ledger.records(_moment(since), paid=True))
    unbilled = [
        record
        for record in records
        if not record.rehearsed and any(machine.pod and machine.billed_usd is None for machine in record.machines)
    ]
    if unbilled:
        bills = _bills(metadata, env or unbilled[0].env or None)
        for record in records:
            if reconcile(record, bills):
                ledger.write(record)
    groups = costs(records, by)
    if as_json or output is not None:
        rows = [dataclasses.asdict(group) | {"difference_usd": group.difference_usd} for group in groups]
        print_json({"version": 1, "by": by, "groups": rows}, output)
    if not as_json and not groups:
        click.echo("No run has paid for a machine." if since is None else "No run has paid for a machine since then.")
    elif not as_json:
        tables.print_table(run_tables.costs_table(groups, by))
    _warn_of_unreadable(ledger)


def _ledger(metadata: ProjectMetadata) -> RunLedger:
    from kedro_cloudtrain.runs.ledger import RunLedger

    return RunLedger(metadata.project_path)


def _records(metadata: ProjectMetadata, ledger: RunLedger, env: str | None, since: str | None, *, of_all: bool) -> Iterator[RunRecord]:
    """Yield the records of the project's folder, and those of the volume that the folder does not have, the latest first."""
    from kedro_cloudtrain.jobs.owner import project_id
    from kedro_cloudtrain.runs.ledger import SharedRuns

    earliest = _moment(since)
    if not of_all:
        yield from ledger.records(earliest)
        return
    shared = SharedRuns(read_settings(metadata, env).volume.make(metadata.project_path), project_id(metadata.project_path))
    own = set(ledger.ids())
    for name in sorted(own | set(shared.ids()), reverse=True):
        record = ledger.read(name) if name in own else shared.read(name)
        if record is None:
            continue
        if earliest is not None and record.started_at < earliest.timestamp():
            return
        yield record
    _warn_of_unreadable(shared)


def _moment(since: str | None) -> dt.datetime | None:
    """Return the moment that `--since` names.

    Raises:
        UsageError: it names none.
    """
    if since is None:
        return None
    now = dt.datetime.now(tz=dt.UTC)
    age = re.fullmatch(r"(\d+(?:\.\d+)?)([dhm])", since.strip())
    try:
        if age is not None:
            return now - dt.timedelta(**{_AGES[age[2]]: float(age[1])})
        return dt.datetime.fromisoformat(since.strip()).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise click.UsageError(f"--since is {since!r}: write an age (30d, 12h, 45m) or a date (2026-11-01).") from None


def _bills(metadata: ProjectMetadata, env: str | None) -> dict[str, float]:
    """Return RunPod's charges by pod; where RunPod cannot be asked, print why and return none."""
    from kedro_cloudtrain.errors import CloudTrainError

    if read_settings(metadata, env).backend != "runpod":
        return {}
    try:
        from kedro_cloudtrain.backends.runpod.account import connect

        return connect().bills_usd()
    except CloudTrainError as error:
        click.echo(f"RunPod's bill is not known: {error.message}", err=True)
        return {}


def _second_run(ledger: RunLedger, run: str) -> str:
    """Return what to type where only one run was named, with another run that there is.

    Raises:
        ConfigError: there is no such run.
    """
    named = ledger.find(run)
    others = [other for other in ledger.ids() if other != named.id]
    if not others:
        return f"`compare` takes two runs or more, and {named.id} is the only one so far."
    # The one before it, or the latest.
    other = next((other for other in others if other < named.id), others[0])
    return f"`compare` takes two runs or more: kedro cloudtrain runs compare {' '.join(sorted((other, named.id)))}"


def _csv(records: Sequence[RunRecord]) -> str:
    """Return a line for each node of each run."""
    from kedro_cloudtrain.runs.scores import main_score

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = (
        "run",
        "state",
        "pipeline",
        "started_at",
        "node",
        "model",
        "node_state",
        "job",
        "score",
        "value",
        "seconds",
        "cost_usd",
        "device",
        "env",
        "rehearsed",
    )
    writer.writerow(names)
    for record in records:
        started = dt.datetime.fromtimestamp(record.started_at, tz=dt.UTC).isoformat(timespec="seconds")
        for node in record.nodes:
            score, value = main_score(node.scores) or ("", "")
            figures = (score, value, round(node.total_s, 3), round(node.cost_usd, 6) if node.machines else "")
            of_node = (node.node, node.model, node.state, node.job, *figures, node.device)
            # Money of a rehearsal is play money: a reader who adds it up can leave it out.
            writer.writerow((record.id, record.state, record.pipeline, started, *of_node, record.env, str(record.rehearsed).lower()))
    return text.getvalue()


def _warn_of_unreadable(ledger: RunLedger | SharedRuns) -> None:
    for name, reason in ledger.unreadable.items():
        click.echo(f"Left out: the record of run {name} {reason} ({ledger.place(name)}).", err=True)
