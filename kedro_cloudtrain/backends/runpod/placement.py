"""A pod that has a job."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.clock import now_s

if TYPE_CHECKING:
    from kedro_cloudtrain.backends.runpod.offers import Candidate


@dataclasses.dataclass
class Placement:
    """A pod that has a job.

    Attributes:
        pod_id: the pod's id.
        name: the pod's unique name.
        attempt: the attempt's eight digits, as in the job's files.
        candidate: the kind of machine.
        usd_per_hour: the pod's price, the highest that RunPod has shown.
        lifetime_s: when the pod's own watchdog terminates it, in seconds from its start; a price that rises shortens it.
        created_at: when it was created, by the clock that goes on while this computer is asleep.
        startup_timeout_s: when it is given up if it has not started, in seconds from when it is first followed.
        is_too_dear: whether its price was found to be over a limit, so that it must end.
    """

    pod_id: str
    name: str
    attempt: str
    candidate: Candidate
    usd_per_hour: float
    lifetime_s: float
    created_at: float
    startup_timeout_s: float
    is_too_dear: bool = False

    @property
    def cost_usd(self) -> float:
        """Its cost so far, in dollars; the worst case, since it counts from the creation."""
        return self.cost_at(self.usd_per_hour)

    def cost_at(self, usd_per_hour: float) -> float:
        """Return its cost so far, in dollars, if all its time is billed at a price."""
        return (now_s() - self.created_at) / 3600 * usd_per_hour
