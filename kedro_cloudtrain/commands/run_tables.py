"""The tables of runs, of one run's nodes, of a comparison and of costs."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.rehearsed import OF_PLAY_MONEY
from kedro_cloudtrain.running.display import STATE_STYLES, state_word
from kedro_cloudtrain.running.fitted_table import Column, FittedTable, folded
from kedro_cloudtrain.runs.record import RunState
from kedro_cloudtrain.runs.scores import main_score
from kedro_cloudtrain.runs.words import ends, money_text, state_text
from kedro_cloudtrain.terminal import plain_text
from kedro_cloudtrain.wording import counted, duration, score_text, some_of, usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kedro_cloudtrain.runs.comparison import Comparison, Line
    from kedro_cloudtrain.runs.costs import CostGroup
    from kedro_cloudtrain.runs.record import NodeRecord, RunRecord

_RUN_STYLES = {RunState.SUCCEEDED: "green", RunState.FAILED: "red", RunState.INTERRUPTED: "yellow"}
# The most scores in a run's row; `runs show` has them all.
_MOST_SCORES = 3
_BEST = " ✓"
# The gap between a comparison's columns, and the narrowest column that can be read.
_GAP = 2
_NARROWEST = 10
# What a run knows an input by, for each kind of identity.
_KINDS = {"etag": "the ETag of its file", "time": "the time of its file", "content": "its content"}


def runs_table(records: Iterable[RunRecord]) -> FittedTable:
    """Return runs as a table: id, state, pipeline, nodes by what became of them, main scores, seconds, dollars, commit."""
    ranks = {"state": 0, "pipeline": 2, "nodes": 1, "scores": 1, "time": 0, "cost": 0, "env": 3, "commit": 3, "by": 4}
    right = {"time", "cost"}
    table = FittedTable(Column("run"), *(Column(name, right=name in right, rank=rank) for name, rank in ranks.items()))
    for record in records:
        table.add_row(
            record.id,
            Text(state_text(record), _RUN_STYLES.get(record.state, "")),
            plain_text(record.pipeline),
            _counts(record),
            _scores(record),
            duration(record.seconds),
            "–" if record.cost_usd is None else usd(record.cost_usd),
            plain_text(record.env),
            "–" if record.git is None else str(record.git),
            plain_text(record.by),
        )
    return table


def facts(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield what is worth knowing of a run as a whole, each with its name."""
    began = dt.datetime.fromtimestamp(record.started_at, tz=dt.UTC).astimezone()
    took = duration(record.seconds)
    cost = None if record.cost_usd is None else f"{usd(record.cost_usd)}{_of_limit(record)}{OF_PLAY_MONEY if record.rehearsed else ''}"
    lines = {
        "run": f"{record.id}  {state_text(record)}",
        "began": f"{began:%Y-%m-%d %H:%M:%S}{f', took {took}' if took != '–' else ''}",
        "by": record.by,
        "command": record.command or "from Python",
        "pipeline": f"{record.pipeline}, environment {record.env or 'base'}",
        "commit": None if record.git is None else f"{record.git} on {record.git.branch}",
        "backend": f"{record.backend}, volume {record.volume}" if record.backend else None,
        "parameters": f"{counted(len(record.parameters), 'value')}, digest {record.parameters_digest}" if record.parameters else None,
        "cost": cost,
        "error": record.error or None,
    }
    yield from ((name, plain_text(value)) for name, value in lines.items() if value is not None)


def nodes_table(record: RunRecord) -> FittedTable:
    """Return a run's nodes as a table: state, what was trained, machine, main score, seconds, dollars, where the outputs went."""
    ranks = {"state": 0, "model": 1, "where": 3, "score": 0, "wait": 4, "time": 0, "cost": 0, "outputs": 5, "job": 6}
    right = {"wait", "time", "cost"}
    # A column's header says it once for all of its figures.
    names = {"cost": "play money"} if record.rehearsed else {}
    columns = (Column(names.get(name, name), right=name in right, rank=rank) for name, rank in ranks.items())
    table = FittedTable(Column("node"), *columns)
    for node in record.nodes:
        score = main_score(node.scores)
        table.add_row(
            node.node,
            _node_state(node),
            plain_text(node.model),
            node.where,
            "" if score is None else f"{score[0]} {score_text(score[1])}",
            duration(node.waited_s) if node.waited_s else "",
            duration(node.total_s) if node.started_at is not None else "",
            usd(node.cost_usd) if node.machines else "–",
            ", ".join(plain_text(place) for place in node.outputs.values()),
            node.job,
        )
    return table


