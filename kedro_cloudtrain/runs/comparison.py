"""Runs side by side: what was set differently, what each node scored, which data differs, and what it cost."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.runs.scores import best_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_cloudtrain.runs.record import NodeRecord, RunRecord

# What stands for the identity of an input that has none.
_UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Line:
    """One thing, as each run has it.

    Attributes:
        name: what it is: a dotted parameter, `node.score`, `node.dataset`.
        values: one for each run; None where a run does not have it.
        best: the places of the best of them; none where no value is better than another.
    """

    name: str
    values: tuple[Any, ...]
    best: frozenset[int] = frozenset()

    @property
    def differs(self) -> bool:
        """Whether not all runs have the same value."""
        return any(value != self.values[0] for value in self.values)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: the runs.
        parameters: those that differ.
        scores: all that any run has, the better ones marked.
        data: the inputs that differ, by a digest of their identity.
        incomparable: the inputs of which nobody knows whether they differ: their identities are of different kinds, such as a file's time
            here and an ETag on a volume.
        facts: commit, environment and the like, where they differ.
        costs: seconds and dollars.
    """

    runs: tuple[RunRecord, ...]
    parameters: tuple[Line, ...]
    scores: tuple[Line, ...]
    data: tuple[Line, ...]
    incomparable: tuple[Line, ...]
    facts: tuple[Line, ...]
    costs: tuple[Line, ...]

    @classmethod
    def of(cls, runs: Sequence[RunRecord]) -> Comparison:
        """Compare runs."""
        names = dict.fromkeys(name for run in runs for name in run.parameters)
        parameters = [Line(name, tuple(run.parameters.get(name) for run in runs)) for name in sorted(names)]
        facts: dict[str, list[Any]] = {
            "pipeline": [run.pipeline for run in runs],
            "environment": [run.env for run in runs],
            "backend": [run.backend for run in runs],
            "commit": [None if run.git is None else str(run.git) for run in runs],
            "state": [str(run.state) for run in runs],
            "rehearsed": [run.rehearsed for run in runs],
        }
        costs: dict[str, list[Any]] = {"seconds": [run.seconds for run in runs], "dollars": [run.cost_usd for run in runs]}
        scores = _of_nodes(runs, lambda node: node.scores)
        inputs = [line for line in _of_nodes(runs, lambda node: node.data) if line.differs or None in _kinds(line, runs)]
        differing = [line for line in inputs if _is_known_to_differ(line, runs)]
        return cls(
            tuple(runs),
            tuple(line for line in parameters if line.differs),
            tuple(dataclasses.replace(line, best=_best(line)) for line in scores),
            tuple(differing),
            tuple(line for line in inputs if line not in differing),
            tuple(line for name, values in facts.items() if (line := Line(name, tuple(values))).differs),
            tuple(Line(name, tuple(values)) for name, values in costs.items() if any(value is not None for value in values)),
        )

    def json(self) -> dict[str, Any]:
        """Return the comparison as plain JSON; `best` has the places of the better values, counted from 0."""
        parts = {
            "parameters": self.parameters,
            "scores": self.scores,
            "data": self.data,
            "incomparable": self.incomparable,
            "facts": self.facts,
            "costs": self.costs,
        }
        return {
            "version": 1,
            "runs": [run.id for run in self.runs],
            "rehearsed": [run.rehearsed for run in self.runs],
            **{
                part: [{"name": line.name, "values": list(line.values), "best": sorted(line.best)} for line in lines]
                for part, lines in parts.items()
            },
        }


def _of_nodes(runs: Sequence[RunRecord], values: Callable[[NodeRecord], dict[str, Any]]) -> list[Line]:
    """Return a line for each of the nodes' values, in the order of the nodes."""
    names = dict.fromkeys((node.node, name) for run in runs for node in run.nodes for name in values(node))
    lines = []
    for node_name, name in names:
        nodes = [run.node(node_name) for run in runs]
        lines.append(Line(f"{node_name}.{name}", tuple(None if node is None else values(node).get(name) for node in nodes)))
    return lines


def _kinds(line: Line, runs: Sequence[RunRecord]) -> list[str | None]:
    """Return the kind of each run's identity of an input: only those of one kind can be compared. None where it has none."""
    return [None if value in (None, _UNKNOWN) else _kind(value, run) for value, run in zip(line.values, runs, strict=True)]


def _kind(identity: str, run: RunRecord) -> str:
    kind = identity.rpartition(":")[0]
    # A record of an older release does not say what an identity was made of, and a file's time is the file's own on each volume.
    return f"{kind} {run.backend} {run.volume}" if kind in ("", "time") else kind


def _is_known_to_differ(line: Line, runs: Sequence[RunRecord]) -> bool:
    """Return whether two runs have different identities of the same kind, or one of them does not have the input."""
    if None in line.values:
        return True
    values: dict[str | None, set[Any]] = {}
    for value, kind in zip(line.values, _kinds(line, runs), strict=True):
        values.setdefault(kind, set()).add(value)
    return any(len(each) > 1 for each in values.values())


def _best(line: Line) -> frozenset[int]:
    values = {place: value for place, value in enumerate(line.values) if value is not None}
    return frozenset(best_of(line.name.rpartition(".")[2], values))
