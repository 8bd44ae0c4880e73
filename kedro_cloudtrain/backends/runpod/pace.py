"""How often a pod is looked at, and how long its silence is borne."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Pace:
    """Seconds, all of them.

    Attributes:
        list_every_s: between two lists of all pods, where the account's quota leaves more than enough calls for that.
        catalogue_known_s: how long price and stock hold.
        result_every_s: between two looks for a job's result, on the volume, which has no quota.
        progress_every_s: between two looks at its log and its progress.
        heartbeat_every_s: between two heartbeats of the pod.
        heartbeat_lost_s: when a pod without one is given up; twelve beats, since a volume may be slow.
        volume_silent_s: when a volume that does not answer is taken for lost.
        farewell_s: when a pod whose job is done is ended from here; it ends itself before.
        deadline_grace_s: what the pod's own watchdog has before it is ended from here.
        claim_s: between a client's claim on a job and its look whether another one has claimed it, too.
        claim_holds_s: how long a claim of a client that has asked for no pod yet is respected.
        capacity_every_s: between two rounds of tries while no machine is free.
    """

    list_every_s: float = 5.0
    catalogue_known_s: float = 20.0
    result_every_s: float = 0.5
    progress_every_s: float = 2.0
    heartbeat_every_s: float = 10.0
    heartbeat_lost_s: float = 120.0
    volume_silent_s: float = 600.0
    farewell_s: float = 20.0
    deadline_grace_s: float = 60.0
    capacity_every_s: float = 30.0
    claim_s: float = 0.7
    claim_holds_s: float = 60.0
