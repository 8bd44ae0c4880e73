"""A table that a machine saves on the volume itself: written beside its place, and renamed into it once it is whole."""

from __future__ import annotations

import filecmp
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .protocol import SAVE_VERSION_VARIABLE, version_key
from .results import md5_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class SavedTable:
    """A table on the volume.

    Args:
        volume: the volume's path.
        target: `dataset_key`, and `versioned` where each save makes a version below the key.

    Attributes:
        key: the key that it is saved under.
        place: the file of that key.
        temporary: the file to write.
    """

    def __init__(self, volume: Path, target: Mapping[str, Any]) -> None:
        self.key = _key_of(target)
        self.place = volume / self.key
        self.place.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, since a rename cannot cross disks. Some writers choose a format by the extension, so it stays.
        self.temporary = self.place.with_name(f".{os.urandom(6).hex()}.{self.place.name}")

    def commit(self) -> dict[str, Any]:
        """Rename what was written into its place, and return what identifies it there."""
        if self.place.is_file() and filecmp.cmp(self.temporary, self.place, shallow=False):
            self.temporary.unlink()  # The same content stays untouched, so that the nodes below see no change.
        else:
            self.temporary.replace(self.place)
        status = self.place.stat()
        identity = {"key": self.key, "size": status.st_size, "modified_ns": status.st_mtime_ns}
        print(f"saved {self.key}")  # noqa: T201
        # A client identifies a directory's file by size and time, but a network volume's, over its S3 API, by its ETag.
        return identity | ({"md5": md5_of(self.place)} if "RUNPOD_POD_ID" in os.environ else {})


def save_version() -> str | None:
    """Return the version that the run saves; None in a script that is run by hand."""
    return os.environ.get(SAVE_VERSION_VARIABLE)


def _key_of(target: Mapping[str, Any]) -> str:
    key = str(target["dataset_key"])
    if not target.get("versioned"):
        return key
    # As Kedro writes a version, to the millisecond.
    now = datetime.now(tz=UTC)
    return version_key(key, save_version() or now.strftime(f"%Y-%m-%dT%H.%M.%S.{now.microsecond // 1000:03}Z"))
