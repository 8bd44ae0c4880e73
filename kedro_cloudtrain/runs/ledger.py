"""The ledger of runs: the records of a project's runs, a file each, and those that others have left on the volume."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import logging
import re
import secrets
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ConfigError, DiskError
from kedro_cloudtrain.jobs.volume_file import bounded_bytes, fault_of, parsed
from kedro_cloudtrain.runs.closing import bring_up_to_date
from kedro_cloudtrain.runs.record import RunRecord, RunState
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.files import visible, whole
from kedro_cloudtrain.storage.life_locks import LifeLocks
from kedro_cloudtrain.storage.s3 import S3Store
from kedro_cloudtrain.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_cloudtrain.storage.volumes import Volume

logger = logging.getLogger("kedro.cloudtrain")

LATEST = "latest"
# So many runs before one are compared with it on its page.
EARLIER = 30
# On the volume, beside the jobs.
_SHARED = ".cloudtrain/runs"
_ENDING = ".json"
# Only a machine has it.
_PAID = b'"usd_per_hour"'
# A run that was left; what its jobs have cost is not known before they are done.
_LEFT = f'"{RunState.DETACHED}"'.encode()
# As Kedro writes the version of what a run saves, and the id of its session.
_BEGINS_WITH_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z")
_NO_FILE_NAME = re.compile(r"[^A-Za-z0-9_.-]")


class RunLedger:
    """The runs of a project, as its folder has them, the latest first; thread-safe.

    Args:
        project: the project's folder. The ledger is `.cloudtrain/runs` in it, which git ignores.
    """

    def __init__(self, project: Path) -> None:
        self._home = project / ".cloudtrain"
        self.folder = self._home / "runs"
        self.client = secrets.token_hex(6)
        self._locks = LifeLocks(self.folder, self.client)
        self.unreadable: dict[str, str] = {}

    def new_id(self, run_id: str | None) -> str:
        """Return an id that no run of the ledger has: Kedro's own, which begins with the time, or one made of it."""
        kedros = _NO_FILE_NAME.sub("-", run_id or "")
        if not _BEGINS_WITH_TIME.match(kedros):
            now = dt.datetime.now(tz=dt.UTC)
            kedros = f"{now:%Y-%m-%dT%H.%M.%S}.{now.microsecond // 1000:03d}Z{f'-{kedros}' if kedros else ''}"
        taken = {file.stem for file in visible(self.folder, _ENDING, kedros)}
        return next(name for number in range(1, len(taken) + 2) if (name := kedros if number == 1 else f"{kedros}-{number}") not in taken)

    def open(self, record: RunRecord) -> None:
        """Write the record of a run that begins.

        Raises:
            DiskError: the project's folder cannot be written.
        """
        try:
            self._locks.take()
            self._locks.sweep()
        except OSError as error:
            raise DiskError(f"{self.folder} cannot be written: {error.strerror or error}") from error
        ignored = self._home / ".gitignore"
        if not ignored.exists():
            with whole(ignored) as temporary:
                temporary.write_text("# What runs have left, for this computer alone.\n*\n", encoding="utf-8")
        self.write(record)

    def write(self, record: RunRecord) -> None:
        """Write a record, whole or not at all.

        Raises:
            DiskError: the project's folder cannot be written.
        """
        with whole(self._file(record.id)) as temporary:
            temporary.write_bytes(record_bytes(record))

    def close(self) -> None:
        """Let others see that the run is over."""
        self._locks.release()

    def within_project(self, path: str) -> str:
        """Return a path relative to the project's folder, if it is below it; else as it is."""
        place, project = Path(path), self._home.parent
        return str(place.relative_to(project)) if path and place.is_relative_to(project) else path

    def page(self, name: str) -> Path:
        """Return the place of a run's page."""
        return self._home / "reports" / f"{name}.html"

    def ids(self) -> list[str]:
        """Return the ids of all runs, the latest first."""
        return sorted((file.stem for file in visible(self.folder, _ENDING)), reverse=True)

    def records(self, since: dt.datetime | None = None, *, paid: bool = False) -> Iterator[RunRecord]:
        """Yield the records, the latest first; one that cannot be read is left out, and kept in `unreadable` with the reason.

        Args:
            since: the earliest beginning; left out, all of them.
            paid: whether only those that have paid for a machine are wanted; the others are not parsed.
        """
        earliest = "" if since is None else f"{since.astimezone(dt.UTC):%Y-%m-%dT%H.%M.%S}"
        for name in self.ids():
            if name < earliest:
                return
            if paid and not any(mark in (bounded_bytes(self._file(name)) or b"") for mark in (_PAID, _LEFT)):
                continue
            record = self.read(name)
            if record is not None:
                yield record

    def before(self, record: RunRecord, most: int = EARLIER) -> list[RunRecord]:
        """Return the runs of the same pipeline that began before a run, the latest first."""
        records = (each for name in self.ids() if name < record.id and (each := self.read(name)) is not None)
        return list(itertools.islice((each for each in records if each.pipeline == record.pipeline), most))

    def read(self, name: str) -> RunRecord | None:
        """Return the record of an id; None if there is none, or it cannot be read."""
        content = bounded_bytes(self._file(name))
        if content is None:
            return None
        record = parsed(RunRecord, content)
        if record is None:
            self.unreadable[name] = fault_of(content)
            return None
        if record.state is RunState.RUNNING and not self._locks.lives(record.client):
            # Killed, or its computer was switched off: nobody could write its end.
            return record.model_copy(update={"state": RunState.INTERRUPTED})
        if record.state is RunState.DETACHED and bring_up_to_date(record, self._home.parent):
            # Its jobs' folders may be cleaned one day.
            with contextlib.suppress(DiskError, OSError):
                self.write(record)
        return record

    def enter_end(self, job: str, *, gone: bool) -> list[RunRecord]:
        """Enter the end of a job into the records of the runs that have left it, and return those.

        Args:
            job: the job's name.
            gone: whether it is over without a result.

        Raises:
            DiskError: the project's folder cannot be written.
        """
        run_ids = [name for name in self.ids() if _LEFT in (content := bounded_bytes(self._file(name)) or b"") and job.encode() in content]
        records = [record for name in run_ids if (record := self.read(name)) is not None]
        for record in records:
            if gone and bring_up_to_date(record, self._home.parent, [job]):
                self.write(record)
        return records

    def place(self, name: str) -> str:
        """Return where the record of an id is, for a message."""
        return str(self._file(name))

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}{_ENDING}"

    def find(self, name: str) -> RunRecord:
        """Return the record of a run: by its id, the beginning of it, or `latest`.

        Raises:
            ConfigError: there is none, or several begin so, or it cannot be read.
        """
        ids = self.ids()
        if not ids:
            raise ConfigError(f"There is no run in {self.folder}. A run makes one: kedro run --runner=cloudtrain")
        matches = ids[:1] if name == LATEST else [each for each in ids if each == name] or [each for each in ids if each.startswith(name)]
        if not matches:
            raise ConfigError(f"There is no run {name!r}.{did_you_mean(name, ids)} To list the runs: kedro cloudtrain runs")
        if len(matches) > 1:
            raise ConfigError(f"{len(matches)} runs begin with {name!r}: {matches[0]}, {matches[1]}{', …' if len(matches) > 2 else ''}.")  # noqa: PLR2004
        record = self.read(matches[0])
        if record is None:
            raise ConfigError(f"The record of run {matches[0]} {self.unreadable.get(matches[0], 'is gone')}: {self.place(matches[0])}")
        return record


