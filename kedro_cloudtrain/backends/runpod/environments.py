"""The environments on a volume that this computer has asked for; a volume is never listed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.storage.cache import cache_folder
from kedro_cloudtrain.storage.disk import dispensable
from kedro_cloudtrain.worker.protocol import ENVIRONMENTS

if TYPE_CHECKING:
    from pathlib import Path

    from kedro_cloudtrain.storage.s3 import S3Store

# A pod notes an environment's use once it is packed.
_IN_THE_MAKING_S = 86_400.0


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

    def kept(self) -> list[KeptEnvironment]:
        """Return the environments that the volume has of those that this computer knows of, the one that was longest unused first."""
        environments = []
        for note in sorted(self._notes.glob("*")):
            content = self._volume.read_bytes(f"{ENVIRONMENTS}/{note.name}.json")
            if content is None:
                if time.time() - note.stat().st_mtime > _IN_THE_MAKING_S:
                    note.unlink(missing_ok=True)
                continue
            size_bytes, used_at = 0, note.stat().st_mtime
            with contextlib.suppress(ValueError, KeyError, TypeError):
                used = json.loads(content)
                size_bytes, used_at = int(used["bytes"]), max(used_at, float(used["used_at"]))
            environments.append(KeptEnvironment(note.name, size_bytes, used_at))
        return sorted(environments, key=lambda environment: environment.used_at)

    def delete(self, environment: KeptEnvironment) -> None:
        """Delete an environment; the next pod that needs it makes it anew."""
        for suffix in ("tar", "json"):
            self._volume.delete(f"{ENVIRONMENTS}/{environment.name}.{suffix}")
        (self._notes / environment.name).unlink(missing_ok=True)

    @property
    def _notes(self) -> Path:
        return cache_folder() / "environments" / self._volume.id
