"""What a job's pods cost, or may still cost: each is held to the node's limits and the run's, by the price that RunPod really bills."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.budget import lifetime_s, worst_usd
from kedro_cloudtrain.backends.runpod.clock import now_s
from kedro_cloudtrain.errors import BudgetExceededError, CloudTrainError
from kedro_cloudtrain.jobs.receipt import MachineUse

if TYPE_CHECKING:
    from kedro_cloudtrain.backends.backend import JobRequest, Watcher
    from kedro_cloudtrain.backends.runpod.budget import Budget
    from kedro_cloudtrain.backends.runpod.placement import Placement

logger = logging.getLogger("kedro.cloudtrain")

# Prices are shown in cents.
CENT_USD = 0.005


class DearPodError(CloudTrainError):
    """A pod is billed at more than is allowed."""


class _PriceLimitError(BudgetExceededError):
    """A price by the hour is over its limit, or none is known."""


class Spending:
    """The dollars of one job, all its pods together; thread-safe.

    A pod counts with its worst case until it is known to be gone, whatever became of its job.

    Args:
        request: the job.
        budget: what the whole run may cost.
        watcher: receives what each pod was used for; None for a job that is left alone.
    """

    def __init__(self, request: JobRequest, budget: Budget, watcher: Watcher | None = None) -> None:
        self._job = request.folder.name
        self._settings = request.settings
        self._budget = budget
        self._watcher = watcher
        self._lock = threading.Lock()
        self._usd: dict[str, float] = {}
        # The pods that may still cost something.
        self._open: set[str] = set()
        self._uses: dict[str, MachineUse] = {}

    def left_usd(self, pod: str = "") -> float | None:
        """Return what the node's limit leaves for a pod, beside all the job's other ones; None if there is no limit."""
        limit = self._settings.max_cost_usd
        with self._lock:
            return None if limit is None else limit - sum(usd for name, usd in self._usd.items() if name != pod)

    def lifetime_s(self, pod: str, usd_per_hour: float, wanted_s: float) -> float:
        """Return how long a pod may live once it has started, in seconds, by its price.

        Raises:
            BudgetExceededError: what is left of the node's limit does not pay for a useful time.
        """
        try:
            return lifetime_s(self._job, usd_per_hour, wanted_s, self._settings.startup_timeout_s, self.left_usd(pod))
        except BudgetExceededError as error:
            with self._lock:
                others = {name: usd for name, usd in self._usd.items() if name in self._open and name != pod}
            held_note = "".join(
                f" ${usd:.2f} of it is held for pod {name}, which is not known to have ended." for name, usd in others.items()
            )
            raise BudgetExceededError(f"{error.message}{held_note}") from None

    def reserve(self, pod: str, usd: float) -> None:
        """Reserve the worst case of a pod, in place of what was reserved for it before.

        Raises:
            BudgetExceededError: it exceeds what is left of the run's limit, or of a shared budget.
            BackendError: what the other clients of a shared budget have spent cannot be read.
        """
        self._budget.reserve(pod, self._job, usd)
        self._count(pod, usd)

    def hold(self, pod: str, usd: float) -> None:
        """Reserve for a pod that exists already, whatever the limits are."""
        self._budget.hold(pod, usd)
        self._count(pod, usd)

    def release(self, pod: str, cost_usd: float = 0.0) -> None:
        """Replace the reservation of a pod that is gone, or was never created, with what it has cost."""
        self._budget.settle(pod, cost_usd)
        self._count(pod, cost_usd, ended=True)

    def note_end(self, placement: Placement, ended: str) -> None:
        """Pass on what a pod was used for, so far: it may have to be waited for until it is gone."""
        seconds = now_s() - placement.created_at
        use = MachineUse(placement.pod_id, str(placement.candidate), placement.usd_per_hour, seconds, placement.cost_usd, ended)
        with self._lock:
            self._uses[placement.name] = use
        if self._watcher is not None:
            self._watcher.used(self._job, use)

    def settle(self, placement: Placement) -> None:
        """Replace what is reserved for a pod with what it has cost, since it is gone; the receipt shows that, too."""
        cost_usd = placement.cost_usd
        self.release(placement.name, cost_usd)
        with self._lock:
            use = self._uses.get(placement.name)
        if use is not None:
            use.usd_per_hour, use.cost_usd, use.seconds = placement.usd_per_hour, cost_usd, now_s() - placement.created_at

    def bill(self, placement: Placement, usd_per_hour: float) -> None:
        """Hold a pod to the limits by the price that is really billed, which may differ from its offer and from an earlier answer.

        From here on all its time counts at this price, and it may live as long as this price allows.

        Raises:
            DearPodError: the price is over a limit, or leaves the pod no useful time.
            BackendError: what the other clients of a shared budget have spent cannot be read.
        """
        before = placement.usd_per_hour
        try:
            lives_s = self._allowed_s(placement, usd_per_hour)
        except BudgetExceededError as error:
            # Until it has been ended, it costs what it costs.
            placement.usd_per_hour, placement.is_too_dear = usd_per_hour, True
            self.hold(placement.name, worst_usd(usd_per_hour, placement.startup_timeout_s, placement.lifetime_s))
            reason = error.message if isinstance(error, _PriceLimitError) else "which max_cost_usd does not pay for"
            raise DearPodError(f"billed at ${usd_per_hour:.2f}/h instead of ${before:.2f}/h, {reason}") from error
        placement.usd_per_hour, placement.lifetime_s = usd_per_hour, lives_s
        logger.warning(
            "%s: pod %s is billed at $%.2f/h, and was offered at $%.2f/h: it is ended after %.0f s at most",
            self._job,
            placement.pod_id,
            usd_per_hour,
            before,
            lives_s,
        )

    def pays_for(self, placement: Placement, usd_per_hour: float) -> bool:
        """Return whether a pod at a price, in dollars per hour, may live on; asks neither RunPod nor the volume, which may be silent.

        One that is dearer than its offer may cost what is reserved for it, until the limits are known to allow more.
        """
        if placement.is_too_dear:
            return False
        with self._lock:
            reserved_usd = self._usd.get(placement.name)
        is_limited = self._settings.max_cost_usd is not None or self._budget.is_limited
        if reserved_usd is None or not is_limited or usd_per_hour <= placement.candidate.usd_per_hour + CENT_USD:
            return True
        return placement.cost_at(usd_per_hour) <= reserved_usd

    def take_over(self, placement: Placement) -> None:
        """Hold a pod that an earlier client, or another computer's, has created to this client's limits.

        Raises:
            BudgetExceededError: the limits do not allow it; nothing is reserved then.
            BackendError: what the other clients of a shared budget have spent cannot be read.
        """
        usd_per_hour = placement.usd_per_hour
        try:
            placement.lifetime_s = self._allowed_s(placement, usd_per_hour)
        except BudgetExceededError as error:
            price = f"${usd_per_hour:.2f} an hour" if usd_per_hour else "a price that is not known"
            reason = error.message.replace("was not started", "is not taken over")
            raise BudgetExceededError(
                f"{self._job} is running already on pod {placement.pod_id}, at {price}, and the limits do not let this run take that over: "
                f"{reason}\nThe pod goes on, and is paid for. Raise the limit, or end the pod: kedro cloudtrain stop {self._job}, or kedro "
                "cloudtrain reap."
            ) from None

    def _allowed_s(self, placement: Placement, usd_per_hour: float) -> float:
        """Reserve a pod's worst case at a price, and return how long it may live then, in seconds.

        Raises:
            BudgetExceededError: the price is over a limit, or leaves the pod no useful time; nothing has changed.
        """
        limit = self._settings.max_price_per_hour_usd
        if limit is not None and usd_per_hour > limit:
            raise _PriceLimitError(f"over max_price_per_hour_usd {limit:g}")
        if usd_per_hour <= 0 and (self._settings.max_cost_usd is not None or limit is not None or self._budget.is_limited):
            raise _PriceLimitError("RunPod does not say what it costs, and a limit is set.")
        lives_s = min(placement.lifetime_s, self.lifetime_s(placement.name, usd_per_hour, placement.lifetime_s))
        self.reserve(placement.name, worst_usd(usd_per_hour, placement.startup_timeout_s, lives_s))
        return lives_s

    def _count(self, pod: str, usd: float, *, ended: bool = False) -> None:
        with self._lock:
            self._usd[pod] = usd
            (self._open.discard if ended else self._open.add)(pod)
