"""The tables of runs, of one run's nodes, of a comparison and of costs."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.text import Text

from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.rehearsed import OF_PLAY_MONEY
from kedro_cloudtrain.running.display import STATE_STYLES, state_word
from kedro_cloudtrain.running.fitted_table import Column, FittedTable
from kedro_cloudtrain.runs.record import RunState
from kedro_cloudtrain.runs.scores import main_score
from kedro_cloudtrain.terminal import plain_text
from kedro_cloudtrain.wording import counted, duration, score_text, usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kedro_cloudtrain.runs.comparison import Comparison, Line
    from kedro_cloudtrain.runs.costs import CostGroup
    from kedro_cloudtrain.runs.record import NodeRecord, RunRecord

_RUN_STYLES = {RunState.SUCCEEDED: "green", RunState.FAILED: "red", RunState.INTERRUPTED: "yellow"}
# A run of more trainings has its scores in `show`.
_MOST_SCORES = 3
_BEST = " ✓"


def runs_table(records: Iterable[RunRecord]) -> FittedTable:
    """Lay runs out as a table: id, state, pipeline, nodes by what became of them, main scores, seconds, dollars, commit."""
    ranks = {"state": 0, "pipeline": 2, "nodes": 1, "scores": 1, "time": 0, "cost": 0, "env": 3, "commit": 3, "by": 4}
    right = {"time", "cost"}
    table = FittedTable(Column("run"), *(Column(name, right=name in right, rank=rank) for name, rank in ranks.items()))
    for record in records:
        table.add_row(
            record.id,
            Text(f"{record.state}, rehearsed" if record.rehearsed else str(record.state), _RUN_STYLES.get(record.state, "")),
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
        "run": f"{record.id}  {record.state}",
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
    """Lay a run's nodes out as a table: state, what was trained, machine, main score, seconds, dollars, where the outputs went."""
    ranks = {"state": 0, "model": 1, "where": 3, "score": 0, "wait": 4, "time": 0, "cost": 0, "outputs": 5, "job": 6}
    right = {"wait", "time", "cost"}
    table = FittedTable(Column("node"), *(Column(name, right=name in right, rank=rank) for name, rank in ranks.items()))
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
    """Yield why nodes have failed or ran, and what to do next."""
    for node in record.nodes:
        if node.error:
            yield plain_text(f"{node.node}: {node.error}")
        lost = [machine for machine in node.machines if machine.ended not in ("done", "")]
        if lost:
            yield f"{node.node}: {counted(len(lost), 'pod')} lost ({', '.join(machine.ended for machine in lost)})"
    if record.state is RunState.DETACHED:
        yield "Its jobs were left running. The same run again, without detach, takes their results."


def comparison_table(comparison: Comparison) -> FittedTable:
    """Lay a comparison out as a table: a column a run, the better of its scores marked."""
    table = FittedTable(Column(""), *(Column(run.id, right=True) for run in comparison.runs))
    parts = (comparison.facts, comparison.parameters, comparison.data, comparison.scores, comparison.costs)
    for number_of_part, lines in enumerate(part for part in parts if part):
        if number_of_part:
            table.add_row("", *("" for _ in comparison.runs))
        for line in lines:
            table.add_row(line.name, *_cells(line))
    return table


def costs_table(groups: Sequence[CostGroup], by: str) -> FittedTable:
    """Lay costs out as a table with a total: runs, pods, hours, dollars by price and time, and by RunPod's bill."""
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
            parts.append(f"billed {usd(billed)}, {_difference(sum(differences))} for the pods that are")
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


def _cells(line: Line) -> list[Text]:
    cells = [Text(_shown(line, value)) for value in line.values]
    for place in line.best:
        cells[place] = Text(f"{cells[place].plain}{_BEST}", "green")
    return cells


def _shown(line: Line, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, float) and line.name == "seconds":
        return duration(value)
    if isinstance(value, float) and line.name == "dollars":
        return usd(value)
    return score_text(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
