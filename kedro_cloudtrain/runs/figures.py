"""The figures of a run's page, as plotly's JSON: a timeline, dollars and GPU use over time, scores over runs, curves, and the like."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.jobs.gpu_use import thinned
from kedro_cloudtrain.runs.scores import main_score
from kedro_cloudtrain.runs.words import was_lost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro_cloudtrain.runs.job_view import Curve
    from kedro_cloudtrain.runs.record import NodeRecord, RunRecord

Figure = dict[str, Any]

# What a node spends its time on, in order, each with its colour: waits are pale, what was lost is red, work is strong.
STAGES = {
    "waits for a slot": "#c7ced8",
    "lost": "#d64545",
    "render": "#a8b8cc",
    "start": "#8fb3d9",
    "environment": "#6f9fd8",
    "read": "#4f86c6",
    "fit": "#1f9d76",
    "call": "#1f9d76",
    "predict": "#1f9d76",
    "save": "#7fc8a9",
    "idle": "#e6dcc8",
    "runs here": "#8d7bb8",
    "rest": "#a59c8c",
}
# What is shorter is a matter of rounding.
_SHORTEST_REST_S = 0.05
_ROW_PX, _AROUND_PX = 26, 70
_LONGEST_LABEL = 26
_MOST_IN_LEGEND = 12
# The points of all jobs of a run together, and of one job of very many.
_MOST_POINTS, _FEWEST_POINTS = 10_000, 12
_BEST_COLOUR, _CAP_COLOUR = "#e8a13a", "#d64545"


def timeline(record: RunRecord) -> Figure:
    """Draw what each node did when: a bar a node, the first on top; waits, lost machines and stages in their colours."""
    traces: dict[str, dict[str, list[Any]]] = {}
    nodes = [node for node in record.nodes if node.started_at is not None and node.kind != "group"]
    for node in nodes:
        for stage, begins_s, lasts_s in _stages(node):
            trace = traces.setdefault(stage, {"y": [], "base": [], "x": [], "customdata": []})
            trace["y"].append(node.node)
            trace["base"].append(_moment(begins_s))
            trace["x"].append(round(lasts_s * 1000))  # on an axis of dates, a length is in milliseconds
            trace["customdata"].append(f"{lasts_s:.1f} s")
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": stage,
            "marker": {"color": colour},
            "hovertemplate": f"%{{y}}<br>{stage} %{{customdata}}<extra></extra>",
        }
        | traces[stage]
        for stage, colour in STAGES.items()
        if stage in traces
    ]
    names = [node.node for node in nodes]
    layout = {
        "barmode": "overlay",
        "height": _AROUND_PX + _ROW_PX * len(nodes),
        "yaxis": {
            "autorange": "reversed",
            "automargin": True,
            "type": "category",
            "categoryarray": names,
            "tickvals": names,
            "ticktext": labels(names),
        },
        "xaxis": {"type": "date"},
        "bargap": 0.35,
        "showlegend": False,
    }
    return {"data": data, "layout": layout}


def dollars(record: RunRecord) -> Figure | None:
    """Draw the dollars of a run over its time, against its limit; None where nothing was paid for."""
    spans = [span for node in record.nodes for span in _machine_spans(node, record)]
    if not spans:
        return None
    moments = sorted({moment for begins, ends, _ in spans for moment in (begins, ends)})
    spent = [sum(usd * min(1.0, max(0.0, moment - begins) / max(ends - begins, 1e-9)) for begins, ends, usd in spans) for moment in moments]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "spent",
            "x": [_moment(moment) for moment in moments],
            "y": [round(usd, 5) for usd in spent],
            "line": {"color": STAGES["fit"], "width": 3},
            "fill": "tozeroy",
        }
    ]
    if record.max_cost_usd is not None:
        ends = [_moment(moments[0]), _moment(moments[-1])]
        cap = {"x": ends, "y": [record.max_cost_usd] * 2, "line": {"color": _CAP_COLOUR, "dash": "dash"}}
        data.append({"type": "scatter", "mode": "lines", "name": "limit", **cap})
    return {"data": data, "layout": {"height": 260, "yaxis": {"tickprefix": "$", "rangemode": "tozero"}, "xaxis": {"type": "date"}}}


def gpu_use(record: RunRecord) -> Figure | None:
    """Draw how busy each job's GPU was over the run's time, a line a job; None where nothing is known of any."""
    nodes = [node for node in record.nodes if node.gpu_use is not None and node.gpu_use.points and node.started_at is not None]
    if not nodes:
        return None
    most = max(_FEWEST_POINTS, _MOST_POINTS // len(nodes))
    data = [
        {
            "type": "scatter",
            "mode": "lines" if len(points) > 1 else "markers",
            "name": label,
            "x": [_moment((node.started_at or 0.0) + at_s) for at_s, _ in points],
            "y": [percent for _, percent in points],
            "hovertemplate": "%{fullData.name}<br>%{y:.0f} %<extra></extra>",
        }
        for node, label in zip(nodes, labels([node.node for node in nodes]), strict=True)
        if (points := thinned(node.gpu_use.points if node.gpu_use is not None else [], most))
    ]
    layout = {
        "height": 260,
        "yaxis": {"ticksuffix": " %", "range": [0, 103]},
        "xaxis": {"type": "date"},
        "showlegend": 1 < len(data) <= _MOST_IN_LEGEND,
    }
    return {"data": data, "layout": layout}


def scores(node: NodeRecord, runs: Sequence[RunRecord]) -> Figure | None:
    """Draw a node's main score over the latest runs, this one last; None where no other run has it."""
    score = main_score(node.scores)
    if score is None:
        return None
    name = score[0]
    points = [
        (run.id, value) for run in runs if (other := run.node(node.node)) is not None and (value := other.scores.get(name)) is not None
    ]
    if len(points) < 2:  # noqa: PLR2004
        return None
    sizes = [7] * (len(points) - 1) + [12]
    line = {"color": STAGES["read"]}
    trace = {"x": [f"{run[5:10]} {run[11:16].replace('.', ':')}" for run, _ in points], "y": [value for _, value in points]}
    return {
        "data": [{"type": "scatter", "mode": "lines+markers", "name": name, **trace, "line": line, "marker": {"size": sizes}}],
        "layout": {"height": 220, "xaxis": {"type": "category"}, "yaxis": {"title": {"text": name}}},
    }


