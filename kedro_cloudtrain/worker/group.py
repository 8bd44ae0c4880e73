"""Several jobs on one machine, one after another, each in its own folder and its own process."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import zipfile
from pathlib import Path
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any

from .deadline import watch_deadline
from .errors import MachineError
from .group_job import GroupJob
from .locks import Locks
from .protocol import (
    ARCHIVE,
    ATTEMPT_VARIABLE,
    CLOSE,
    JOB_KEYS_VARIABLE,
    LOG,
    MACHINE,
    MEMBERS,
    OUTPUTS,
    PROGRESS,
    RESULT,
    TIMEOUT_VARIABLE,
    batch_file,
    batch_members,
)
from .results import write_result
from .signatures import sealed
from .warm import CAN_FORK, WarmProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

# How often a machine that is kept looks for its next jobs: at first, when the next one is likely to come, and later.
_LOOK_EVERY_S = 0.03
_LOOK_LATER_EVERY_S = 0.2
_LATER_S = 5.0


def run_group(script: str, run: str, jobs: Mapping[str, Mapping[str, str]], keep_s: float = 0.0) -> None:
    """Run the jobs whose folders are beside the group's; the next job runs even if one fails.

    `progress.jsonl` has a line for each job that has ended, and some for how far the one is that runs. A machine that replaces a lost one
    begins where that one stopped.

    Args:
        script: the group's script.
        run: the name of this run of the group: a job with a result of another run is run again.
        jobs: the names of the jobs' folders, in order, with each job's own environment variables.
        keep_s: for how many seconds the machine waits for more jobs once it has none.
    """
    watch_deadline()
    folder = Path(script).resolve().parent
    if (folder / MEMBERS).is_file():
        _unpack(folder / MEMBERS)
    machine = _Machine(folder, run, keep_s)
    try:
        with (folder / PROGRESS).open("w", encoding="utf-8", buffering=1) as progress:
            batch: _Batch | None = _Batch({job: dict(own) for job, own in jobs.items()})
            while batch is not None:
                machine.run_batch(batch, progress)
                batch = machine.next_batch() if keep_s else None
    finally:
        machine.close()
    write_result(folder, {"state": "succeeded", **machine.figures()})


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Jobs that have come to the machine together.

    Attributes:
        jobs: their names, with each job's own environment variables.
        keys: what each of them signs by, sealed by the machine's own key.
    """

    jobs: Mapping[str, Mapping[str, str]]
    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)