def remarks(record: RunRecord) -> Iterator[str]:
    """Yield why nodes ran or were reused, why they have failed, what became of their pods, and what to do next."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for node in record.nodes:
        if node.why:
            reasons.setdefault(("reused" if node.state == JobState.REUSED else "ran", node.why), []).append(node.node)
    for (what, why), nodes in reasons.items():
        yield plain_text(f"{some_of(nodes)}: {what}, {why}")
    for node in record.nodes:
        if node.error:
            yield plain_text(f"{node.node}: {node.error}")
        for end in ends(node):
            yield plain_text(f"{node.node}: {end}")
    if record.state is RunState.DETACHED:
        yield "Its jobs were left running. The same run again, without detach, takes their results."
    elif record.state is RunState.SUCCEEDED and any(node.state == JobState.WAITING for node in record.nodes):
        yield "Its jobs were left running and are done. The same run again, without detach, takes their results and goes on."


def comparison_table(comparison: Comparison, width: int) -> FittedTable | Table:
    """Return a comparison as a table: a column a run, the better of its scores marked.

    Where it is wider than the terminal, each value is wrapped within its column, and runs go on standing side by side; only where
    there are more runs than that leaves room for, their values stand below one another.
    """
    runs = comparison.runs
    parts = (comparison.facts, comparison.parameters, comparison.data, comparison.incomparable, comparison.scores, comparison.costs)
    rows: list[tuple[str, list[Text]]] = []
    for lines in (part for part in parts if part):
        rows += [("", [Text("") for _ in runs])] if rows else []
        rows += [(line.name, _cells(line, runs)) for line in lines]
    fitted = FittedTable(Column(""), *(Column(run.id, right=True) for run in runs))
    for name, cells in rows:
        fitted.add_row(name, *cells)
    of_name = min(max((cell_len(name) for name, _ in rows), default=0), width * 2 // 5)
    of_run = (width - of_name - _GAP * (len(runs) + 1)) // len(runs)
    if fitted.fits(width) or of_run < _NARROWEST:
        return fitted
    table = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP, 0, 0), pad_edge=False, show_edge=False, collapse_padding=True)
    table.add_column("", width=of_name, overflow="fold")
    for run in runs:
        table.add_column(Text("\n").join(folded(Text(run.id), of_run)), width=of_run, overflow="fold", justify="right")
    for name, cells in rows:
        table.add_row(Text("\n").join(folded(Text(name), of_name)), *cells)
    return table


def comparison_remarks(comparison: Comparison) -> Iterator[str]:
    """Yield what the table cannot show: that nothing differs, or that nobody knows it."""
    if not comparison.parameters and not comparison.data:
        yield "Parameters do not differ." if comparison.incomparable else "Neither parameters nor data differ."
    for line in comparison.incomparable:
        identities = [str(value or "").rpartition(":")[0] for value in line.values]
        kinds = dict.fromkeys(_KINDS.get(kind, "an unknown identity") for kind in identities)
        yield plain_text(
            f"Whether {line.name} differs cannot be told: a run knows it by {' and another by '.join(kinds)}."
            if len(kinds) > 1
            else f"Whether {line.name} differs cannot be told: each run knows it by {next(iter(kinds))}, which is another on each volume."
        )


def costs_table(groups: Sequence[CostGroup], by: str) -> FittedTable:
    """Return costs as a table with a total: runs, pods, hours, dollars by price and time, and by RunPod's bill."""
    names = ("runs", "pods", "hours", "cost", "billed", "bill − cost")
    table = FittedTable(Column(by), *(Column(name, right=True) for name in names))
    for group in groups:
        figures = (str(group.runs), str(group.pods), f"{group.hours:.2f}", usd(group.cost_usd))
        table.add_row(group.name, *figures, *_billed(group.billed_usd, group.difference_usd))
    if len(groups) > 1:
        billed = sum(group.billed_usd for group in groups)
        differences = [group.difference_usd for group in groups if group.difference_usd is not None]
        parts = [f"{counted(sum(group.pods for group in groups), 'pod')}: {usd(sum(group.cost_usd for group in groups))}"]
        if differences:
            parts.append(f"billed {usd(billed)}, {_difference(sum(differences))} against the cost of the billed pods")
        table.add_total(*parts)
    return table


def _counts(record: RunRecord) -> str:
    counts = Counter(_word(node) for node in record.nodes if node.kind != "group")
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


def _scores(record: RunRecord) -> str:
    scores = [(node.node, score) for node in record.nodes if node.kind == "training" and (score := main_score(node.scores)) is not None]
    if not scores:
        return ""
    shown = ", ".join(f"{node} {name} {score_text(value)}" for node, (name, value) in scores[:_MOST_SCORES])
    return shown if len(scores) <= _MOST_SCORES else f"{shown}, … {len(scores) - _MOST_SCORES} more"


def _node_state(node: NodeRecord) -> Text:
    try:
        return Text(_word(node), STATE_STYLES.get(JobState(node.state), ""))
    except ValueError:
        return Text(plain_text(node.state))


def _word(node: NodeRecord) -> str:
    try:
        word = state_word(JobState(node.state))
    except ValueError:
        return plain_text(node.state)  # of a later release
    return "not run" if word == "waiting" else word


def _of_limit(record: RunRecord) -> str:
    return "" if record.max_cost_usd is None else f" of at most {usd(record.max_cost_usd)}"


def _billed(billed_usd: float, difference_usd: float | None) -> tuple[str, str]:
    return ("–", "–") if difference_usd is None else (usd(billed_usd), _difference(difference_usd))


def _difference(dollars: float) -> str:
    return f"{'−' if dollars < 0 else '+'}{usd(abs(dollars))}"


def _cells(line: Line, runs: Sequence[RunRecord]) -> list[Text]:
    cells = [Text(_shown(line, value, run)) for value, run in zip(line.values, runs, strict=True)]
    for place in line.best:
        cells[place] = Text(f"{cells[place].plain}{_BEST}", "green")
    return cells


def _shown(line: Line, value: Any, run: RunRecord) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, float) and line.name == "seconds":
        return duration(value)
    if isinstance(value, float) and line.name == "dollars":
        return money_text(run, value)
    return score_text(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