def curve(of: Curve) -> Figure:
    """Draw what was measured after each round, training rows dotted and validation rows solid, the best round marked."""
    data = []
    # Metrics of another scale would flatten the first one: a click on the legend shows them.
    first = next((name for name in of.metrics if name.startswith("validation_")), next(iter(of.metrics), "")).partition("_")[2]
    for name, values in of.metrics.items():
        part, _, metric = name.partition("_")
        line = {"dash": "dot" if part == "train" else "solid", "color": STAGES["read" if part == "train" else "fit"]}
        trace = {"name": f"{part} {metric}", "x": list(of.rounds), "y": list(values), "line": line}
        data.append({"type": "scatter", "mode": "lines", "visible": True if metric == first else "legendonly", **trace})
    layout: Figure = {"height": 300, "xaxis": {"title": {"text": "round"}, "rangemode": "tozero"}, "hovermode": "x unified"}
    if of.best is not None:
        line = {"color": _BEST_COLOUR, "dash": "dash"}
        label = {"text": f" best round {of.best} ", "showarrow": False, "yanchor": "top", "xanchor": "auto"}
        layout["shapes"] = [{"type": "line", "x0": of.best, "x1": of.best, "yref": "paper", "y0": 0, "y1": 1, "line": line}]
        layout["annotations"] = [{"x": of.best, "yref": "paper", "y": 1, **label}]
    return {"data": data, "layout": layout}


