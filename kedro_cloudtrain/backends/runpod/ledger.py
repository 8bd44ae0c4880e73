"""The ledger: each pod that this computer has asked for, in a file from before its creation until RunPod no longer lists it."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from kedro_cloudtrain.errors import ConfigError, DiskError
from kedro_cloudtrain.storage.cache import cache_folder
from kedro_cloudtrain.storage.files import visible, whole
from kedro_cloudtrain.storage.life_locks import LifeLocks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

logger = logging.getLogger("kedro.cloudtrain")

# For this long, a create whose answer was lost may still be carried out: the API's longest answer, and a list's delay.
_MAY_APPEAR_S = 180.0
_ENDING = ".json"
# How many pods one sweep looks up; the others wait for the next sweep.
_MOST_ASKED = 20


class LedgerEntry(BaseModel):
    """One pod.

    Attributes:
        name: the pod's name, which it has before its id.
        account: the digits of the account that it is created in.
        job: the job that it is for.
        client: the digits of the client that has asked for it; empty for an entry that cannot be read.
        usd_per_hour: its price.
        lifetime_s: when its own watchdog ends it, in seconds from its start.
        startup_s: when its client gives it up if it has not started, in seconds from its creation.
        asked_at: when it was asked for, in seconds since 1970.
        pod: its id; None until the API has answered.
        unanswered_at: when an earlier try to create it was not answered, which may still make a second pod; None where each was.
        detached: whether its client has started it to be left alone.
        shared: whether a client of another computer has created it, and may be waiting for it as well.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    account: str = ""
    job: str = ""
    client: str = ""
    usd_per_hour: float = 0.0
    lifetime_s: float = 0.0
    startup_s: float = 0.0
    asked_at: float = 0.0
    pod: str | None = None
    unanswered_at: float | None = None
    detached: bool = False
    shared: bool = False

    @property
    def overdue(self) -> bool:
        """Whether it should have ended by itself by now, even if it started as late as it may."""
        return time.time() > self.asked_at + self.startup_s + self.lifetime_s

    @property
    def may_appear(self) -> bool:
        """Whether the pod may still be created, where no answer to its creation has arrived."""
        return self.pod is None and not self.is_old

    @property
    def is_old(self) -> bool:
        """Whether every list must have the pod by now; also true of a time in the future, after a clock was set."""
        return not 0 <= time.time() - max(self.asked_at, self.unanswered_at or 0.0) < _MAY_APPEAR_S


class PodLedger:
    """The ledger of this computer, as one client writes and reads it; thread-safe.

    Each pod has a file of its own, so that clients do not write over one another; a client holds a lock of the kernel's (flock) for as
    long as it lives, however it ends.

    Args:
        account: the digits of the account, as `RunPodApi.account` has them; this ledger leaves the pods of other accounts alone.
        folder: the ledger's folder; left out, the one that all projects of this user share.
    """

    def __init__(self, account: str, folder: Path | None = None) -> None:
        self.account = account
        self.folder = folder if folder is not None else cache_folder() / "pods"
        self.client = secrets.token_hex(6)
        self._lock = threading.Lock()
        self._entries: dict[str, LedgerEntry] = {}
        self._lives = LifeLocks(self.folder, self.client)

    def open(self, entry: LedgerEntry) -> None:
        """Enter a pod before it is asked for, or one that another client has created.

        Raises:
            ConfigError: the ledger cannot be written; no pod must be asked for then.
        """
        try:
            self._lives.take()
            self._write(entry.model_copy(update={"client": self.client, "account": self.account}))
        except (OSError, DiskError) as error:
            raise ConfigError(
                f"{entry.job} was not started: {self.folder}, the list of the pods that this computer has asked for, cannot be written "
                f"({_reason(error)}). Make room there, or set XDG_CACHE_HOME to a folder that can be written."
            ) from None

    def created(self, name: str, pod_id: str, usd_per_hour: float, unanswered_at: float | None = None) -> None:
        """Note the id and the price that a pod has got; a disk that is full by now costs the note alone, since the name is there."""
        with self._lock:
            entry = self._entries.get(name)
        if entry is None:
            return
        unanswered_at = unanswered_at if unanswered_at is not None else entry.unanswered_at
        try:
            self._write(entry.model_copy(update={"pod": pod_id, "usd_per_hour": usd_per_hour, "unanswered_at": unanswered_at}))
        except (OSError, DiskError) as error:
            logger.warning("%s cannot be written (%s): pod %s stands in it without its id", self.folder, _reason(error), pod_id)

    def settle(self, name: str) -> None:
        """Take out a pod that does not exist any more."""
        with self._lock:
            self._entries.pop(name, None)
        try:
            self._file(name).unlink(missing_ok=True)
        except OSError as error:
            logger.debug("%s stays in %s: %s", name, self.folder, error)

    def own(self) -> dict[str, LedgerEntry]:
        """Return what this client has entered and not taken out, by name."""
        with self._lock:
            return dict(self._entries)

    def entries(self) -> dict[str, LedgerEntry]:
        """Return all entries of this account, by name; of a file that cannot be read, what its own name tells."""
        entries: dict[str, LedgerEntry] = {}
        for file in sorted(visible(self.folder, _ENDING)):
            name = file.name.removesuffix(_ENDING)
            try:
                entry = LedgerEntry.model_validate_json(file.read_bytes())
            except FileNotFoundError:
                continue  # settled a moment ago
            except (OSError, ValidationError):
                entry = LedgerEntry(name=name)
            if entry.account in (self.account, ""):
                entries[name] = entry if entry.name == name else LedgerEntry(name=name)
        return entries

    def has_client(self, entry: LedgerEntry) -> bool:
        """Return whether the client of an entry may be alive: on this computer, or on one that this one knows nothing of."""
        return entry.shared or not entry.client or self._lives.lives(entry.client)

    def dead(self) -> dict[str, LedgerEntry]:
        """Return the entries whose client is gone, and was not to leave its pod alone."""
        return {name: entry for name, entry in self.entries().items() if not entry.detached and not self.has_client(entry)}

    def sweep(self, living: Collection[str], exists: Callable[[str], bool]) -> None:
        """Take out what no living client has entered, and neither a list of all the account's pods nor RunPod itself has any more.

        Args:
            living: the names of the account's pods.
            exists: asks RunPod whether the pod of an id exists, or may exist: a list alone is not believed.
        """
        lookups = 0
        for name, entry in self.entries().items():
            lives = bool(entry.client) and self._lives.lives(entry.client)
            # A list may not have a new pod yet; and a client takes out what it follows itself.
            if name in living or not entry.is_old or (lives and not entry.detached):
                continue
            if entry.pod is not None:
                lookups += 1
                if lookups > _MOST_ASKED or exists(entry.pod):
                    continue  # It is asked for again after another list.
            self.settle(name)
        self._lives.sweep()

    def close(self) -> None:
        """Release this client's lock: what it has not taken out now counts as left by a client that is gone."""
        self._lives.release()

    def _write(self, entry: LedgerEntry) -> None:
        with self._lock:
            with whole(self._file(entry.name)) as temporary:
                temporary.write_text(entry.model_dump_json(indent=1), encoding="utf-8")
            self._entries[entry.name] = entry

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}{_ENDING}"


def _reason(error: OSError | DiskError) -> str:
    refusal = error.__cause__ if isinstance(error, DiskError) else error
    return str(getattr(refusal, "strerror", None) or error)
