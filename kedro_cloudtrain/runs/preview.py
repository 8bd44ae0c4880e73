"""What Kedro-Viz shows of a training node: the receipt of its latest job, and its script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_cloudtrain.runs.job_view import views_of
from kedro_cloudtrain.runs.ledger import RunLedger
from kedro_cloudtrain.runs.scores import main_score
from kedro_cloudtrain.runs.words import money_text
from kedro_cloudtrain.terminal import plain_text
from kedro_cloudtrain.wording import duration, score_text

if TYPE_CHECKING:
    from pathlib import Path

    from kedro_cloudtrain.runs.record import NodeRecord, RunRecord

# So many of the latest runs are looked through.
_MOST_RUNS = 50


def node_text(project: Path, name: str) -> str:
    """Return the receipt of a node's latest job as comments, and its script.

    Args:
        project: the project's folder.
        name: the node's name; in a pipeline that was given a namespace, the node has that before its name.
    """
    latest = _latest(RunLedger(project), name)
    if latest is None:
        return f"# {name} has not run yet. Its script before a run: kedro cloudtrain render {name}"
    record, node = latest
    view = views_of(record, project).get(node.job)
    script = view.script if view is not None and view.script else "# Its folder is gone: the volume is elsewhere, or the job was cleaned."
    return "\n".join([*(f"# {plain_text(line)}" for line in _receipt(record, node)), "", script])


def _latest(ledger: RunLedger, name: str) -> tuple[RunRecord, NodeRecord] | None:
    for run in ledger.ids()[:_MOST_RUNS]:
        record = ledger.read(run)
        nodes = [node for node in record.nodes if node.job and (node.node == name or node.node.endswith(f".{name}"))] if record else []
        if record is not None and len(nodes) == 1:
            return record, nodes[0]
    return None


def _receipt(record: RunRecord, node: NodeRecord) -> list[str]:
    score = main_score(node.scores)
    stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in node.seconds.items() if seconds >= 0.05)  # noqa: PLR2004  # shown as 0.1
    parts = [
        node.state if node.state != "succeeded" else "done",
        f"{score[0]} {score_text(score[1])}" if score else "",
        duration(node.total_s),
    ]
    return [
        f"{node.node} in run {record.id}",
        ", ".join(part for part in (*parts, money_text(record, node.cost_usd) if node.machines else "", node.device) if part),
        *([stages] if stages else []),
        *([f"why: {node.why}"] if node.why else []),
        *([f"error: {node.error}"] if node.error else []),
    ]