class SharedRuns:
    """The records that the clients of a volume have left beside their jobs.

    Args:
        volume: where they are.
        project_id: the project's id.
    """

    def __init__(self, volume: Volume, project_id: str) -> None:
        self._volume = volume
        self._folder = f"{_SHARED}/{project_id}"
        self.unreadable: dict[str, str] = {}

    def write(self, record: RunRecord) -> None:
        """Write a record.

        Raises:
            CloudTrainError: the volume does not answer, or refuses.
        """
        self._volume.write_bytes(f"{self._folder}/{record.id}{_ENDING}", record_bytes(record))

    def ids(self) -> list[str]:
        """Return the ids of all runs, the latest first.

        Raises:
            CloudTrainError: the volume does not answer, or refuses.
        """
        if isinstance(self._volume, S3Store):
            names = self._volume.names(self._folder)
        else:
            names = [file.name for file in visible(self._volume.folder(self._folder), _ENDING)]
        return sorted((PurePosixPath(name).name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING)), reverse=True)

    def read(self, name: str) -> RunRecord | None:
        """Return the record of an id; None if it cannot be read.

        Raises:
            CloudTrainError: the volume does not answer, or refuses.
        """
        content = self._volume.read_bytes(f"{self._folder}/{name}{_ENDING}") or b""
        record = parsed(RunRecord, content)
        if record is None:
            self.unreadable[name] = fault_of(content)
        return record

    def place(self, name: str) -> str:
        """Return where the record of an id is, for a message."""
        return f"{self._folder}/{name}{_ENDING} {self._volume.where}"


def record_bytes(record: RunRecord) -> bytes:
    """Return the content of a record's file."""
    return record.model_dump_json(indent=1).encode() + b"\n"


def is_shared(volume: Volume, project: Path) -> bool:
    """Return whether others may see a volume: it is not a directory within the project."""
    return not isinstance(volume, DirectoryVolume) or not volume.root.resolve().is_relative_to(project.resolve())
