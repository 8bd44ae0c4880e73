"""What a seed has shown."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Outcome:
    """What a seed has shown.

    Attributes:
        faults: how many faults of each kind there were.
        events: what was done to clients and files.
        violations: what should have held and did not.
        journal: what the clients have logged, to read a failing seed by.
        pods: how many pods were created.
        seconds: how long it took, by the world's clock.
    """

    seed: int
    faults: dict[str, int] = dataclasses.field(default_factory=dict)
    events: list[str] = dataclasses.field(default_factory=list)
    violations: list[str] = dataclasses.field(default_factory=list)
    journal: list[str] = dataclasses.field(default_factory=list)
    pods: int = 0
    seconds: float = 0.0
