"""States of a long piece of work, from which it goes on after its machine was lost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# A machine that is lost takes a minute to be replaced: losing another one is no worse.
DEFAULT_EVERY_S = 60.0
# What is written seldom enough costs at most 1/50 of the work, however large a state is.
_LEAST_SHARE = 50
# What a disk says that is full, over its quota, read only or broken (NumPy's own word for it has no number); any other error is of the
# work itself, a missing file or a broken connection say, which are kinds of OSError, too.
_DISK_ERRORS = (None, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


class Checkpoint:
    """The state of a function's work, written now and then, whole or not at all.

    A job that runs again, because its machine was lost, it was cancelled or its time was over, finds what the last one has written.
    Outside of a job (another runner, a notebook, a test) nothing is found, and nothing is ever due: the same function runs everywhere.

    One function has one checkpoint; several models are several files of it. Work that is done takes its checkpoint away.

    Attributes:
        rounds: how many rounds the state that was found, or written last, has behind it; 0 where there is none.
        folder: its files; None where there is none.

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

    def __init__(self) -> None:
        place = os.environ.get("CLOUDTRAIN_CHECKPOINT")
        self._place = Path(place) if place else None
        self._every_s = float(os.environ.get("CLOUDTRAIN_CHECKPOINT_EVERY_S") or DEFAULT_EVERY_S)
        self._every_rounds = int(os.environ.get("CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS") or 0)
        self.rounds = 0
        self.folder: Path | None = None
        self._cost_s = 0.0
        self._written_at = time.monotonic()
        self._find()

    def due(self, rounds: int) -> bool:
        """Tell whether a state is to be written now.

        That is `checkpoint_every_s` after the last one, and never so often that writing takes more than a fiftieth of the time; or after
        `checkpoint_every_rounds` where `cloudtrain.yml` has that, whatever it costs.

        Args:
            rounds: how many are done.
        """
        if self._place is None:
            return False
        if self._every_rounds:
            return rounds - self.rounds >= self._every_rounds
        return time.monotonic() - self._written_at >= max(self._every_s, _LEAST_SHARE * self._cost_s)

    @contextlib.contextmanager
    def write(self, rounds: int) -> Iterator[Path]:
        """Give an empty folder for a state's files; once they are written they take the place of the state before.

        A disk that is full stops no work: it says so, and the state before stays.

        Args:
            rounds: how many are done.
        """
        if self._place is None:
            with tempfile.TemporaryDirectory() as scratch:
                yield Path(scratch)
            return
        began, folder = time.monotonic(), self._place / f"round-{rounds:06d}"
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
        self._written_at = time.monotonic()
        self._cost_s = self._written_at - began

    def _commit(self, folder: Path, rounds: int) -> None:
        """Name the state in `latest.json`, by rename, once its files are on the disk; then the one before is wanted no more."""
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in files:
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        self._point_to(folder, rounds, {str(file.relative_to(folder)): file.stat().st_size for file in files})
        before, self.folder, self.rounds = self.folder, folder, rounds
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    def _point_to(self, folder: Path, rounds: int, files: Mapping[str, int | None]) -> None:
        """Write which state is the latest, and the sizes of its files; None for one that is replaced by rename meanwhile."""
        latest = {"work": os.environ.get("CLOUDTRAIN_WORK", ""), "rounds": rounds, "folder": folder.name, "files": files}
        temporary = folder.with_name(".latest.json")
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(latest, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(folder.with_name("latest.json"))

    def _find(self) -> None:
        """Find the latest whole state of this very work; whatever else lies there is taken away."""
        if self._place is None or not self._place.is_dir():
            return
        try:
            latest = json.loads((self._place / "latest.json").read_text(encoding="utf-8"))
            folder = self._place / latest["folder"]
            whole = all(size in (None, (folder / name).stat().st_size) for name, size in latest["files"].items())
            if whole and latest["work"] == os.environ.get("CLOUDTRAIN_WORK", ""):
                self.folder, self.rounds = folder, latest["rounds"]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # Of a machine that was lost while it wrote.
        if self.folder is None:
            shutil.rmtree(self._place, ignore_errors=True)
            return
        for other in self._place.iterdir():
            if other.is_dir() and other != self.folder:
                shutil.rmtree(other, ignore_errors=True)
