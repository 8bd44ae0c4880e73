"""What a job took, stage by stage: seconds, rows, bytes, dollars."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.jobs.result import JobState

STAGES = ("render", "start", "environment", "read", "fit", "save")


@dataclasses.dataclass(frozen=True)
class MachineUse:
    """What one pod was used for, and for how much.

    Attributes:
        pod: its id; empty where it never was.
        machine: the kind of machine: `NVIDIA L4`.
        usd_per_hour: its price.
        seconds: from its creation until it was gone.
        cost_usd: dollars.
        ended: what became of it: `done`, `vanished`, `never started`, …
    """

    pod: str
    machine: str
    usd_per_hour: float
    seconds: float
    cost_usd: float
    ended: str


@dataclasses.dataclass(frozen=True)
class Receipt:
    """One job's account.

    Attributes:
        node: the node's name.
        job: the job's name, which is its folder's.
        where: the backend.
        state: how it ended.
        seconds: by stage: `render` (here), `start` (until the script's first line has run), `environment` (packages, on a pod), `read`,
            `fit` (or the `call` of a function), `save`.
        total_s: from the first to the last, in seconds.
        rows: rows read; None where the job did not get there.
        bytes_read: what the machine took from the source.
        bytes_passed: what went through this process, the outputs that the catalog saved not counted.
        machines: what was paid for, a pod each, the ones that were lost first.
    """

    node: str
    job: str
    where: str
    state: JobState
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    total_s: float = 0.0
    rows: int | None = None
    bytes_read: int | None = None
    bytes_passed: int = 0
    machines: tuple[MachineUse, ...] = ()

    @property
    def cost_usd(self) -> float | None:
        """Dollars; None where nothing is to be paid."""
        return sum(machine.cost_usd for machine in self.machines) if self.machines else None
