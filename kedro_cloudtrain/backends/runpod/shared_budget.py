"""A budget that several clients share, kept on their volume, which knows no lock and no conditional write.

Each client has a file of its own, in which it claims a pod's worst case before it looks at the others' claims. Of two clients that claim at
the same moment, at least one sees the other's claim, and a client that sees more than the budget withdraws: it can happen that neither
starts anything for a moment, but together they never pass the budget.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import secrets
import threading
import time
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kedro_cloudtrain.errors import BudgetExceededError, CloudTrainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kedro_cloudtrain.config import BudgetSettings
    from kedro_cloudtrain.storage.s3 import S3Store

logger = logging.getLogger("kedro.cloudtrain")

_FOLDER = ".cloudtrain/budgets"
# Two clients that have withdrawn because of one another claim again, each after a time of its own.
_TRIES = 4
_PAUSES_S = (0.2, 1.2)
# A file that is being written is whole a moment later.
_READS, _READ_PAUSE_S = 3, 0.5
_LIST_PAUSE_S = 0.5
_LARGEST_FILE_BYTES = 10_000_000


class _Claim(BaseModel):
    """What one pod may cost, or has cost.

    Attributes:
        usd: its worst case; once it is over, its cost.
        spent: whether it is over.
    """

    model_config = ConfigDict(extra="ignore")

    usd: float = Field(ge=0, allow_inf_nan=False)
    spent: bool = False


class _Claims(BaseModel):
    """One client's file: its pods by name."""

    model_config = ConfigDict(extra="ignore")

    pods: dict[str, _Claim] = Field(default_factory=dict)


