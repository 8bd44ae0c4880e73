"""Locks that show which clients are alive (flock, which the kernel releases however a client ends)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from typing import IO, TYPE_CHECKING

from kedro_cloudtrain.storage.files import visible

if TYPE_CHECKING:
    from pathlib import Path

_ENDING = ".lock"


class LifeLocks:
    """The locks of a folder's clients, as one of them sees them; thread-safe.

    Args:
        folder: the folder, which need not exist yet.
        client: this client's name, a file's name without an ending.
    """

    def __init__(self, folder: Path, client: str) -> None:
        self._folder = folder
        self._client = client
        self._mutex = threading.Lock()
        self._alive: IO[str] | None = None

    def take(self) -> None:
        """Take this client's lock, if it does not hold it yet.

        Raises:
            OSError: the folder cannot be written.
        """
        with self._mutex:
            if self._alive is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._alive = self._locked()

    def lives(self, client: str) -> bool:
        """Return whether a client lives, or may be living."""
        if client == self._client:
            return self._alive is not None
        try:
            with self._file(client).open("r") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # Locked, or unreadable and therefore assumed alive.
        return False

    def sweep(self) -> None:
        """Remove the lock files of clients that are gone."""
        for file in visible(self._folder, _ENDING):
            if file.name == self._file(self._client).name:
                continue
            # While it is held: a client that has opened the file, and gets its lock later, sees that it is gone.
            with contextlib.suppress(OSError), file.open("r") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(handle.fileno()).st_ino == file.stat().st_ino:
                    file.unlink()

    def release(self) -> None:
        """Release this client's lock: it lives no more."""
        with self._mutex:
            alive, self._alive = self._alive, None
        if alive is not None:
            with contextlib.suppress(OSError):
                self._file(self._client).unlink(missing_ok=True)
            alive.close()

    def _locked(self) -> IO[str]:
        """Return this client's lock file, locked; another client may take away one that is not locked yet."""
        file = self._file(self._client)
        while True:
            handle = file.open("a")
            fcntl.flock(handle, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(handle.fileno()).st_ino == file.stat().st_ino:
                    return handle
            handle.close()

    def _file(self, client: str) -> Path:
        return self._folder / f"{client}{_ENDING}"
