"""The limit of a run's cost: the worst case of each pod is reserved before the pod is created."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import BudgetExceededError

if TYPE_CHECKING:
    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.shared_budget import SharedBudget
    from kedro_cloudtrain.config import NodeSettings, RunSettings
    from kedro_cloudtrain.storage.s3 import S3Store

# A pod that lives shorter than this trains nothing and is paid for all the same.
LEAST_LIFETIME_S = 60.0
# How long the installation of packages may take, before the job's own time begins.
_ENVIRONMENT_S = 900.0
_NO_ENVIRONMENT_S = 60.0


class Budget:
    """The dollars of a run; thread-safe.

    Args:
        max_cost_usd: the limit of the run; None sets no limit.
        shared: the budget that the run shares with other clients.
    """

    def __init__(self, max_cost_usd: float | None = None, shared: SharedBudget | None = None) -> None:
        self.max_cost_usd = max_cost_usd
        self._shared = shared
        self._lock = threading.Lock()
        self._reserved: dict[str, float] = {}
        self._spent: dict[str, float] = {}

    @property
    def spent_usd(self) -> float:
        """The cost of the pods that have ended."""
        with self._lock:
            return sum(self._spent.values())

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self.max_cost_usd is not None or self._shared is not None

    def reserve(self, pod: str, node: str, worst_usd: float) -> None:
        """Reserve the worst case of a pod, in place of what was reserved for it before.

        Raises:
            BudgetExceededError: the worst case exceeds what is neither spent nor reserved.
            BackendError: what the other clients of a shared budget have spent cannot be read.
        """
        with self._lock:
            before = self._reserved.get(pod)
            taken = sum(self._spent.values()) + sum(usd for name, usd in self._reserved.items() if name != pod)
            if self.max_cost_usd is not None and taken + worst_usd > self.max_cost_usd + 1e-9:
                raise BudgetExceededError(
                    f"{node} was not started: its worst case (${worst_usd:.2f}) would take the run past max_cost_usd "
                    f"(${self.max_cost_usd:.2f}; ${taken:.2f} spent or reserved). Raise run.max_cost_usd, or lower timeout_s or "
                    "max_cost_usd of the node."
                )
            self._reserved[pod] = worst_usd
        if self._shared is None:
            return
        try:
            self._shared.reserve(pod, node, worst_usd)
        except BaseException:
            with self._lock:
                if before is None:
                    self._reserved.pop(pod, None)
                else:
                    self._reserved[pod] = before
            raise

    def hold(self, pod: str, usd: float) -> None:
        """Reserve for a pod that exists already, whatever the limit is."""
        with self._lock:
            self._reserved[pod] = usd
        if self._shared is not None:
            self._shared.hold(pod, usd)

    def settle(self, pod: str, cost_usd: float) -> None:
        """Replace a pod's reservation with what the pod has cost."""
        with self._lock:
            self._reserved.pop(pod, None)
            self._spent[pod] = cost_usd
        if self._shared is not None:
            self._shared.settle(pod, cost_usd)


def budget_of(run: RunSettings, volume: S3Store, api: RunPodApi) -> Budget:
    """Return the budget of a run, with what it shares with other clients."""
    from kedro_cloudtrain.backends.runpod.shared_budget import SharedBudget  # noqa: PLC0415  # only a shared budget needs it

    return Budget(run.max_cost_usd, SharedBudget(volume, run.budget, api.now) if run.budget is not None else None)


def lifetime_s(node: str, usd_per_hour: float, wanted_s: float, startup_s: float, left_usd: float | None) -> float:
    """Return how long a pod may live once it has started, in seconds.

    In the worst case the time until the pod has started is paid for, too.

    Args:
        node: the node's name, for the error.
        usd_per_hour: the pod's price.
        wanted_s: the time that the node asks for.
        startup_s: the longest time that the pod may take to start.
        left_usd: the dollars that are left of the node's limit, which may shorten its time; None sets no limit.

    Raises:
        BudgetExceededError: the dollars that are left do not pay for a useful time.
    """
    if left_usd is None or usd_per_hour <= 0:
        return wanted_s
    paid_s = left_usd / usd_per_hour * 3600 - startup_s
    if paid_s < min(wanted_s, LEAST_LIFETIME_S):
        need_usd = usd_per_hour * (startup_s + LEAST_LIFETIME_S) / 3600
        raise BudgetExceededError(
            f"{node} was not started: ${max(0.0, left_usd):.2f} of its max_cost_usd is left, and a machine at ${usd_per_hour:.2f}/h needs "
            f"at least ${need_usd:.2f} with startup_timeout_s {startup_s:g}. Raise max_cost_usd, or lower startup_timeout_s."
        )
    return min(wanted_s, math.floor(paid_s))  # Whole seconds, as messages show them.


def pod_time_s(settings: NodeSettings) -> float:
    """Return how long a node wants its pod to live once it has started, in seconds."""
    return settings.timeout_s + (_ENVIRONMENT_S if settings.install else _NO_ENVIRONMENT_S)


def worst_usd(usd_per_hour: float, startup_s: float, lifetime: float) -> float:
    """Return the most that a pod can cost, in dollars: if it starts at the last moment and lives to its deadline."""
    return usd_per_hour * (startup_s + lifetime) / 3600
