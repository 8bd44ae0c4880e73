"""A client's claim on a job, by which one of several clients that want the job pays for a pod."""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import CloudTrainError

if TYPE_CHECKING:
    import threading

    from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.machine import Machine


class ClaimedError(CloudTrainError):
    """Another client has claimed the job."""


class Claim:
    """A client's claim on a job, in the job's `machine.json` on the volume.

    S3 writes without a condition, so a claim is made in three steps: no other client's attempt stands there, this client's is written,
    and a moment later it still stands.

    Args:
        remote: the job's folder on the volume.
        is_contested: whether other clients' claims count; otherwise the job is done anew, even if another client's pod works on it.
    """

    def __init__(self, remote: RemoteFolder, *, is_contested: bool) -> None:
        self.remote = remote
        self._is_contested = is_contested
        self._released: set[str] = set()
        self._over: set[tuple[str | None, str | None]] = set()

    def note_over(self, machine: Machine) -> None:
        """Note that an attempt is over, so that the next one may replace it; one that had no pod, only as long as it has none."""
        self._over.add((machine.attempt, machine.pod))

    def is_taken(self) -> bool:
        """Return whether another client has taken the job up since this client looked."""
        if not self._is_contested:
            return False
        machine = self.remote.machine()
        return bool(machine.attempt) and machine.attempt not in self._released and (machine.attempt, machine.pod) not in self._over

    def make(self, machine: dict[str, Any], closed: threading.Event, settles_s: float) -> None:
        """Claim the job for an attempt.

        Args:
            machine: the content of `machine.json`, which names the attempt.
            closed: shortens the wait as soon as it is set.
            settles_s: the time after which another client that claims the job at the same moment has written its claim, too.

        Raises:
            ClaimedError: another client has claimed the job since this client looked, or at the same moment.
        """
        if self.is_taken():
            raise self._refusal()
        self.remote.write_machine(machine)
        if self._is_contested:
            closed.wait(settles_s)
            if self.remote.machine().attempt not in (None, machine["attempt"]):
                raise self._refusal()

    def complete(self, machine: dict[str, Any]) -> None:
        """Write `machine.json` again, with what is known of the attempt's pod.

        Raises:
            ClaimedError: another client has claimed the job, since the pod was so long in coming; where that client has given the job back,
                the pod has it.
        """
        if self._is_contested and self.remote.machine().attempt not in (None, "", machine["attempt"]):
            raise self._refusal()
        self.remote.write_machine(machine)

    def release(self, attempt: str) -> None:
        """Take the job from an attempt, unless another client has it by now."""
        self._released.add(attempt)
        if self.remote.machine().attempt == attempt:
            self.remote.revoke()

    def _refusal(self) -> ClaimedError:
        return ClaimedError(f"{self.remote.folder.name} has been claimed by another client.")


def client_id(folder: JobFolder) -> str:
    """Return what identifies a client that claims a job: the place of the lock that it holds on the job."""
    place = f"{socket.gethostname()} {folder.path.resolve()}"
    return hashlib.sha256(place.encode()).hexdigest()[:12]
