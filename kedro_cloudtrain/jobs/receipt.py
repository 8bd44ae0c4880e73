"""What a job took: seconds by stage, rows, bytes, dollars."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.jobs.gpu_use import Point
    from kedro_cloudtrain.jobs.result import JobState

STAGES = ("render", "start", "environment", "read", "fit", "save")
BEFORE_WORK = STAGES[:3]


@dataclasses.dataclass
class MachineUse:
    """What one pod was used for, and for how much; its price, time and cost are final once it is gone, which may be after its job's end.

    Attributes:
        pod: its id; empty if it was never created.
        machine: the kind of machine: `NVIDIA L4`.
        usd_per_hour: its price.
        seconds: from its creation until it was gone.
        cost_usd: its cost in dollars.
        ended: what became of it: `done`, `vanished`, `never started`, …
    """

    pod: str
    machine: str
    usd_per_hour: float
    seconds: float
    cost_usd: float
    ended: str

    def so_far(self, seconds: float) -> MachineUse:
        """Return what the pod was used for at a time, in seconds."""
        return dataclasses.replace(self, seconds=seconds, cost_usd=seconds / 3600 * self.usd_per_hour)


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What one job took.

    Attributes:
        node: the node's name.
        job: the job's name, which is its folder's.
        where: the backend.
        state: how it ended.
        seconds: by stage: `render` (in this process), `start` (until the script's first line has run), `environment` (packages, on a
            pod), `read`, `fit` (or the `call` of a function), `save`; of a machine that was kept, `idle`: while it had no job.
        total_s: from the first stage to the last, in seconds.
        rows: the rows read; None if the job did not come so far.
        rows_per_s: the training rows that a fit went through in a second, once a round or an epoch.
        bytes_read: the bytes that the machine took from the sources.
        bytes_passed: the bytes that passed through this process, without the outputs that the catalog saved.
        machines: the pods to pay for, lost ones first.
        started_at: when the job began, after its wait for a slot, in seconds since 1970.
        waited_s: for how long it waited for a slot, in seconds.
        why: why it ran, or was reused.
        scores: the numbers among its metrics, by name.
        data: a digest of each input's identity.
        error: why it failed, in a line.
        folder: the job's folder on this computer.
        gpu_use: how busy its GPU was: seconds since its start, and percent.
        device: what has computed: `2 CPU cores`, or `NVIDIA L4, driver 570.86.10, CUDA 12.8, 87 % busy`; empty if nothing has.
    """

    node: str
    job: str
    where: str
    state: JobState
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    total_s: float = 0.0
    rows: int | None = None
    rows_per_s: float | None = None
    bytes_read: int | None = None
    bytes_passed: int = 0
    machines: tuple[MachineUse, ...] = ()
    device: str = ""
    started_at: float | None = None
    waited_s: float = 0.0
    why: str = ""
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)
    error: str = ""
    folder: str = ""
    gpu_use: tuple[Point, ...] = ()

    @property
    def worked_s(self) -> float:
        """The seconds of its own work, from reading to saving: jobs that share a machine differ by these, and not by when it began."""
        return sum(seconds for stage, seconds in self.seconds.items() if stage not in BEFORE_WORK)

    @property
    def cost_usd(self) -> float | None:
        """The cost in dollars; None if there is nothing to pay."""
        return sum(machine.cost_usd for machine in self.machines) if self.machines else None
