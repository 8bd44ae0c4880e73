"""Saved states of long work, from which it goes on after its machine was lost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from .protocol import (
    CHECKPOINT_EVERY_ROUNDS_VARIABLE,
    CHECKPOINT_EVERY_S_VARIABLE,
    CHECKPOINT_VARIABLE,
    LATEST,
    WORK_VARIABLE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Replacing a lost machine takes a minute: losing a minute of its work beside that is bearable.
DEFAULT_EVERY_S = 60.0
# Writing takes at most 1/50 of the time, however large a state is.
_LEAST_SHARE = 50
# The errors of a disk that is full, over its quota, read-only or broken (NumPy's own error of that kind has no number). Any other
# OSError is the work's own: a missing file, for example, or a broken connection.
_DISK_ERRORS = (None, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


class Checkpoint:
    """The state of a function's work, written now and then, whole or not at all.

    A job that runs again, because its machine was lost, it was cancelled or it timed out, finds the state that was written last. Outside
    of a job (another runner, a notebook, a test) no state is found, and none is ever due: the same function runs everywhere.

    A function has one checkpoint; several models are several files of it. The checkpoint is removed once the work is done.

    Args:
        part: the part of the work that the state is of, where a work has several one after another; a function's has one.

    Attributes:
        rounds: the number of rounds of the state that was found, or written last; 0 without a state.
        folder: the state's files; None without a state.

    Example:
        ```python
        from kedro_cloudtrain import Checkpoint


        def fit(table, parameters):
            checkpoint = Checkpoint()
            weights = np.load(checkpoint.folder / "weights.npy") if checkpoint.folder else np.zeros(3)
            for done in range(checkpoint.rounds + 1, parameters["rounds"] + 1):
                weights = step(weights, table)
                if checkpoint.due(done):
                    with checkpoint.write(done) as folder:
                        np.save(folder / "weights.npy", weights)
            return weights
        ```
    """

    def __init__(self, part: str = "") -> None:
        place = os.environ.get(CHECKPOINT_VARIABLE)
        self._place = Path(place) / part if place else None
        self._every_s = float(os.environ.get(CHECKPOINT_EVERY_S_VARIABLE) or DEFAULT_EVERY_S)
        self._every_rounds = int(os.environ.get(CHECKPOINT_EVERY_ROUNDS_VARIABLE) or 0)
        self.rounds = 0
        self.folder: Path | None = None
        self._cost_s = 0.0
        self._written_at = monotonic()
        self._find()

    def due(self, rounds: int) -> bool:
        """Return whether a state should be written now.

        A state is due `checkpoint_every_s` after the last one, but never so often that writing takes more than a fiftieth of the time;
        or, if `cloudtrain.yml` has `checkpoint_every_rounds`, after that many rounds, however long writing takes.

        Args:
            rounds: the number of rounds that are done.
        """
        if self._place is None:
            return False
        if self._every_rounds:
            return rounds - self.rounds >= self._every_rounds
        return monotonic() - self._written_at >= max(self._every_s, _LEAST_SHARE * self._cost_s)

    @contextlib.contextmanager
    def write(self, rounds: int) -> Iterator[Path]:
        """Provide an empty folder for a state's files; once they are written, they replace the state before.

        A full disk does not stop the work: the log has a line about it, and the state before stays.

        Args:
            rounds: the number of rounds that are done.
        """
        if self._place is None:
            with tempfile.TemporaryDirectory() as scratch:
                yield Path(scratch)
            return
        began, folder = monotonic(), self._place / f"round-{rounds:06d}"
        if folder == self.folder:
            folder = folder.with_name(f"{folder.name}-again")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
            yield folder
            self._commit(folder, rounds)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            if type(error) is not OSError or error.errno not in _DISK_ERRORS:
                raise
            print(f"no checkpoint of round {rounds}: {error}")  # noqa: T201  # the job's log
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._written_at = monotonic()
        self._cost_s = self._written_at - began

    def _commit(self, folder: Path, rounds: int) -> None:
        """Name the state in `latest.json`, by rename, once its files are on the disk; then remove the state before."""
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in files:
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        self._point_to(folder, rounds, {str(file.relative_to(folder)): file.stat().st_size for file in files})
        before, self.folder, self.rounds = self.folder, folder, rounds
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    def _point_to(self, folder: Path, rounds: int, files: Mapping[str, int | None]) -> None:
        """Write the name of the latest state, and the sizes of its files: None for a file that the library itself keeps replacing."""
        latest = {"work": os.environ.get(WORK_VARIABLE, ""), "rounds": rounds, "folder": folder.name, "files": files}
        temporary = folder.with_name(f".{LATEST}")
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(latest, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(folder.with_name(LATEST))

    def _find(self) -> None:
        """Find the latest whole state of this very work, and remove everything else from the folder."""
        if self._place is None or not self._place.is_dir():
            return
        try:
            latest = json.loads((self._place / LATEST).read_text(encoding="utf-8"))
            folder = self._place / Path(latest["folder"]).name
            whole = all(size in (None, (folder / name).stat().st_size) for name, size in latest["files"].items())
            if whole and folder.is_dir() and latest["work"] == os.environ.get(WORK_VARIABLE, ""):
                self.folder, self.rounds = folder, int(latest["rounds"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            pass  # The machine was lost while it wrote, or the file is not of this class.
        if self.folder is None:
            shutil.rmtree(self._place, ignore_errors=True)
            return
        for other in self._place.iterdir():
            if other.is_dir() and other != self.folder:
                shutil.rmtree(other, ignore_errors=True)
