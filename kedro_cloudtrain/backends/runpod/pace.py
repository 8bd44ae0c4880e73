"""Polling intervals and timeouts for pods."""

from __future__ import annotations

import dataclasses

# A job's end is noticed after at most this share of its running time; a job that begins is looked at this many times as often.
_SHARE, _OFTEN = 0.1, 5


@dataclasses.dataclass(frozen=True)
class Pace:
    """The intervals and timeouts, all in seconds.

    Attributes:
        list_every_s: between two lists of all pods, if the account's quota leaves more than enough calls for them.
        offers_cached_s: how long prices and stock are remembered.
        result_every_s: between two looks for a job's result on the volume, which has no quota.
        progress_every_s: between two reads of a job's log and progress.
        heartbeat_every_s: between two heartbeats of a pod.
        heartbeat_lost_s: the silence after which a pod is given up; twelve heartbeats, since a volume may be slow.
        volume_silent_s: the time without an answer after which a volume, or RunPod's API, is considered lost.
        release_s: how long a pod whose job is done has to terminate itself before the client terminates it.
        deadline_grace_s: how long a pod's own watchdog has after the deadline before the client terminates the pod.
        claim_s: between a client's claim on a job and its check whether another client has claimed the job, too.
        claim_holds_s: how long the claim of a client that has not created a pod yet is respected.
        capacity_every_s: between two rounds of tries while no machine is free.
    """

    list_every_s: float = 5.0
    offers_cached_s: float = 20.0
    result_every_s: float = 0.5
    progress_every_s: float = 2.0
    heartbeat_every_s: float = 10.0
    heartbeat_lost_s: float = 120.0
    volume_silent_s: float = 600.0
    release_s: float = 20.0
    deadline_grace_s: float = 60.0
    capacity_every_s: float = 30.0
    claim_s: float = 0.7
    claim_holds_s: float = 60.0

    def look_again_s(self, most_s: float, ran_s: float) -> float:
        """Return in how many seconds a job is looked at again: the longer it has run, the later, and in `most_s` at most."""
        return min(most_s, max(self.result_every_s / _OFTEN, ran_s * _SHARE))
