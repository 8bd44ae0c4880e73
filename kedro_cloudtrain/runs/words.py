"""The words for what a record has: a run's state, its dollars, and what became of a pod."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kedro_cloudtrain.rehearsed import OF_PLAY_MONEY
from kedro_cloudtrain.wording import counted, usd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_cloudtrain.runs.record import MachineRecord, NodeRecord, RunRecord

# What a record has where a pod was ended on purpose, or with its job: the end of a sentence about the pod. All else is how it was lost.
_ENDED: dict[str, str] = {
    "jobfailed": "its job failed",
    "hyperparameter": "its job failed",
    "source": "its job failed",
    "config": "its job failed",
    "jobtimeout": "its job was at its deadline",
    "jobcancelled": "its job was cancelled",
    "cancelled": "its job was cancelled",
    "jobpruned": "its job was ended by the search that had asked for it",
    "budgetexceeded": "a limit in dollars was reached",
    "disk": "this computer's disk did not take its outputs",
}
# An error's class without `Error`, in small letters, as a record has it where the run itself could not go on with a pod.
_ONE_WORD = re.compile(r"[a-z_]+")
_NO_NAMES = {"vanished": "it vanished", "joblost": "it left no result", "unsigned": "its output was not signed"}
_DIGITS_OF_ID = re.compile(r"-[0-9a-f]{6}$")
# A pipeline that nobody has named.
_DEFAULT = "__default__"


def state_text(record: RunRecord) -> str:
    """Return a run's state: `done`, `done, rehearsed`."""
    return f"{record.state}, rehearsed" if record.rehearsed else str(record.state)


def money_text(record: RunRecord, dollars: float | None) -> str:
    """Return dollars of a run; those of a rehearsal as play money, and a dash where nothing was paid for."""
    return "–" if dollars is None else f"{usd(dollars)}{OF_PLAY_MONEY if record.rehearsed else ''}"


def title_of(record: RunRecord) -> str:
    """Return what a run is called: its project, and its pipeline where that is not the default one."""
    name = project_name(record.project)
    return record.pipeline if not name else name if record.pipeline == _DEFAULT else f"{name}, {record.pipeline}"


def project_name(project_id: str) -> str:
    """Return a project's name without the digits that tell it from others of that name."""
    return _DIGITS_OF_ID.sub("", project_id)


def was_lost(machine: MachineRecord) -> bool:
    """Return whether a pod was lost: it neither did its job nor was ended with it."""
    return machine.ended not in ("", "done") and machine.ended not in _ENDED


def end_text(machine: MachineRecord) -> str:
    """Return what became of a pod, as a table has it: `done`, `its job failed`, `lost: it vanished`."""
    if machine.ended in ("", "done"):
        return machine.ended
    return f"lost: {_loss(machine)}" if was_lost(machine) else _ENDED[machine.ended]


def ends(node: NodeRecord) -> Iterator[str]:
    """Yield what became of those of a node's pods that did not do their job, a sentence for each kind of end."""
    lost = [machine for machine in node.machines if was_lost(machine)]
    if lost:
        yield f"{counted(len(lost), 'pod')} lost ({'; '.join(dict.fromkeys(map(_loss, lost)))})"
    ended = [_ENDED[machine.ended] for machine in node.machines if machine.ended in _ENDED]
    for reason in dict.fromkeys(ended):
        yield f"{counted(ended.count(reason), 'pod')} ended, since {reason}"


def _loss(machine: MachineRecord) -> str:
    if machine.ended in _NO_NAMES:
        return _NO_NAMES[machine.ended]
    # What its error's class is called is nothing to a reader.
    return "the run could not go on with it" if _ONE_WORD.fullmatch(machine.ended) else machine.ended.rstrip(".")
