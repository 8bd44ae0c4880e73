"""What a job's folder shows of it: its script, its parameters, the end of its log, its rounds, its metrics in pictures."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.result import JobProgress
from kedro_cloudtrain.jobs.volume_file import bounded_bytes, parsed
from kedro_cloudtrain.runs.scores import best_round
from kedro_cloudtrain.secrecy import redacted
from kedro_cloudtrain.terminal import plain_text
from kedro_cloudtrain.worker.protocol import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.runs.record import RunRecord

# The points of a curve: a page of 200 nodes stays small.
_MOST_POINTS = 160
_LOG_LINES = 60
_MOST_SCRIPT_CHARACTERS = 20_000
_MOST_CLASSES = 40
_MOST_FEATURES = 25
_DIGITS = 5
# What is shown of the spec of a function's job or of a prediction's.
_SHOWN_OF_SPEC = ("function", "arguments", "predicts_by", "keep", "save")


@dataclasses.dataclass(frozen=True)
class Curve:
    """What was measured after each round, thinned out; the best round stays.

    Attributes:
        rounds: the numbers of the rounds.
        metrics: by name, a value for each of them.
        best: the round that was best by the validation rows; None where it is not known.
    """

    rounds: tuple[int, ...]
    metrics: Mapping[str, tuple[float | None, ...]]
    best: int | None = None


@dataclasses.dataclass(frozen=True)
class JobView:
    """A job, as a person looks at it.

    Attributes:
        script: `train.py`.
        parameters: what `job.json` has of its parameters, as JSON to read.
        log: the end of its log.
        curve: its rounds; None where it has none.
        confusion: the classes and the rows of the confusion matrix; None for a regression.
        importance: features and how much each counts, the highest first.
    """

    script: str = ""
    parameters: str = ""
    log: str = ""
    curve: Curve | None = None
    confusion: tuple[tuple[str, ...], tuple[tuple[float, ...], ...]] | None = None
    importance: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, folder: JobFolder) -> JobView:
        """Return what a job's folder shows; what is missing or broken is left out."""
        return cls(
            script=_public(_text(bounded_bytes(folder.script, _MOST_SCRIPT_CHARACTERS))),
            parameters=_parameters(folder),
            log=_public("\n".join(folder.log_tail(_LOG_LINES))),
            curve=_curve(folder),
            confusion=_confusion(folder),
            importance=_importance(folder),
        )


def views_of(record: RunRecord, project: Path) -> dict[str, JobView]:
    """Return what the folders of a run's jobs show, by the job's name; those that are not on this computer are left out.

    Args:
        record: the run.
        project: the project's folder.
    """
    folders = {node.job: project / node.folder for node in record.nodes if node.job and node.folder}
    return {job: JobView.of(JobFolder(path)) for job, path in folders.items() if path.is_dir()}


def _public(text: str) -> str:
    return redacted(plain_text(text))


def _text(content: bytes | None) -> str:
    return (content or b"").decode(errors="replace")


def _parameters(folder: JobFolder) -> str:
    spec = folder.read_json(folder.spec) or {}
    values = spec.get("parameters") or {name: spec[name] for name in _SHOWN_OF_SPEC if name in spec}
    return _public(json.dumps(values, indent=2, ensure_ascii=False, default=str)) if values else ""


def _curve(folder: JobFolder) -> Curve | None:
    """Return the curve of a fit; of a cross-validation, the mean of its folds."""
    metrics = _output(folder, "metrics")
    is_folded = isinstance(metrics, dict) and "folds" in metrics
    rounds = _mean_rounds(folder) if is_folded else _rounds(folder)
    steps = sorted(rounds)
    if not steps:
        return None
    names = dict.fromkeys(name for values in rounds.values() for name in values)
    if not names:
        return None  # the pieces of a prediction, of which nothing is measured
    best = best_round({name: {step: values.get(name) for step, values in rounds.items()} for name in names})
    kept = _thinned(steps, best)
    return Curve(tuple(kept), {name: tuple(_rounded(rounds[step].get(name)) for step in kept) for name in names}, best)


def _rounds(folder: JobFolder) -> dict[int, Mapping[str, float | None]]:
    """Read the rounds of `progress.jsonl`; a resumed fit goes over some of them again, and the later line counts."""
    lines = (bounded_bytes(folder.progress) or b"").splitlines()
    return {line.step: line.metrics for text in lines if (line := parsed(JobProgress, text)) is not None and line.in_rounds}


def _mean_rounds(folder: JobFolder) -> dict[int, Mapping[str, float | None]]:
    """Read the history of a cross-validation, whose progress has the rounds of all fits in a row; empty without one."""
    rounds: dict[int, Mapping[str, float | None]] = {}
    for row in _output(folder, "history") or ():
        if isinstance(row, dict) and isinstance(row.get("round"), int):
            values = {name: value for name, value in row.items() if name != "round" and isinstance(value, int | float | None)}
            rounds[row["round"]] = values
    return rounds


def _thinned(steps: Sequence[int], best: int | None) -> list[int]:
    every = math.ceil(len(steps) / _MOST_POINTS)
    return [step for place, step in enumerate(steps) if place % every == 0 or step in (best, steps[-1])]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}")


def _output(folder: JobFolder, kind: str) -> Any:
    """Return an output that is JSON; None where there is none, or it is broken."""
    try:
        return json.loads(bounded_bytes(folder.path / OUTPUTS / f"{kind}.json") or b"null")
    except (ValueError, RecursionError):
        return None


def _confusion(folder: JobFolder) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]] | None:
    metrics = _output(folder, "metrics")
    if not isinstance(metrics, dict):
        return None
    classes, matrix = metrics.get("classes"), metrics.get("confusion_matrix")
    if not isinstance(classes, list) or not isinstance(matrix, list) or not 0 < len(classes) <= _MOST_CLASSES:
        return None
    try:
        rows = tuple(tuple(float(cell) for cell in row) for row in matrix)
    except (TypeError, ValueError):
        return None
    is_square = len(rows) == len(classes) and all(len(row) == len(classes) for row in rows)
    return (tuple(plain_text(str(name)) for name in classes), rows) if is_square else None


def _importance(folder: JobFolder) -> tuple[tuple[str, float], ...]:
    rows = _output(folder, "importance")
    if not isinstance(rows, list):
        return ()
    pairs = [(row.get("feature"), row.get("importance")) for row in rows if isinstance(row, dict)]
    importances = [
        (plain_text(str(name)), float(value)) for name, value in pairs if isinstance(value, int | float) and math.isfinite(value)
    ]
    return tuple(sorted(importances, key=lambda pair: -pair[1])[:_MOST_FEATURES])
