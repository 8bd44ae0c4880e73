"""What must hold, whatever fails."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.rehearsal.calls import API_KEY
from kedro_cloudtrain.rehearsal.storage import ACCESS_KEY, SECRET_KEY
from simulation.client import Client

if TYPE_CHECKING:
    from pathlib import Path

    from simulation.account import SimulatedAccount
    from simulation.outcome import Outcome
    from simulation.pods import SimulatedPod
    from simulation.scheduler import Scheduler
    from simulation.volume import Bucket, S3Faults

PLANTED = "PLANTED_url_token"
_SECRETS = (API_KEY, ACCESS_KEY, SECRET_KEY, PLANTED)
# What an API call may take with all its tries, after which a client that wants to end a pod has asked for that.
_SLACK_S = 300.0
# From a pod's last moment that is paid for to its end: a look of the watchdog, and a few tries to end it.
_ENDING_S = 30.0


@dataclasses.dataclass
class Limits:
    """What the clients of a world may do.

    Attributes:
        settings: of each node.
        jobs: how many nodes there are.
        max_cost_usd: the limit of each run; None sets none.
        shared_usd: the limit of all runs together; None sets none.
        keep_s: for how long a machine that the nodes share waits for the next of them; None where each has a machine of its own.
        spread: whether those that are ready at once get machines of their own all the same.
    """

    settings: dict[str, Any]
    jobs: int
    max_cost_usd: float | None
    shared_usd: float | None
    keep_s: float | None = None
    spread: bool = False

    @property
    def machines(self) -> tuple[str, ...]:
        """The kinds of machines that a node may have."""
        gpu = self.settings["gpu"]
        return (gpu,) if isinstance(gpu, str) else gpu


class Invariants:
    """Checks a world, and notes in its outcome what should hold and does not."""

    def __init__(
        self,
        scheduler: Scheduler,
        account: SimulatedAccount,
        bucket: Bucket,
        s3_faults: S3Faults,
        limits: Limits,
        outcome: Outcome,
        root: Path,
    ) -> None:
        self._scheduler = scheduler
        self._account = account
        self._bucket = bucket
        self._s3_faults = s3_faults
        self._limits = limits
        self._outcome = outcome
        self._root = root

    def violated(self, what: str) -> None:
        """Note something that should hold and does not."""
        self._outcome.violations.append(f"{self._scheduler.now:.0f} s: {what}")

    @property
    def _homes(self) -> tuple[Path, Path]:
        return self._root / "home", self._root / "other home"

    def check_ledger(self) -> None:
        """Check that each pod that exists stands in the ledger of a computer."""
        for pod in self._account.living:
            if not any((home / "pods" / f"{pod.request.name}.json").exists() for home in self._homes):
                self.violated(f"{pod.id} exists and is in no ledger")

    def check_ended(self, client: Client) -> None:
        """Check that a client that has ended by itself has left no pod of its own that it has not named."""
        sentences = [*client.left, *(line for line in self._outcome.journal if "may still create it a second time" in line)]
        for pod in self._account.living:
            if pod.owner is client and not any(pod.id in sentence or pod.request.name in sentence for sentence in sentences):
                self.violated(f"{pod.id} lives on after {client.name}, which has not named it")

    def check_money(self, clients: list[Client]) -> None:
        """Check that no pod has lived past its deadline, and that no client has spent more than it may.

        A pod without a watchdog is held by its client alone, as is one that is dearer than its offer: what they cost while that one is
        gone or asleep is nobody's fault.
        """
        slack_s = _SLACK_S + self._account.faults.outages_s + self._s3_faults.outages_s
        settings = NodeSettings.model_validate(self._limits.settings)
        counted = {pod.id: pod for pod in self._account.pods.values() if (pod.has_watchdog and not pod.dear) or self._was_held(pod)}
        for pod in counted.values():
            end = pod.ended_at if pod.ended_at is not None else self._scheduler.now
            most_s = settings.startup_timeout_s if pod.began_at is None else pod.began_at - pod.born + pod.lifetime_s
            if end - pod.born > most_s + slack_s:
                self.violated(f"{pod.id} has lived for {end - pod.born:.0f} s, and may for {most_s:.0f} s")
        for client in clients:
            self._check_limit(client.name, self._limits.max_cost_usd, [pod for pod in counted.values() if pod.owner is client])
            created = collections.Counter(pod.job for pod in self._account.pods.values() if pod.owner is client)
            for job, count in created.items():
                if count > settings.retries + 1 + 2 * len(self._limits.machines):  # With those that were found too dear.
                    self.violated(f"{client.name} has asked for {count} pods for {job}")
        self._check_limit("all clients", self._limits.shared_usd, list(counted.values()))

    def _check_limit(self, who: str, limit_usd: float | None, pods: list[SimulatedPod]) -> None:
        spent_usd = sum(pod.cost_usd for pod in pods)
        # A pod lives on while its end is asked for, by its client or its watchdog.
        ending_s = _ENDING_S + self._account.faults.outages_s
        slack_usd = sum(pod.usd_per_hour for pod in pods) * ending_s / 3600
        if limit_usd is not None and spent_usd > limit_usd + slack_usd:
            self.violated(f"{who} spent ${spent_usd:.3f} of ${limit_usd}")

    def _was_held(self, pod: SimulatedPod) -> bool:
        """Return whether the client that has created a pod was there for as long as the pod was."""
        owner, end = pod.owner, pod.ended_at
        return isinstance(owner, Client) and not owner.killed and not owner.asleep_s and end is not None and end <= (owner.ended_at or end)

    def check_nothing_is_left(self) -> None:
        living = [pod.id for pod in self._account.living]
        if living:
            self.violated(f"pods are left: {living}")

    def check_secrets(self) -> None:
        """Check that no secret is in a file, in a message, or in a request but in a pod's environment."""
        files = {str(path): path.read_bytes() for path in self._root.rglob("*") if path.is_file()} | self._bucket.files
        for place, content in files.items():
            for secret in _SECRETS:
                if secret.encode() in content:
                    self.violated(f"{secret} is in {place}")
        text = "\n".join([*self._outcome.journal, *self._outcome.violations])
        for call in self._account.calls:
            body = {**call.body, "env": None} if isinstance(call.body, dict) else call.body
            text += f"\n{call.path} {call.query} {body}"
        for secret in _SECRETS:
            if secret in text:
                self.violated(f"{secret} is in a message or a request")