class _Machine:
    """The machine of a group.

    Args:
        folder: its folder.
        run: the name of this run of the group.
        keep_s: for how many seconds it waits for more jobs.
    """

    def __init__(self, folder: Path, run: str, keep_s: float) -> None:
        self._folder, self._run, self._keep_s = folder, run, keep_s
        self._began, self._idle_s = time(), 0.0
        self._batches = self._count = self._done = 0
        self._locks = Locks()
        self._warm = WarmProcess(folder / ARCHIVE) if keep_s and CAN_FORK and (folder / ARCHIVE).is_file() else None

    def run_batch(self, batch: _Batch, progress: TextIO) -> None:
        """Run the jobs of a batch.

        Raises:
            SystemExit: another machine goes on from here.
        """
        places = [self._folder.parent / job for job in batch.jobs]
        self._count += len(places)
        for place in places:
            if not (place / ARCHIVE).exists() and (self._folder / ARCHIVE).exists():
                shutil.copyfile(self._folder / ARCHIVE, place / f".{ARCHIVE}")
                (place / f".{ARCHIVE}").replace(place / ARCHIVE)
            if not self._is_done(place):
                _clear(place)
                # By it, a client that looks for this job finds its group.
                _write(place / MACHINE, {"group": self._folder.name, "run": self._run})
        for place in places:
            self._report(progress)
            if self._is_done(place):
                print(f"{place.name} is done already", flush=True)  # noqa: T201  # the group's log
            elif _read(place / MACHINE).get("run") != self._run:
                print(f"{place.name} now belongs to another machine", flush=True)  # noqa: T201
            else:
                self._run_job(place, batch, progress)
            self._locks.release(place.name)
            self._done += 1
        self._report(progress)

    def next_batch(self) -> _Batch | None:
        """Wait for the next batch and return it; None where none comes in time, or none is expected."""
        waits_since = monotonic()
        try:
            while (waited_s := monotonic() - waits_since) < self._keep_s:
                # Before the batches: what came before the close file is there by now.
                closed = _read(self._folder / CLOSE)
                batch = self._read_batch(self._batches + 1)
                if batch is not None:
                    self._batches += 1
                    return batch
                self._locks.take()
                if self._locks.is_client_gone:
                    return None
                if closed.get("run") == self._run and int(closed.get("batches") or 0) <= self._batches:
                    return None
                sleep(_LOOK_EVERY_S if waited_s < _LATER_S else _LOOK_LATER_EVERY_S)
        finally:
            self._idle_s += monotonic() - waits_since
        return None

    def figures(self) -> dict[str, Any]:
        """Return what the machine's result has beside its state."""
        return {**_about(self._began), "seconds": {"idle": round(self._idle_s, 3)} if self._keep_s else {}}

    def close(self) -> None:
        """End what the machine has started for all of its jobs."""
        if self._warm is not None:
            self._warm.close()

    def _read_batch(self, number: int) -> _Batch | None:
        """Return a batch of this run; None where it is missing, or its archive is not whole yet."""
        content = _read(self._folder / batch_file(number))
        if content.get("run") != self._run:
            return None
        archive = self._folder / batch_members(number)
        if content.get("packed"):
            try:
                packed = archive.read_bytes()
            except OSError:
                return None
            if hashlib.sha256(packed).hexdigest() != content["packed"]:
                return None
            _unpack(archive)
        self._locks.take()
        return _Batch(content["jobs"], content.get("keys") or {})

    def _run_job(self, place: Path, batch: _Batch, progress: TextIO) -> None:
        """Run one job to its result; its output goes to its own log and to the group's.

        Raises:
            SystemExit: another machine goes on from here.
        """
        began, own = time(), batch.jobs[place.name]
        print(f"{place.name} begins", flush=True)  # noqa: T201
        environment = {**os.environ, **own, **self._own_keys(place.name, batch)}
        with (place / LOG).open("w", encoding="utf-8", buffering=1) as log:
            job = GroupJob(place, self._run, environment, self._warm, log)
            timeout_s = float(own.get(TIMEOUT_VARIABLE) or "inf")
            returncode = job.wait(timeout_s, lambda member: self._report(progress, place.name, member))
        if not (place / RESULT).is_file():
            write_result(place, {**_without_result(job, returncode, timeout_s), **_about(began)})
        result = _read(place / RESULT)
        if _is_fault(result):
            write_result(self._folder, {"state": "failed", "error": result["error"], **self.figures()})
            raise SystemExit(1)

    def _report(self, progress: TextIO, job: str = "", member: Mapping[str, Any] | None = None) -> None:
        line: dict[str, Any] = {"step": self._done, "of": self._count, "seconds": round(time() - self._began, 3)}
        progress.write(json.dumps(line | ({"job": job, "member": member} if member is not None else {})) + "\n")

    def _is_done(self, place: Path) -> bool:
        """Return whether the job has ended on this machine, or on the lost one that it replaces."""
        machine, result = _read(place / MACHINE), _read(place / RESULT)
        return machine.get("run") == self._run and bool(result) and not _is_fault(result)

    def _own_keys(self, job: str, batch: _Batch) -> dict[str, str]:
        """Return the variable with a job's own key alone: no job signs for another."""
        keys = json.loads(os.environ.get(JOB_KEYS_VARIABLE) or "{}")
        machine_key, sealed_key = keys.get(self._folder.name), batch.keys.get(job)
        if machine_key and sealed_key:
            keys[job] = sealed(sealed_key, machine_key, self._run, job)
        return {JOB_KEYS_VARIABLE: json.dumps({job: keys[job]} if job in keys else {})}


def _without_result(job: GroupJob, returncode: int, timeout_s: float) -> dict[str, Any]:
    """Return the result of a job that has left none."""
    if job.has_timed_out:
        return {"state": "timed out", "error": {"type": "Timeout", "message": f"ended at its deadline of {timeout_s:g} s"}}
    if job.was_ended:
        return {"state": "cancelled", "error": {"message": "ended by its client"}}
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = " (out of memory, often)" if name == "SIGKILL" else ""
        return {"state": "lost", "error": {"message": f"killed by {name}{hint}"}}
    return {"state": "failed", "error": {"message": f"ended with exit code {returncode} and left no result"}}


def _is_fault(result: Mapping[str, Any]) -> bool:
    """Return whether the machine could not do a job, which another one may."""
    error = result.get("error")
    return isinstance(error, dict) and error.get("type") == MachineError.__name__


def _clear(place: Path) -> None:
    """Remove what an earlier run has left, except its checkpoint: the job itself knows whether that is its own."""
    for name in (RESULT, LOG, PROGRESS):
        (place / name).unlink(missing_ok=True)
    shutil.rmtree(place / OUTPUTS, ignore_errors=True)


def _unpack(members: Path) -> None:
    with zipfile.ZipFile(members) as archive:
        archive.extractall(members.parents[1])


def _about(began: float) -> dict[str, Any]:
    return {"attempt": os.environ.get(ATTEMPT_VARIABLE), "started_at": began, "finished_at": time()}


def _read(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def _write(file: Path, value: object) -> None:
    temporary = file.with_name(f".{file.name}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(file)
