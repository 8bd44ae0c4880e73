"""A job folder on a network volume and its mirror on this computer: exact keys, never a listing."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import re
import threading
import time
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from kedro_cloudtrain.errors import DiskError, JobLostError, SourceError
from kedro_cloudtrain.jobs.machine import Machine
from kedro_cloudtrain.jobs.result import JobResult
from kedro_cloudtrain.jobs.volume_file import MOST_BYTES, Count, Name, VolumeRecord, fault_of, parsed, parsed_object
from kedro_cloudtrain.jobs.worker_archive import pod_archive
from kedro_cloudtrain.storage.disk import dispensable
from kedro_cloudtrain.worker.protocol import (
    BOOTSTRAP,
    CHECKPOINT,
    HEARTBEAT,
    INPUTS,
    JOBS,
    LATEST,
    MACHINE,
    ON_VOLUME,
    POD_ARCHIVE,
    PRUNE,
    RESULT,
    STARTED,
    member_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobProgress
    from kedro_cloudtrain.storage.volumes import Volume


logger = logging.getLogger("kedro.cloudtrain")

# What is new of a log or a progress is brought in pieces of this size, one at each look.
_PIECE_BYTES = 16_000_000
# How long the result of a pod that has ended is looked for.
_RESULT_APPEARS_S = 3.0
_RESULT_EVERY_S = 0.25
# The volume has the files themselves.
_COPIES = "Copies of logs and progress"


class Heartbeat(VolumeRecord):
    """`heartbeat.json`: a number that grows, the machine's stage, and how busy its GPU is."""

    attempt: str = ""
    number: Count = 0
    stage: str = ""
    gpu_percent: Annotated[float, Field(ge=0.0, le=100.0)] | None = None


class Checkpoint(VolumeRecord):
    """`checkpoint/latest.json`: the folder of the state that was written last, and the sizes of its files."""

    folder: Name
    files: dict[str, Count | None]


