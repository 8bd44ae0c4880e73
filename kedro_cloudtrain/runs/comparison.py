"""Runs side by side: what was set differently, what each node scored, which data differs, and what it cost."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.runs.scores import best_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_cloudtrain.runs.record import NodeRecord, RunRecord


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
        facts: commit, environment and the like, where they differ.
        costs: seconds and dollars.
    """

    runs: tuple[RunRecord, ...]
    parameters: tuple[Line, ...]
    scores: tuple[Line, ...]
    data: tuple[Line, ...]
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
        }
        costs: dict[str, list[Any]] = {"seconds": [run.seconds for run in runs], "dollars": [run.cost_usd for run in runs]}
        scores = _of_nodes(runs, lambda node: node.scores)
        return cls(
            tuple(runs),
            tuple(line for line in parameters if line.differs),
            tuple(dataclasses.replace(line, best=_best(line)) for line in scores),
            tuple(line for line in _of_nodes(runs, lambda node: node.data) if line.differs),
            tuple(line for name, values in facts.items() if (line := Line(name, tuple(values))).differs),
            tuple(Line(name, tuple(values)) for name, values in costs.items() if any(value is not None for value in values)),
        )

    def json(self) -> dict[str, Any]:
        """Return the comparison as plain JSON; `best` has the places of the better values, counted from 0."""
        parts = {"parameters": self.parameters, "scores": self.scores, "data": self.data, "facts": self.facts, "costs": self.costs}
        return {
            "version": 1,
            "runs": [run.id for run in self.runs],
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


def _best(line: Line) -> frozenset[int]:
    known = {place: value for place, value in enumerate(line.values) if value is not None}
    return frozenset(best_of(line.name.rpartition(".")[2], known))
