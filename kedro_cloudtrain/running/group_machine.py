"""The machine that a group of small jobs shares: its folder, its environment, and the jobs that come to it later."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import secrets
import threading
import time
import zipfile
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import CloudTrainError, JobLostError, JobTimeoutError
from kedro_cloudtrain.jobs.fingerprint import job_name
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.worker_archive import add_member, worker_archive
from kedro_cloudtrain.running.group_environment import has_machine, machine_key, sealed_keys, shared_environment
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.worker.protocol import GROUP_PREFIX, JOBS, PER_JOB_VARIABLES, TIMEOUT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.backends.backend import JobRequest, MachineBackend
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.running.group_watcher import GroupWatcher, Member


class GroupMachine:
    """One machine for the jobs of a group, one after another; where it is kept, for those as well that come later.

    Args:
        group: the group's name.
        members: the jobs that it begins with, in the order in which they run.
        keep_s: for how many seconds it waits for more jobs once it has none.

    Attributes:
        group: the group's name.
        first: the jobs that it has begun with.
        members: these, and those that have come later.
    """

    def __init__(self, group: str, members: Sequence[Member], keep_s: float = 0.0) -> None:
        self.group = group
        self.first = tuple(members)
        self.members = list(members)
        # What is left alone gets no more jobs.
        self._keep_s = 0.0 if self.detached else keep_s
        self._run = secrets.token_hex(4)
        self._lock = threading.RLock()
        self._request: JobRequest | None = None
        self._backend: MachineBackend | None = None
        self._watcher: GroupWatcher | None = None
        self._batches = 0
        self._is_closed = not self._keep_s
        # Whether the machine has yet to be told that no more jobs will come.
        self._is_end_due = False

    @functools.cached_property
    def folder(self) -> JobFolder:
        """The machine's own folder, named by its first jobs: the same jobs, asked for again, find it."""
        digest = hashlib.sha256("\n".join(member.job for member in self.first).encode()).hexdigest()
        volume = self.first[0].request.volume
        return JobFolder(volume.folder(f"{JOBS}/{job_name(f'{GROUP_PREFIX}{self.group}', digest)}"))

    @property
    def detached(self) -> bool:
        """Whether all of its jobs are left running."""
        return all(member.watcher is None for member in self.first)

    @property
    def is_idle(self) -> bool:
        """Whether all of its jobs are done."""
        with self._lock:
            return all(member.done.is_set() for member in self.members)

    @property
    def unfinished(self) -> list[Member]:
        """The jobs that are not done."""
        with self._lock:
            return [member for member in self.members if not member.done.is_set()]

    def request(self) -> JobRequest:
        """Return what a backend is asked to run: the largest workload, and what all of the first jobs need.

        Raises:
            ConfigError: two of the jobs reach the same place with different credentials.
        """
        requests = [member.request for member in self.first]
        with self._lock:
            keep_s = 0.0 if self._is_closed else self._keep_s
        return dataclasses.replace(
            requests[0],
            folder=self.folder,
            workload=max((request.workload for request in requests), key=lambda workload: workload.cells or 0.0),
            requirements=tuple(dict.fromkeys(line for request in requests for line in request.requirements)),
            cpu_requirements=tuple(dict.fromkeys(line for request in requests for line in request.cpu_requirements)),
            python=next((request.python for request in requests if request.python), ""),
            environment=shared_environment(requests, machine_key(self.folder.name) if keep_s else {}),
            members=tuple(request.folder for request in requests),
            keep_s=keep_s,
            is_wanted=self._is_wanted if keep_s else None,
        )

    def write(self, request: JobRequest, generator: TrainingScriptGenerator) -> None:
        """Write the machine's folder: its script, and, where the machine is not on this computer, the folders of its jobs."""
        folder = request.folder
        folder.clear()
        self._write_spec()
        script = generator.render_group(self.group, self._run, self._environments(self.first, kept=bool(request.keep_s)), request.keep_s)
        folder.write(folder.script, script.encode())
        folder.write(folder.archive, worker_archive(bytecode=isinstance(request.volume, DirectoryVolume)), counted=False)
        if not isinstance(request.volume, DirectoryVolume):
            folder.write(folder.members, _packed(request.members, folder.archive))

    def open(self, request: JobRequest, backend: MachineBackend, watcher: GroupWatcher) -> None:
        """Let further jobs come from now on, where the machine is kept."""
        with self._lock:
            self._request, self._backend, self._watcher = request, backend, watcher
            self._is_closed = self._is_closed or not request.keep_s

    def takes(self, member: Member) -> bool:
        """Return whether the machine is open, has what a further job needs, and has time enough for it."""
        with self._lock:
            if self._is_closed or self._request is None or not has_machine(self._request, member.request):
                return False
            # A job that the machine's deadline cuts short begins anew on a machine of its own.
            return self._left_s(self._request) >= min(member.request.timeout_s, self._request.timeout_s / 2)

    def hand_in(self, members: Sequence[Member]) -> bool:
        """Pass further jobs to the machine, behind those that it has; return whether it was open, and has what they need.

        Raises:
            BackendError: they cannot be brought to the machine.
        """
        with self._lock:
            request, backend = self._request, self._backend
            if request is None or backend is None or not all(self.takes(member) for member in members):
                return False
            self.members += members
            if self._watcher is not None:
                self._watcher.end_idling()
            self._write_spec()
            folders = [member.request.folder for member in members]
            for folder in folders:
                folder.write_json(folder.machine, {"group": self.folder.name, "run": self._run})
            backend.deliver(request, self._batch(request, members), folders)
            self._batches += 1
            return True

    def end(self, job: str) -> None:
        """Let the machine end one of its jobs, which then has no result."""
        with self._lock:
            request, backend = self._request, self._backend
            member = next((member for member in self.members if member.job == job and not member.done.is_set()), None)
        if request is None or backend is None or member is None:
            return
        folder = member.request.folder
        backend.deliver(member.request, {folder.ending: json.dumps({"run": self._run}).encode()})

    def close(self, *, again: bool = False) -> None:
        """Let the machine end once it has done its jobs; the client passes no more to it.

        Args:
            again: whether it is told so again, where that has failed before.

        Raises:
            BackendError: it cannot be told so, and ends itself later.
        """
        with self._lock:
            if self._is_closed and not (again and self._is_end_due):
                return
            self._is_closed = self._is_end_due = True
            request, backend = self._request, self._backend
            content = {"run": self._run, "batches": self._batches}
        # Outside the lock: a volume that does not answer must not hold up those that ask whether the machine takes a job.
        if request is not None and backend is not None:
            backend.deliver(request, {self.folder.closing: json.dumps(content).encode()})
            self._is_end_due = False

    def finish(self) -> list[Member]:
        """Take no more jobs, since the machine is over, and return those that it has not done."""
        with self._lock:
            self._is_closed = True
            return self.unfinished

    def finish_lost(self, error: CloudTrainError) -> list[Member]:
        """Take no more jobs, since the machine has ended with an error, and return those that are to run on another one.

        A job that came later must not suffer for the earlier ones: if the machine's deadline cut it short, or a lost machine never
        reached it, it runs again elsewhere.

        Raises:
            CloudTrainError: the error, where it is one of the jobs'.
        """
        left = self.finish()
        again = [member for member in left if member not in self.first]
        if isinstance(error, JobLostError):
            again = [member for member in again if not member.has_begun]
        elif not isinstance(error, JobTimeoutError):
            again = []
        if len(again) < len(left):
            raise error
        return again

    def _is_wanted(self) -> bool:
        """Return whether another machine is to take over where this one is lost: one that had no job is not replaced."""
        with self._lock:
            self._is_closed = self._is_closed or self.is_idle
            return not self.is_idle

    def _left_s(self, request: JobRequest) -> float:
        """Return how many seconds the machine has left; before it is there, all that it will have."""
        machine = self.folder.read_machine()
        lives_s = min(request.timeout_s, machine.lifetime_s or request.timeout_s)
        began_at = machine.created_at or machine.started_at
        return lives_s if began_at is None else began_at + lives_s - time.time()

    def _write_spec(self) -> None:
        sent = sorted({file.name for member in self.members for file in member.request.folder.sent})
        jobs = [member.job for member in self.members]
        content = {"name": f"group {self.group}", "run": self._run, "jobs": jobs, "sent": sent}
        self.folder.write_json(self.folder.spec, content)

    def _batch(self, request: JobRequest, members: Sequence[Member]) -> dict[Path, bytes]:
        """Return the files of a further batch, the one last by which the machine finds it."""
        batch, archive = self.folder.batch(self._batches + 1)
        packed = b""
        if not isinstance(request.volume, DirectoryVolume):
            packed = _packed((member.request.folder for member in members), self.folder.archive)
        content = {
            "run": self._run,
            "jobs": self._environments(members, kept=True),
            "keys": sealed_keys(request, [member.request for member in members], self._run),
            "packed": hashlib.sha256(packed).hexdigest() if packed else "",
        }
        return {**({archive: packed} if packed else {}), batch: json.dumps(content, indent=2).encode()}

    def _environments(self, members: Sequence[Member], *, kept: bool) -> Mapping[str, Mapping[str, str]]:
        """Return what each job finds in its environment for itself; on a machine that is kept, its own deadline as well."""
        return {
            member.job: {name: value for name, value in member.request.environment.items() if name in PER_JOB_VARIABLES}
            | ({TIMEOUT_VARIABLE: f"{member.request.timeout_s:g}"} if kept else {})
            for member in members
        }


def close_left(request: JobRequest, backend: MachineBackend) -> None:
    """Let the machine of a client that is gone end, if it was this computer's: else its client may have more jobs for it."""
    run = (request.folder.read_json(request.folder.spec) or {}).get("run")
    if run:
        with contextlib.suppress(CloudTrainError):
            backend.deliver(request, {request.folder.closing: json.dumps({"run": run, "batches": 0}).encode()})


def _packed(folders: Iterable[JobFolder], archive_there: Path) -> bytes:
    """Pack the files of jobs that a machine needs; a worker's archive only if it differs from the machine's own."""
    buffer, archive_content = io.BytesIO(), archive_there.read_bytes()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in folders:
            for file in folder.needed:
                content = file.read_bytes()
                if file.name != archive_there.name or content != archive_content:
                    add_member(archive, f"{folder.name}/{file.name}", content)
    return buffer.getvalue()