class RemoteFolder:
    """A job's folder on the volume.

    Attributes:
        folder: its mirror on this computer; what is read from the volume is put there, so that it reads like a local job's folder.
        packs_outputs: whether the outputs are one file, so that one of them comes with all others.
    """

    packs_outputs = False

    def __init__(self, folder: JobFolder, volume: Volume) -> None:
        self.folder = folder
        self.volume = volume
        self._offsets: dict[str, int] = {}
        self._mirrored: set[str] = set()
        self._broken: set[str] = set()
        self._machine: dict[str, Any] = {}

    def sibling(self, folder: JobFolder) -> RemoteFolder:
        """Return the folder of another job on the same volume."""
        return RemoteFolder(folder, self.volume)

    def key(self, name: str) -> str:
        """Return the key of one of the job's files."""
        return f"{JOBS}/{self.folder.name}/{name}"

    def send(self) -> None:
        """Write everything to the volume that the machine needs, except `machine.json`."""
        folder = self.folder
        for file in folder.needed:
            self._write(file.name, file.read_bytes())
        self._write(BOOTSTRAP, resources.files("kedro_cloudtrain.pod").joinpath(BOOTSTRAP).read_bytes())
        self._write(POD_ARCHIVE, pod_archive())
        self.send_inputs(folder)

    def send_inputs(self, folder: JobFolder) -> None:
        """Write the sent inputs of a job, or of a group's jobs, to the volume."""
        for file in folder.sent:
            # A sent input is named by its content, so one that another job has sent is not sent again.
            if self.volume.upload(file, f"{INPUTS}/{file.name}"):
                folder.bytes_passed += file.stat().st_size

    def add(self, file: Path, content: bytes) -> None:
        """Write one more file of the folder to the volume."""
        self._write(file.name, content)

    def command(self, mount: str) -> str:
        """Return the pod's command, one short line; all else is in the folder, on the volume that the pod mounts."""
        return f"python3 {mount}/{self.key(BOOTSTRAP)}"

    def environment(self, lasts_s: float) -> dict[str, str]:  # noqa: ARG002  # what is mounted needs nothing more
        """Return the variables that the pod needs to reach the folder for a number of seconds."""
        return {}

    def rewind(self) -> None:
        """Read the log and the progress from their beginning: on the volume each attempt has its own, in the mirror all are kept."""
        self._offsets.clear()

    def machine(self) -> Machine:
        """Read `machine.json` on the volume: which pod has the job; one without any field if none has been requested."""
        content = self._read(MACHINE)
        machine = parsed(Machine, content)
        if machine is None and content is not None:
            self._warn(MACHINE, content, "the job's machine", "the job is taken to have none")
        return machine or Machine()

    def write_machine(self, machine: dict[str, Any]) -> None:
        """Write `machine.json` to the volume and its mirror: a pod's request before the pod is created, its id as soon as it is known."""
        self._machine = machine
        self._write(MACHINE, json.dumps(machine, indent=2).encode())
        with dispensable(_COPIES):
            self.folder.write_json(self.folder.machine, machine)

    def note_terms(self, attempt: str, usd_per_hour: float, lifetime_s: float) -> None:
        """Note for a pod, whose watchdog reads it, what it costs and how long it may live, unless another attempt has the job by now."""
        machine = parsed_object(self._read(MACHINE)) or {}
        if machine.get("attempt") == attempt:
            self.write_machine({**machine, "usd_per_hour": usd_per_hour, "lifetime_s": lifetime_s})

    def revoke(self) -> None:
        """Take the job from its pod: a pod that sees this terminates itself, even if RunPod's API cannot be reached."""
        self.write_machine({**(self._machine or self.folder.read_json(self.folder.machine) or {}), "attempt": ""})

    def prune(self) -> None:
        """Write the file at which a trial ends."""
        self._write(PRUNE, b"")

    def result(self, attempt: str | None = None) -> JobResult | None:
        """Return the result of an attempt, or of the latest one; None if there is no result yet.

        Raises:
            JobLostError: `result.json` is not a result, and no attempt is named that would write it anew.
        """
        content = self._read(RESULT)
        if content is None:
            return None
        result = parsed(JobResult, content)
        if result is None:
            if attempt is not None:
                self._warn(RESULT, content, "the job's result", "it is ignored; the next pod replaces it")
                return None
            raise JobLostError(
                f"{self.key(RESULT)} {self.volume.where} is the job's result, and {fault_of(content)}: the same run does the job again."
            )
        if attempt is not None and result.attempt != attempt:
            return None  # It is from a pod that was given up.
        self._with_room(lambda: self.folder.write(self.folder.result, content))
        return result

    def result_after_end(self, attempt: str, closed: threading.Event | None = None) -> JobResult | None:
        """Return the result of an attempt whose pod has ended; None if it has left none.

        It is looked for again for a moment: the volume may show what a pod wrote last only after RunPod shows that the pod has ended.

        Args:
            attempt: the attempt.
            closed: ends the search as soon as it is set.
        """
        closed, give_up_at = closed or threading.Event(), time.monotonic() + _RESULT_APPEARS_S
        while (result := self.result(attempt)) is None and time.monotonic() < give_up_at:
            if closed.wait(_RESULT_EVERY_S):
                break
        return result

    def follow(self, *, log: bool = True) -> JobProgress | None:
        """Copy what is new of the log and the progress into the mirror; return the latest round if it is new.

        Until the attempt's first heartbeat, the volume may still have an earlier attempt's files.

        Args:
            log: whether the log is copied as well.
        """
        for file in (self.folder.log, self.folder.progress) if log else (self.folder.progress,):
            start = self._offsets.get(file.name, 0)
            content = self.volume.read_bytes(self.key(file.name), start, _PIECE_BYTES)
            if content:
                self._offsets[file.name] = start + len(content)
                with dispensable(_COPIES):
                    self._copy(file, content)
        return self.folder.new_progress()

    def _copy(self, file: Path, content: bytes) -> None:
        """Append to the mirror's file of the log or the progress."""
        try:
            with file.open("ab" if file.name in self._mirrored else "wb") as stream:
                stream.write(content)
        except OSError:
            self._drop_copies()
            raise
        self._mirrored.add(file.name)
        self.folder.bytes_passed += len(content)

    def _drop_copies(self) -> None:
        """Delete the copies of the log and the progress: what comes of them from here on is kept as long as it fits."""
        for file in (self.folder.log, self.folder.progress):
            self._mirrored.discard(file.name)
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def _with_room(self, write: Callable[[], None]) -> None:
        """Write what a job has made; on a full disk, copies make room for it.

        Raises:
            DiskError: it does not fit all the same.
        """
        try:
            write()
        except DiskError:
            self._drop_copies()
            write()

    def heartbeat(self, attempt: str) -> Heartbeat | None:
        """Return the latest heartbeat of an attempt; None before its first one."""
        heartbeat = self._latest_heartbeat()
        return heartbeat if heartbeat is not None and heartbeat.attempt == attempt else None

    def fetch(self, result: JobResult, kinds: Collection[str] | None = None) -> None:
        """Download the outputs into the mirror, each to its place and whole.

        Args:
            result: names them.
            kinds: which of them; left out, all.

        Raises:
            SourceError: the volume does not have one of them.
        """
        for kind, output in result.outputs.items():
            for name in output.names if kinds is None or kind in kinds else ():
                self._with_room(functools.partial(self._bring, name))

    def _bring(self, name: str) -> None:
        try:
            self.volume.download(self.key(name), self.folder.path / name)
        except SourceError as error:
            raise SourceError(f"{self.key(name)} is not {self.volume.where}, and the job's result names it") from error

    def delete(self, names: Iterable[str]) -> None:
        """Delete some of the job's files on the volume; one that does not exist is not an error."""
        for name in names:
            self.volume.delete(self.key(name))

    def delete_job(self) -> None:
        """Delete everything that the job has on the volume, the result first: what is left of it must not look finished.

        The volume is never listed, so of earlier attempts the markers are deleted that some file of the job still names.
        """
        result = self._last_result()
        outputs = [name for output in result.outputs.values() for name in output.names] if result is not None else []
        batches = [file.name for file in self.folder.batches]
        self.delete(dict.fromkeys((RESULT, *outputs, *self._checkpoint_names(), *self._markers(result), *batches, *ON_VOLUME)))

    def delete_sent(self, names: Iterable[str]) -> None:
        """Delete sent inputs of the volume's jobs."""
        for name in names:
            self.volume.delete(f"{INPUTS}/{name}")

    def _latest_heartbeat(self) -> Heartbeat | None:
        return parsed(Heartbeat, self._read(HEARTBEAT))

    def _last_result(self) -> JobResult | None:
        """Return the result on the volume, or the one that the mirror has kept of it; None if it cannot be read."""
        with contextlib.suppress(JobLostError):
            return self.result() or self.folder.last_result()
        return None

    def _checkpoint_names(self) -> list[str]:
        """Return the names of the files that a lost machine has left for the next one to continue from."""
        latest = f"{CHECKPOINT}/{LATEST}"
        checkpoint = parsed(Checkpoint, self._read(latest))
        names = checkpoint.files if checkpoint is not None else ()
        inside = [name for name in names if not {"..", "."} & set(name.split("/")) and not name.startswith("/")]
        return [*(f"{CHECKPOINT}/{checkpoint.folder}/{name}" for name in inside if checkpoint is not None), latest]

    def _markers(self, result: JobResult | None) -> set[str]:
        """Return the names of the markers of those attempts that the job's files name, and of what a cluster's machines left."""
        heartbeat = self._latest_heartbeat()
        attempts = {result.attempt if result is not None else None, heartbeat.attempt if heartbeat is not None else None}
        machines = (self.machine(), self.folder.read_machine())
        for machine in machines:
            attempts.add(machine.attempt)
            # A revoked attempt stands in the pod's name alone.
            if name := re.search(r"-([0-9a-f]{8})$", machine.name or ""):
                attempts.add(name[1])
        named = [attempt for attempt in attempts if attempt and re.fullmatch(r"[A-Za-z0-9_-]+", attempt)]
        several = max(machine.machines for machine in machines)
        return {name for attempt in named for name in (f"{STARTED}{attempt}", *member_files(attempt, several))}

    def _read(self, name: str) -> bytes | None:
        """Return a small file's content; of one that is too large, only as much as shows that."""
        return self.volume.read_bytes(self.key(name), 0, MOST_BYTES + 1)

    def _warn(self, name: str, content: bytes, what: str, consequence: str) -> None:
        """Log once that a file cannot be read."""
        if name not in self._broken:
            self._broken.add(name)
            message = f"{self.key(name)} {self.volume.where} is {what}, and {fault_of(content)}: {consequence}"
            logger.warning(message, extra={"markup": False})

    def _write(self, name: str, content: bytes) -> None:
        self.volume.write_bytes(self.key(name), content)
        self.folder.bytes_passed += len(content)
