"""What this computer's disk refuses, in words: it is full or read-only, a folder is not ours, or a file is in its place."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import CloudTrainError, DiskError
from kedro_cloudtrain.storage.cache import cache_folder
from kedro_cloudtrain.wording import size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger("kedro.cloudtrain")

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
# No other try, and no server, changes these.
LOCAL_ERRORS = _FULL | {
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.EMFILE,
}
_logged: set[str] = set()


@contextlib.contextmanager
def writing(path: Path, bytes_wanted: int | None = None) -> Iterator[None]:
    """Let a refusal of this computer's disk within the block be a `DiskError` that names the path.

    Args:
        path: what is written.
        bytes_wanted: its size, if it is known.

    Raises:
        DiskError: the disk is full, or the path cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in LOCAL_ERRORS or not _is_about(error, path):
            raise
        raise disk_error(error, path, bytes_wanted) from error


@contextlib.contextmanager
def dispensable(what: str) -> Iterator[None]:
    """Go on after a block that cannot write what nothing depends on, and log that once.

    Args:
        what: what is not kept, as a sentence begins with it: `The copies of logs`.
    """
    try:
        yield
    except (OSError, DiskError) as error:
        if what not in _logged:
            _logged.add(what)
            reason = error.message if isinstance(error, CloudTrainError) else str(error)
            logger.warning("%s cannot be kept on this computer, and the run goes on without: %s", what, reason, extra={"markup": False})


def disk_error(error: OSError, path: Path, bytes_wanted: int | None = None) -> DiskError:
    """Return a refusal of this computer's disk as an error that names the path, and what to do."""
    what = str(path) + (f" ({size(bytes_wanted)})" if bytes_wanted is not None else "")
    if error.errno in _FULL:
        free = ""
        with contextlib.suppress(OSError):
            free = f"; {size(shutil.disk_usage(_existing(path)).free)} are free there"
        return DiskError(f"{what} does not fit on this computer's disk: {error.strerror}{free}. Make room, {_other(path)}.")
    reason = blocked(path) or f"{error.strerror} ({error.filename or path})"
    return DiskError(f"{what} cannot be written on this computer: {reason}. Correct that, {_other(path)}.")


def blocked(path: Path) -> str:
    """Return what is in the way of writing a file or a folder, as far as it can be seen; empty if nothing is."""
    existing = _existing(path)
    if existing != path and not existing.is_dir():
        return f"{existing} is a file, and has to be a folder"
    return "" if os.access(existing, os.W_OK) else f"{existing} is not writable"


def _existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))


def _is_about(error: OSError, path: Path) -> bool:
    """Return whether an error is about a path, and not about one that was read meanwhile."""
    if error.filename is None or error.errno in _FULL:
        return True
    named = str(error.filename2 or error.filename)
    if error.errno == errno.ENOENT and path.parent.is_dir():
        return False  # Nothing has been written, by a mistake of the program.
    # A file is written beside its place first, under a name that ends in its own.
    return named.endswith(path.name) or str(path).startswith(named)


def _other(path: Path) -> str:
    if path.is_relative_to(cache_folder()):
        return "or let XDG_CACHE_HOME name another folder, and run again"
    return "and run again"