def confusion(classes: Sequence[str], rows: Sequence[Sequence[float]]) -> Figure:
    """Draw a confusion matrix: rows are the truth, columns what was predicted."""
    trace = {
        "type": "heatmap",
        "x": list(classes),
        "y": list(classes),
        "z": [list(row) for row in rows],
        "texttemplate": "%{z:.4~g}",
        "colorscale": [[0, "rgba(79,134,198,0.06)"], [1, "rgba(79,134,198,0.85)"]],
        "showscale": False,
        "hovertemplate": "truth %{y}<br>predicted %{x}<br>%{z}<extra></extra>",
    }
    axes = {
        "xaxis": {"title": {"text": "predicted"}, "type": "category", "automargin": True},
        "yaxis": {"title": {"text": "truth"}, "type": "category", "autorange": "reversed", "automargin": True},
    }
    return {"data": [trace], "layout": {"height": 180 + 34 * len(classes), **axes}}


def importance(pairs: Sequence[tuple[str, float]]) -> Figure:
    """Draw how much each feature counts, the highest on top."""
    trace = {"type": "bar", "orientation": "h", "y": [shortened(name) for name, _ in pairs], "x": [value for _, value in pairs]}
    layout = {"height": 90 + 22 * len(pairs), "yaxis": {"autorange": "reversed", "automargin": True, "type": "category"}}
    return {"data": [trace | {"marker": {"color": STAGES["read"]}}], "layout": layout}


def labels(names: Sequence[str]) -> list[str]:
    """Return a short label for each name: of a long one, first what most of the others have as well is left out, then its middle."""
    shared = Counter(part for name in names for part in set(name.split(".")))
    short = []
    for name in names:
        own = ".".join(part for part in name.split(".") if shared[part] * 2 <= len(names))
        short.append(shortened(name if len(name) <= _LONGEST_LABEL else own or name))
    # Two nodes must not look alike.
    return short if len(set(short)) == len(set(names)) else [shortened(name) for name in names]


def shortened(label: str) -> str:
    """Return a label that leaves room for what it labels: a long one keeps its beginning and its end."""
    return label if len(label) <= _LONGEST_LABEL else f"{label[:12]}…{label[-12:]}"


def _stages(node: NodeRecord) -> list[tuple[str, float, float]]:
    """Return what a node did: each stage with its beginning, in seconds since 1970, and its length."""
    begins = node.started_at or 0.0
    stages = [("waits for a slot", begins - node.waited_s, node.waited_s)] if node.waited_s > 0 else []
    seconds: Mapping[str, float] = node.seconds or {"runs here": node.total_s}
    # A job that failed or was cancelled has told of no stage, or of some; its time is its time all the same.
    parts = {**seconds, "rest": max(0.0, node.total_s - sum(seconds.get(stage, 0.0) for stage in STAGES))}
    parts["lost"] = sum(machine.seconds for machine in node.machines if was_lost(machine))
    parts["lost"] = min(parts["lost"], parts.get("start", 0.0) + parts["rest"])
    from_start = min(parts["lost"], parts.get("start", 0.0))
    parts["start"] = parts.get("start", 0.0) - from_start
    parts["rest"] -= parts["lost"] - from_start
    if parts["rest"] < _SHORTEST_REST_S:
        del parts["rest"]
    for stage in STAGES:
        if parts.get(stage, 0.0) > 0:
            stages.append((stage, begins, parts[stage]))
            begins += parts[stage]
    return stages


def _machine_spans(node: NodeRecord, record: RunRecord) -> list[tuple[float, float, float]]:
    """Return when each pod of a node was paid for, and what it cost: they follow one another, and the last ends with the node."""
    ends = node.finished_at or record.finished_at or 0.0
    spans = []
    for machine in reversed(node.machines):
        spans.append((ends - machine.seconds, ends, machine.cost_usd if machine.billed_usd is None else machine.billed_usd))
        ends -= machine.seconds
    return spans


def _moment(seconds: float) -> str:
    """Return a moment as plotly reads it: UTC, in milliseconds."""
    return dt.datetime.fromtimestamp(seconds, tz=dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
