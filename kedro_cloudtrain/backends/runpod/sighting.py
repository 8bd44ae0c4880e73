"""What the lists of pods have shown of one pod."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.clock import now_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro_cloudtrain.backends.runpod.contract import Pod

# An uptime is in whole seconds, and a list takes a moment to arrive.
_UPTIME_ERROR_S = 2.0


@dataclasses.dataclass
class Sighting:
    """One pod as the lists have shown it; times are by the clock of `clock.py`, which goes on while this computer is asleep.

    Attributes:
        pod: the pod in the latest list that had it; None before the first.
        missing: how many lists in a row did not have it.
        running_since: when its container first started, by the first uptime that was seen.
        started_at: when its container last started, by its uptime.
        restarts: how often its container has started again.
        running_members: the most of a cluster's members that ran in one list.
        short_lists: how many lists in a row had fewer of them; a single one may have left a member out.
        released_at: when its job was done.
        unwanted_at: when it was first to be terminated.
        ended_at: when RunPod last answered that it is terminated.
        usd_per_hour: its price, the highest that was shown.
        is_paid_for: returns whether it may live on at a price, in dollars per hour; asks nobody for that.
        on_gone: called once the pod is gone.
        on_stays: called once if RunPod does not terminate the pod though its job is done.
    """

    name: str
    added_at: float
    pod: Pod | None = None
    missing: int = 0
    running_since: float | None = None
    started_at: float | None = None
    restarts: int = 0
    running_members: int = 0
    short_lists: int = 0
    released_at: float | None = None
    unwanted_at: float | None = None
    ended_at: float | None = None
    usd_per_hour: float = 0.0
    is_paid_for: Callable[[float], bool] | None = None
    on_gone: Callable[[], None] | None = None
    on_stays: Callable[[], None] | None = None

    @property
    def may_be_forgotten(self) -> bool:
        """Whether a list without the pod means that it is gone: RunPod has ended it, or it was listed before."""
        return self.ended_at is not None or self.pod is not None

    @property
    def has_ended(self) -> bool:
        """Whether the pod is listed as ended, or two lists in a row lacked a machine of its cluster."""
        return self.has_lost_machine or (self.pod is not None and self.pod.has_ended)

    @property
    def has_lost_machine(self) -> bool:
        """Whether a machine of a cluster no longer runs. One may be lost before the last one runs."""
        return self.short_lists > 1

    @property
    def is_unpaid(self) -> bool:
        """Whether the limits do not pay for it any longer, and it is not being ended yet."""
        is_used = self.released_at is None and self.unwanted_at is None
        return is_used and self.is_paid_for is not None and not self.is_paid_for(self.usd_per_hour)

    def update(self, pod: Pod | None) -> None:
        """Take over the pod as one list has it; None if the list does not have it."""
        if pod is None or pod.status == "TERMINATED":
            self.missing += 1
            return
        self.missing = 0
        self.usd_per_hour = max(self.usd_per_hour, pod.cost)
        self.short_lists = self.short_lists + 1 if pod.running_members < self.running_members else 0
        self.running_members = max(self.running_members, pod.running_members)
        if pod.runtime is not None:
            started_at = now_s() - pod.runtime.uptime
            if self.running_since is None or self.started_at is None:
                self.running_since = self.started_at = started_at
            # A container that loops has an uptime near zero in each list: what proves a restart is that the uptime has not grown.
            elif started_at > self.started_at + _UPTIME_ERROR_S:
                self.started_at = started_at
                self.restarts += 1
        self.pod = pod
