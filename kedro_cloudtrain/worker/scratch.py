"""Folders on the machine's own disk, for as long as a process needs them."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import re
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Another machine's locks are not seen in a file system that they share.
_PREFIX = f"cloudtrain-scratch-{re.sub('[^A-Za-z0-9]', '', socket.gethostname())}-"
# A folder that is being made has no lock for a moment.
_NEW_S = 60.0
_of_process = contextlib.ExitStack()
atexit.register(_of_process.close)


@contextlib.contextmanager
def scratch(parent: str | Path | None = None) -> Iterator[Path]:
    """Provide a new folder, and remove it afterwards; what a killed process has left in the same place is removed first.

    A process that is killed removes nothing, on a pod that is kept or on a person's own computer, and its folder may hold a table of
    gigabytes. Each folder is locked by the process that has made it, so that the next process knows which are left over.

    Args:
        parent: the folder to make it in; None for the system's folder of temporary files.
    """
    parent = Path(parent or tempfile.gettempdir())
    _remove_left(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    lock = _locked(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def scratch_of_process(parent: str | Path | None = None) -> Path:
    """Return a new folder that is removed when this process ends; see `scratch`."""
    return _of_process.enter_context(scratch(parent))


def _locked(folder: Path) -> int | None:
    """Lock a folder, and return the lock; None where another process holds it, or it cannot be locked."""
    lock = None
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # Another user's, or removed by now, or in a file system without locks.
        if lock is not None:
            os.close(lock)
        return None
    return lock


def _remove_left(parent: Path) -> None:
    """Remove the folders that no process holds any more."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _NEW_S and (lock := _locked(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
