"""The environments on a volume that this computer has asked for; a volume is never listed."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.volume_file import MOST_BYTES, Count, Moment, VolumeRecord, parsed
from kedro_cloudtrain.storage.cache import cache_folder
from kedro_cloudtrain.storage.disk import dispensable
from kedro_cloudtrain.worker.protocol import ENVIRONMENTS

if TYPE_CHECKING:
    from pathlib import Path

    from kedro_cloudtrain.storage.s3 import S3Store

# A pod notes an environment's use once it is packed.
_IN_THE_MAKING_S = 86_400.0


class _Use(VolumeRecord):
    """What a pod notes beside an environment: how large it is, and when it was used."""

    bytes: Count
    used_at: Moment


@dataclasses.dataclass(frozen=True)
class KeptEnvironment:
    """An environment on a volume.

    Attributes:
        name: its name.
        size_bytes: the size of its file.
        used_at: when a pod has last used it, of any client's, in seconds since the epoch.
    """

    name: str
    size_bytes: int
    used_at: float


class Environments:
    """The environments of a volume.

    Args:
        volume: the volume.
    """

    def __init__(self, volume: S3Store) -> None:
        self._volume = volume

    def remember(self, name: str) -> None:
        """Note that a pod was asked to make an environment, or to use it."""
        note = self._notes / name
        with dispensable("The names of environments"):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()

    def has(self, name: str) -> bool:
        """Return whether the volume has an environment, packed and whole."""
        return self._volume.read_bytes(f"{ENVIRONMENTS}/{name}.tar", 0, 1) is not None

    def kept(self) -> list[KeptEnvironment]:
        """Return the environments that the volume has of those that this computer knows of, the one that was longest unused first."""
        environments = []
        for note in sorted(self._notes.glob("*")):
            content = self._volume.read_bytes(f"{ENVIRONMENTS}/{note.name}.json", 0, MOST_BYTES + 1)
            if content is None:
                if time.time() - note.stat().st_mtime > _IN_THE_MAKING_S:
                    note.unlink(missing_ok=True)
                continue
            use = parsed(_Use, content) or _Use(bytes=0, used_at=0.0)
            environments.append(KeptEnvironment(note.name, use.bytes, max(note.stat().st_mtime, use.used_at)))
        return sorted(environments, key=lambda environment: environment.used_at)

    def delete(self, environment: KeptEnvironment) -> None:
        """Delete an environment; the next pod that needs it makes it anew."""
        for suffix in ("tar", "json"):
            self._volume.delete(f"{ENVIRONMENTS}/{environment.name}.{suffix}")
        (self._notes / environment.name).unlink(missing_ok=True)

    @property
    def _notes(self) -> Path:
        return cache_folder() / "environments" / self._volume.id
