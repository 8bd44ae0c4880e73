"""What runs have cost: dollars by node, pipeline, GPU or month, beside what RunPod has charged."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.runs.record import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from kedro_cloudtrain.runs.record import MachineRecord, NodeRecord, RunRecord

# RunPod's bill is about an hour late, and has an hour's use in a line: this long after its end, a pod's bill is complete.
_BILLED_AFTER_S = 2 * 3600.0

# What a group is called, by what is grouped by.
GROUPINGS: Mapping[str, Callable[[RunRecord, NodeRecord, MachineRecord], str]] = {
    "node": lambda _run, node, _machine: node.node,
    "pipeline": lambda run, _node, _machine: run.pipeline,
    "gpu": lambda _run, _node, machine: machine.machine,
    "month": lambda run, _node, _machine: f"{dt.datetime.fromtimestamp(run.started_at, tz=dt.UTC):%Y-%m}",
}


@dataclasses.dataclass
class CostGroup:
    """The pods of one group.

    Attributes:
        name: the node, the pipeline, the kind of machine or the month.
        runs: how many runs they belong to.
        pods: how many there were.
        hours: for how long they ran together.
        cost_usd: what they have cost by their prices and times, in dollars.
        billed_usd: what RunPod has charged for those whose bill is known.
        unbilled_usd: what the others have cost, by price and time.
    """

    name: str
    runs: int = 0
    pods: int = 0
    hours: float = 0.0
    cost_usd: float = 0.0
    billed_usd: float = 0.0
    unbilled_usd: float = 0.0

    @property
    def difference_usd(self) -> float | None:
        """By how much the bill exceeds what was counted for the same pods, in dollars; None where nothing is billed yet."""
        return None if not self.billed_usd else self.billed_usd - (self.cost_usd - self.unbilled_usd)


def costs(records: Iterable[RunRecord], by: str) -> list[CostGroup]:
    """Return what runs have cost, the dearest group first; a month after the other.

    Args:
        records: the runs.
        by: one of `GROUPINGS`.
    """
    name_of = GROUPINGS[by]
    groups: dict[str, CostGroup] = {}
    runs: dict[str, set[str]] = {}
    for run, node, machine in paid(records):
        name = name_of(run, node, machine)
        group = groups.setdefault(name, CostGroup(name))
        runs.setdefault(name, set()).add(run.id)
        group.runs, group.pods = len(runs[name]), group.pods + 1
        group.hours += machine.seconds / 3600
        group.cost_usd += machine.cost_usd
        if machine.billed_usd is None:
            group.unbilled_usd += machine.cost_usd
        else:
            group.billed_usd += machine.billed_usd
    ordered = groups.values()
    return sorted(ordered, key=lambda group: group.name) if by == "month" else sorted(ordered, key=lambda group: -group.cost_usd)


def paid(records: Iterable[RunRecord]) -> Iterator[tuple[RunRecord, NodeRecord, MachineRecord]]:
    """Yield each pod that was paid for, once: two runs may have waited for the same one. A rehearsal's play money does not count."""
    pods: set[str] = set()
    for run in records:
        for node in () if run.rehearsed else run.nodes:
            for machine in node.machines:
                if machine.pod and machine.pod in pods:
                    continue
                pods.add(machine.pod)
                yield run, node, machine


def reconcile(record: RunRecord, bills: Mapping[str, float]) -> bool:
    """Enter what RunPod has charged for the pods of a run; return whether anything is new.

    Args:
        record: the run's.
        bills: dollars by the pod's id.
    """
    ended_at = record.finished_at
    if ended_at is None and record.state is not RunState.RUNNING:
        # A killed client has noted no end: the last time at which it wrote its pods' cost counts.
        ended_at = max((node.started_at + node.total_s for node in record.nodes if node.started_at is not None), default=record.started_at)
    if record.rehearsed or ended_at is None or time.time() < ended_at + _BILLED_AFTER_S:
        return False
    changed = False
    for machine in record.machines:
        billed = bills.get(machine.pod)
        if billed is not None and billed != machine.billed_usd:
            machine.billed_usd, changed = billed, True
    return changed


def job_costs(records: Iterable[RunRecord]) -> dict[str, float]:
    """Return what each job's pods have cost, in dollars by the job's name, of those that cost anything."""
    dollars: dict[str, float] = {}
    for _, node, machine in paid(records):
        if node.job:
            dollars[node.job] = dollars.get(node.job, 0.0) + (machine.cost_usd if machine.billed_usd is None else machine.billed_usd)
    return dollars
