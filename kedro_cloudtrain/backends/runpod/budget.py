"""What a run may cost: the worst case of each pod is set aside before it is asked for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import BudgetExceededError

if TYPE_CHECKING:
    from kedro_cloudtrain.config import NodeSettings

# Less than this is no time to train in: its pod would be paid for in vain.
LEAST_LIFETIME_S = 60.0
# Packages are installed before a job's own time begins.
_ENVIRONMENT_S = 900.0
_NO_ENVIRONMENT_S = 60.0


class Budget:
    """The dollars of a run; safe to be used from many threads.

    Args:
        max_cost_usd: of the run; None sets no limit.
    """

    def __init__(self, max_cost_usd: float | None = None) -> None:
        self.max_cost_usd = max_cost_usd
        self._lock = threading.Lock()
        self._reserved: dict[str, float] = {}
        self._spent: dict[str, float] = {}

    @property
    def spent_usd(self) -> float:
        """What pods that have ended have cost."""
        with self._lock:
            return sum(self._spent.values())

    def reserve(self, pod: str, node: str, worst_usd: float) -> None:
        """Set a pod's worst case aside.

        Raises:
            BudgetExceededError: it does not fit beside what is spent and set aside.
        """
        with self._lock:
            taken = sum(self._spent.values()) + sum(self._reserved.values())
            if self.max_cost_usd is not None and taken + worst_usd > self.max_cost_usd + 1e-9:
                raise BudgetExceededError(
                    f"{node} was not started: its worst case (${worst_usd:.2f}) would take the run past max_cost_usd "
                    f"(${self.max_cost_usd:.2f}; ${taken:.2f} spent or reserved). Raise run.max_cost_usd, or lower timeout_s or "
                    "max_cost_usd of the node."
                )
            self._reserved[pod] = worst_usd

    def settle(self, pod: str, cost_usd: float) -> None:
        """Replace what was set aside by what the pod has cost."""
        with self._lock:
            self._reserved.pop(pod, None)
            self._spent[pod] = cost_usd


def lifetime_s(node: str, usd_per_hour: float, asked_s: float, startup_s: float, left_usd: float | None) -> float:
    """Give how long a pod may live once it has started, in seconds: what is asked for, or less where the node's dollars end before.

    The time until it has started is paid for, too, in the worst case.

    Raises:
        BudgetExceededError: the dollars that are left pay for no time worth it.
    """
    if left_usd is None or usd_per_hour <= 0:
        return asked_s
    paid_s = left_usd / usd_per_hour * 3600 - startup_s
    if paid_s < min(asked_s, LEAST_LIFETIME_S):
        need_usd = usd_per_hour * (startup_s + LEAST_LIFETIME_S) / 3600
        raise BudgetExceededError(
            f"{node} was not started: ${left_usd:.2f} of its max_cost_usd are left, and a machine of ${usd_per_hour:.2f}/h needs at least "
            f"${need_usd:.2f} with startup_timeout_s {startup_s:g}. Raise max_cost_usd, or lower startup_timeout_s."
        )
    return min(asked_s, paid_s)


def pod_time_s(settings: NodeSettings) -> float:
    """Give how long a node's pod is asked to live once it has started, in seconds."""
    return settings.timeout_s + (_ENVIRONMENT_S if settings.install else _NO_ENVIRONMENT_S)


def worst_usd(usd_per_hour: float, startup_s: float, lifetime: float) -> float:
    """Give the most that a pod can cost, in dollars: it starts at the last moment and lives to its deadline."""
    return usd_per_hour * (startup_s + lifetime) / 3600
