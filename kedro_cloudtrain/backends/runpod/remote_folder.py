"""A job folder on a network volume, and the one here that mirrors it: exact keys, never a listing."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from kedro_cloudtrain.errors import JobLostError
from kedro_cloudtrain.jobs.folder import INPUTS, JOBS
from kedro_cloudtrain.jobs.result import JobResult
from kedro_cloudtrain.worker.protocol import ON_VOLUME, STARTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobProgress
    from kedro_cloudtrain.storage.volumes import Volume

BOOTSTRAP = "bootstrap.py"


class Heartbeat(BaseModel):
    """`heartbeat.json`: a number that grows, the stage of the machine, how busy its GPU is."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    attempt: str = ""
    number: int = 0
    stage: str = ""
    gpu_percent: float | None = None


class RemoteFolder:
    """A job's folder on the volume.

    Attributes:
        folder: the one here; what comes from the volume is put there, so that it reads like a local job's.
    """

    def __init__(self, folder: JobFolder, volume: Volume) -> None:
        self.folder = folder
        self.volume = volume
        self._read_to: dict[str, int] = {}
        self._kept: set[str] = set()

    def beside(self, folder: JobFolder) -> RemoteFolder:
        """Give the one of another job on the same volume."""
        return RemoteFolder(folder, self.volume)

    def key(self, name: str) -> str:
        """Give the key of one of its files."""
        return f"{JOBS}/{self.folder.name}/{name}"

    def send(self) -> None:
        """Put everything that the machine needs but `machine.json` on the volume."""
        folder = self.folder
        for file in folder.needed:
            self._write(file.name, file.read_bytes())
        self._write(BOOTSTRAP, resources.files("kedro_cloudtrain.pod").joinpath(BOOTSTRAP).read_bytes())
        for file in folder.sent:
            # Named by its content: what another job has sent is there already.
            if self.volume.upload(file, f"{INPUTS}/{file.name}"):
                folder.bytes_passed += file.stat().st_size

    def command(self, mount: str) -> str:
        """Give the pod's one short line; everything else is in the folder, where the pod mounts the volume."""
        return f"python3 {mount}/{self.key(BOOTSTRAP)}"

    def environment(self, lasts_s: float) -> dict[str, str]:  # noqa: ARG002  # what is mounted needs nothing more
        """Give what the pod needs to reach the folder, for so many seconds."""
        return {}

    def begin_attempt(self) -> None:
        """Read the log and the progress from their beginning: each attempt has its own on the volume, and all of them are kept here."""
        self._read_to.clear()

    def machine(self) -> dict[str, Any]:
        """Read `machine.json` on the volume: which pod has the job; empty where none has been asked for."""
        content = self.volume.read_bytes(self.key(self.folder.machine.name))
        try:
            said = json.loads(content) if content else {}
        except ValueError:
            return {}  # It is being written.
        return said if isinstance(said, dict) else {}

    def say_machine(self, machine: dict[str, Any]) -> None:
        """Write `machine.json`, there and here: what is asked for before it is, and its id as soon as it is known."""
        self.folder.write_json(self.folder.machine, machine)
        self._write(self.folder.machine.name, json.dumps(machine, indent=2).encode())

    def revoke(self) -> None:
        """Take the job from whatever pod has it: a pod that sees this ends itself, even if RunPod has not been reached."""
        self.say_machine({**(self.folder.read_json(self.folder.machine) or {}), "attempt": ""})

    def result(self, attempt: str | None = None) -> JobResult | None:
        """Give the result of an attempt, or of whichever was the last; None while there is none.

        Raises:
            JobLostError: it is there and is no result.
        """
        content = self.volume.read_bytes(self.key("result.json"))
        if content is None:
            return None
        try:
            result = JobResult.model_validate_json(content)
        except ValidationError as error:
            raise JobLostError(f"{self.key('result.json')} is not a result: {error}") from error
        if attempt is not None and result.attempt != attempt:
            return None  # A pod that was given up has written it.
        self.folder.write(self.folder.result, content)
        return result

    def follow(self) -> JobProgress | None:
        """Bring what is new of the log and the progress here; give the latest round, where there is a newer one.

        Before the attempt's first heartbeat, what lies there is an earlier attempt's.
        """
        for file in (self.folder.log, self.folder.progress):
            start = self._read_to.get(file.name, 0)
            content = self.volume.read_bytes(self.key(file.name), start)
            if content:
                with file.open("ab" if file.name in self._kept else "wb") as stream:
                    stream.write(content)
                self._kept.add(file.name)
                self._read_to[file.name] = start + len(content)
                self.folder.bytes_passed += len(content)
        return self.folder.new_progress()

    def heartbeat(self, attempt: str) -> Heartbeat | None:
        """Give an attempt's latest heartbeat, or None before the first."""
        content = self.volume.read_bytes(self.key("heartbeat.json"))
        try:
            said = Heartbeat.model_validate_json(content) if content else None
        except ValidationError:
            return None
        return said if said is not None and said.attempt == attempt else None

    def fetch(self, result: JobResult) -> None:
        """Bring the outputs here, each to its place and whole."""
        for output in result.outputs.values():
            for name in output.names:
                self.volume.download(self.key(name), self.folder.path / name)

    def checkpoint_names(self) -> list[str]:
        """Name the files of the state that a lost machine has left for another one to go on from."""
        try:
            latest = json.loads(self.volume.read_bytes(self.key("checkpoint/latest.json")) or b"{}")
            files = [f"checkpoint/{latest['folder']}/{name}" for name in latest["files"]]
        except (ValueError, KeyError, TypeError):
            return []
        return [*files, "checkpoint/latest.json"]

    def take_away(self, names: Iterable[str]) -> None:
        """Delete some of its files, `result.json` first where it is the first name; one that is not there is no error."""
        for name in names:
            self.volume.delete(self.key(name))

    def delete_job(self) -> None:
        """Delete all that the volume has of the job, the result first: no half of it is taken for the whole."""
        result, machine = self.folder.read_result(), self.folder.read_json(self.folder.machine) or {}
        outputs = [name for output in result.outputs.values() for name in output.names] if result is not None else []
        markers = [f"{STARTED}{machine['attempt']}"] if machine.get("attempt") else []
        self.take_away([*ON_VOLUME, *self.checkpoint_names(), *outputs, *markers])

    def take_away_sent(self, names: Iterable[str]) -> None:
        """Delete some of what was sent along with the volume's jobs."""
        for name in names:
            self.volume.delete(f"{INPUTS}/{name}")

    def _write(self, name: str, content: bytes) -> None:
        self.volume.write_bytes(self.key(name), content)
        self.folder.bytes_passed += len(content)
