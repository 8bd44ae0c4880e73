"""The page of a run: one HTML file that needs no network, with what a person wants to see of it, failures first."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.rehearsed import OF_PLAY_MONEY
from kedro_cloudtrain.runs import figures
from kedro_cloudtrain.runs.record import RunState
from kedro_cloudtrain.runs.scores import best_of, main_score
from kedro_cloudtrain.runs.words import end_text, state_text
from kedro_cloudtrain.storage.files import whole
from kedro_cloudtrain.wording import counted, duration, score_text, size, usd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.runs.job_view import JobView
    from kedro_cloudtrain.runs.record import NodeRecord, RunRecord

_WELL = ("succeeded", "reused", "running", "waiting")
_WORDS = {"succeeded": "done", "waiting": "not run"}


@dataclasses.dataclass(frozen=True)
class NodeView:
    """A node, as the page shows it.

    Attributes:
        record: what became of it.
        word: its state in a user's word.
        tone: `good`, `bad` or `idle`.
        score: the name and the text of its main score; None where it has none.
        compared: how the score stands beside the best of earlier runs: `best so far`, `best was 0.98`; empty without any.
        job: what its job's folder shows; None without a job, or where the folder is gone.
        figures: its figures, by title.
    """

    record: NodeRecord
    word: str
    tone: str
    score: tuple[str, str] | None
    compared: str
    job: JobView | None
    figures: Mapping[str, figures.Figure]


def render_page(record: RunRecord, earlier: Sequence[RunRecord] = (), jobs: Mapping[str, JobView] | None = None) -> str:
    """Render the page of a run.

    Args:
        record: the run.
        earlier: the runs before it, the latest first, whose scores stand beside its own.
        jobs: what the folders of its jobs show, by the job's name; of a job whose folder is gone the page has the record alone.

    Raises:
        ConfigError: plotly is not installed.

    Example:
        ```python
        Path("report.html").write_text(render_page(RunLedger(project).find("latest")))
        ```
    """
    jobs = jobs or {}
    nodes = [_view(node, record, earlier, jobs.get(node.job)) for node in record.nodes]
    nodes.sort(key=lambda node: node.tone != "bad")  # what has failed comes first
    timeline = figures.timeline(record)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"seconds": duration, "size": size, "usd": usd, "moment": _moment, "json": _script_json, "end": end_text}
    environment.filters["breakable"] = _breakable
    template = resources.files("kedro_cloudtrain.runs").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        run=record,
        state=state_text(record),
        of_play_money=OF_PLAY_MONEY if record.rehearsed else "",
        money="play money" if record.rehearsed else "cost",
        is_well=record.state is RunState.SUCCEEDED,
        nodes=nodes,
        failed=[node for node in nodes if node.tone == "bad"],
        counts=_counts(nodes),
        timeline=timeline,
        dollars=figures.dollars(record),
        gpu_use=figures.gpu_use(record),
        # What the client spends on a node is nothing to a reader.
        stages=[name for name in figures.STAGES if name != "render" and any(node.record.seconds.get(name) for node in nodes)],
        colours={trace["name"]: trace["marker"]["color"] for trace in timeline["data"]},
        has_costs=any(node.record.machines for node in nodes),
        missing=[node.record.job for node in nodes if node.record.job and node.job is None],
        plotly=_plotly(),
    )


def write_page(file: Path, record: RunRecord, earlier: Sequence[RunRecord] = (), jobs: Mapping[str, JobView] | None = None) -> None:
    """Write the page of a run to a file, whole or not at all.

    Raises:
        ConfigError: plotly is not installed.
        DiskError: the file cannot be written.
    """
    page = render_page(record, earlier, jobs)
    with whole(file) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _view(node: NodeRecord, record: RunRecord, earlier: Sequence[RunRecord], job: JobView | None) -> NodeView:
    score = main_score(node.scores)
    drawn: dict[str, figures.Figure | None] = {}
    if job is not None:
        drawn["Rounds"] = None if job.curve is None else figures.curve(job.curve)
    drawn["Scores over runs"] = figures.scores(node, [*reversed(earlier), record])
    if job is not None:
        drawn["Confusion matrix"] = None if job.confusion is None else figures.confusion(*job.confusion)
        drawn["Importance of features"] = figures.importance(job.importance) if job.importance else None
    return NodeView(
        node,
        _WORDS.get(node.state, node.state),
        "idle" if node.state in ("waiting", "running") else "good" if node.state in _WELL else "bad",
        None if score is None else (score[0], score_text(score[1])),
        "" if score is None else _compared(node.node, *score, earlier),
        job,
        {title: figure for title, figure in drawn.items() if figure is not None},
    )


def _compared(node: str, name: str, value: float, earlier: Sequence[RunRecord]) -> str:
    """Return how a score stands beside those of earlier runs."""
    records = [record.node(node) for record in earlier]
    others = [other.scores[name] for other in records if other is not None and name in other.scores]
    if not others:
        return ""
    values = dict(enumerate([value, *others]))
    best = best_of(name, values)
    if not best:
        return f"before: {score_text(others[0])}" if set(others) != {value} else "as before"
    return "best so far" if 0 in best else f"best was {score_text(values[min(best)])}"


def _counts(nodes: Sequence[NodeView]) -> str:
    words = [node.word for node in nodes if node.record.kind != "group"]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)) or counted(0, "node")


def _moment(seconds: float | None) -> str:
    return "–" if seconds is None else f"{dt.datetime.fromtimestamp(seconds, tz=dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _breakable(name: str) -> Markup:
    """Return a name that a browser may wrap behind its dots and underscores."""
    return Markup(re.sub(r"([._])(?=[^._])", r"\1<wbr>", str(escape(name))))  # noqa: S704  # escaped, and only tags are added


def _script_json(value: Any) -> str:
    """Return JSON that may stand within a `script` element: nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704  # no character of it ends the element


def _plotly() -> str:
    """Return plotly's library for a page.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ConfigError('The page of a run needs plotly: pip install "kedro-cloudtrain[viz]"') from error
    return Markup(get_plotlyjs())  # noqa: S704  # plotly's own, made to stand in a page