class SharedBudget:
    """A shared budget, as one client sees it; thread-safe.

    Args:
        volume: where it is kept.
        settings: its name, its limit and its period.
        now: returns the time by RunPod's clock, which is the same for all clients.
    """

    def __init__(self, volume: S3Store, settings: BudgetSettings, now: Callable[[], dt.datetime]) -> None:
        self._volume = volume
        self._settings = settings
        self._now = now
        self._client = secrets.token_hex(6)
        self._lock = threading.Lock()
        # By period: a pod that ends in another one counts in that of its beginning.
        self._own: dict[str, _Claims] = {}

    def reserve(self, pod: str, node: str, worst_usd: float) -> None:
        """Reserve the worst case of a pod, in place of what was reserved for it before.

        Raises:
            BudgetExceededError: the worst case exceeds what the clients of the budget have neither spent nor reserved, or a file of
                another client cannot be read.
            BackendError: the volume does not answer, or refuses.
        """
        with self._lock:
            period = next((period for period, claims in self._own.items() if pod in claims.pods), self.period())
            claims = self._own.setdefault(period, _Claims())
            before = claims.pods.get(pod)
            for number in range(_TRIES):
                claims.pods[pod] = _Claim(usd=worst_usd)
                try:
                    self._write(period)
                    others_usd = self._taken_usd(period) - worst_usd
                except BaseException:
                    self._withdraw(period, pod, before)
                    raise
                if others_usd + worst_usd <= self._settings.max_cost_usd + 1e-9:
                    return
                self._withdraw(period, pod, before)
                if number < _TRIES - 1:
                    time.sleep(random.uniform(*_PAUSES_S))  # noqa: S311  # no secret
            raise BudgetExceededError(
                f"{node} was not started: its worst case (${worst_usd:.2f}) would take the shared budget {self._settings.name!r} past its "
                f"${self._settings.max_cost_usd:.2f} a {self._settings.per} (${others_usd:.2f} spent or reserved by all its clients in "
                f"{period}). Raise run.budget.max_cost_usd, lower timeout_s or max_cost_usd of the node, or wait for the next "
                f"{self._settings.per}."
            )

    def settle(self, pod: str, cost_usd: float) -> None:
        """Replace a pod's reservation with what the pod has cost; if the volume does not answer, the worst case stays."""
        self._replace(pod, _Claim(usd=cost_usd, spent=True) if cost_usd else None)

    def hold(self, pod: str, usd: float) -> None:
        """Replace a pod's reservation with what the pod can cost from now on, whatever the budget is: it exists already."""
        self._replace(pod, _Claim(usd=usd))

    def _replace(self, pod: str, claim: _Claim | None) -> None:
        with self._lock:
            for period, claims in self._own.items():
                if pod not in claims.pods:
                    continue
                if claim is None:
                    del claims.pods[pod]
                else:
                    claims.pods[pod] = claim
                try:
                    self._write(period)
                except CloudTrainError as error:
                    logger.warning(
                        "The shared budget %s counts pod %s at its worst case: %s",
                        self._settings.name,
                        pod,
                        error.message,
                        extra={"markup": False},
                    )

    def taken_usd(self) -> float:
        """Return what all clients have spent and reserved in the present period, in dollars.

        Raises:
            BudgetExceededError: a file of a client cannot be read.
            BackendError: the volume does not answer, or refuses.
        """
        with self._lock:
            return self._taken_usd(self.period())

    def period(self) -> str:
        """Return the present period: `2026-11-26`, `2026-W48` or `2026-11`, by UTC."""
        now = self._now().astimezone(dt.UTC)
        year, week, _ = now.isocalendar()
        return {"day": f"{now:%Y-%m-%d}", "week": f"{year}-W{week:02d}", "month": f"{now:%Y-%m}"}[self._settings.per]

    def _taken_usd(self, period: str) -> float:
        """Add up all clients' claims; a pod that one client has taken over from another counts once."""
        pods: dict[str, list[_Claim]] = {}
        for claims in self._files(period):
            for pod, claim in claims.pods.items():
                pods.setdefault(pod, []).append(claim)
        return sum(max(claim.usd for claim in ([claim for claim in of_pod if claim.spent] or of_pod)) for of_pod in pods.values())

    def _files(self, period: str) -> Iterator[_Claims]:
        own = f"{self._client}.json"
        names = self._names(period)
        claims = self._own.get(period, _Claims())
        if claims.pods and own not in names:
            raise BudgetExceededError(
                f"{self._folder(period)}/{own} was written a moment ago, and {self._volume.name} does not list it: what the other "
                f"clients of the shared budget {self._settings.name!r} have taken is not known. Try again."
            )
        yield claims
        for name in names:
            if name != own:
                yield self._read(f"{self._folder(period)}/{name}")

    def _names(self, period: str) -> list[str]:
        """Return the files of all clients, each that one of two lists has: a list may lack a file that is being written over."""
        listed = set(self._volume.names(self._folder(period)))
        time.sleep(_LIST_PAUSE_S)
        listed.update(self._volume.names(self._folder(period)))
        return sorted(name for name in listed if name.endswith(".json"))

    def _read(self, key: str) -> _Claims:
        for number in range(_READS):
            # It was listed, and no client deletes one: a file that is not found is one that cannot be read.
            content = self._volume.read_bytes(key, size=_LARGEST_FILE_BYTES)
            try:
                return _Claims.model_validate_json(content or b"")
            except ValidationError:
                if number < _READS - 1:
                    time.sleep(_READ_PAUSE_S)
        raise BudgetExceededError(
            f"{key} {self._volume.where} is what one client has taken of the shared budget {self._settings.name!r}, and cannot be read. "
            "Nothing is started while it is not known. If that client is gone, delete the file."
        )

    def _withdraw(self, period: str, pod: str, before: _Claim | None) -> None:
        claims = self._own[period]
        if before is None:
            claims.pods.pop(pod, None)
        else:
            claims.pods[pod] = before
        try:
            self._write(period)
        except CloudTrainError as error:
            logger.warning("A claim on the shared budget %s stays: %s", self._settings.name, error.message, extra={"markup": False})

    def _write(self, period: str) -> None:
        self._volume.write_bytes(f"{self._folder(period)}/{self._client}.json", self._own[period].model_dump_json().encode())

    def _folder(self, period: str) -> str:
        return f"{_FOLDER}/{self._settings.name}/{period}"
