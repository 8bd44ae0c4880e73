"""A job that an earlier client has left on a volume: a pod that works on it, or its result."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.dear import over_limit
from kedro_cloudtrain.backends.runpod.pod_log import PodLog
from kedro_cloudtrain.errors import CloudTrainError, JobLostError, SourceError
from kedro_cloudtrain.jobs.folder import JobFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
    from kedro_cloudtrain.jobs.machine import Machine
    from kedro_cloudtrain.jobs.result import JobProgress, JobResult

logger = logging.getLogger("kedro.cloudtrain")

_WAIT_POLL_S = 5.0


class KeptPodJob:
    """A job on a volume.

    Attributes:
        folder: the job's folder on this computer, which mirrors the one on the volume.

    Args:
        remote: the job's folder on the volume.
        connect: returns the client of RunPod's API; it is called when the account has to be asked.
    """

    def __init__(self, remote: RemoteFolder, connect: Callable[[], RunPodApi]) -> None:
        self.folder = remote.folder
        self._remote = remote
        self._connect = connect

    def result(self, *, log: bool = False, kinds: Collection[str] | None = None) -> JobResult | None:
        """Bring the job's outputs to the folder on this computer, and return its result; None where it has none.

        Args:
            log: whether the job's log and its progress are brought as well.
            kinds: which of the outputs; left out, all.

        Raises:
            JobLostError: there is a result file, and it is not a result; or an output is gone.
        """
        result = self._remote.result()
        if result is not None and result.state == "succeeded":
            try:
                self._remote.fetch(result, kinds)
            except SourceError as error:
                self.discard(result)
                raise JobLostError(f"an output of {self.folder.name} is gone: {error.message}") from error
        if log:
            self._remote.follow()
        return result

    def discard(self, result: JobResult) -> None:
        """Delete a result whose outputs are not what it describes, unless another client has started the job anew meanwhile."""
        if self._remote.machine().attempt in (None, result.attempt):
            self._remote.revoke()
            self._remote.delete([self.folder.result.name])
        self.folder.result.unlink(missing_ok=True)

    def refresh(self) -> None:
        """Bring what is new of the job's log and its progress to the folder on this computer."""
        self._remote.follow()

    def prune(self) -> None:
        """Let the job, which is a trial, end at its next round; without a network volume, its pod does not see that, and it goes on."""
        self._remote.prune()

    def group(self) -> JobFolder | None:
        """Return the folder of the group whose pod works on the job, as the job's folder on the volume names it; None where none does."""
        name = self._remote.machine().group
        if not name:
            return None
        group = JobFolder(self.folder.path.with_name(name))
        return group if living_pod(self._connect(), self._remote.sibling(group).machine()) is not None else None

    def is_running(self) -> bool:
        """Return whether a client holds the job, or a pod may be working on it."""
        return self.folder.is_running() or self.folder.may_be_on_pod()

    def wait(self, report: Callable[[str, JobProgress], None]) -> JobResult | None:
        """Wait until the job is done and return its result; None where its pod has ended and has left none.

        A pod whose price has risen over the limits of its node is named, and goes on.
        """
        group = self._group_folder()
        if group is not None:
            # The group's machine reaches the job sooner or later; one that is kept goes on after it.
            KeptPodJob(self._remote.sibling(group), self._connect)._wait(report, self._remote)  # noqa: SLF001  # its own class's
        return self._wait(report)

    def _wait(self, report: Callable[[str, JobProgress], None], member: RemoteFolder | None = None) -> JobResult | None:
        """Wait until the job is done, or the job of a group that runs on its machine."""
        api, dearest = self._connect(), 0.0
        while True:
            machine = self._remote.machine()
            attempt = machine.attempt or ""
            # Asked before the volume: a pod that has ended by then has written its result, or never will.
            pod = api.pod(machine.pod) if attempt and machine.pod is not None else None
            has_pod_ended = bool(attempt) and machine.pod is not None and (pod is None or pod.has_ended)
            if pod is not None and pod.cost > dearest and (warning := over_limit(self.folder.name, machine, pod, api.now())):
                logger.warning("%s", warning, extra={"markup": False})
                dearest = pod.cost
            result = self._remote.result_after_end(attempt) if has_pod_ended else self._remote.result(attempt or None)
            if result is not None or has_pod_ended or not attempt:
                if result is not None and result.state == "succeeded" and not self._remote.packs_outputs:
                    with contextlib.suppress(CloudTrainError):  # The client that takes the outputs reports what is wrong with them.
                        self._remote.fetch(result, ["metrics"])
                if result is None and pod is not None and pod.status != "TERMINATED":
                    text = (
                        "%s has left no result, and its pod %s is still listed, as %s, and may be billed. End it: kedro cloudtrain stop %s"
                    )
                    logger.warning(text, self.folder.name, pod.id, pod.status, self.folder.name, extra={"markup": False})
                return result
            if member is not None and member.result(attempt) is not None:
                return None
            progress = self._remote.follow() if self._remote.heartbeat(attempt) is not None else None
            if progress is not None:
                report(self.folder.name, progress)
            time.sleep(_WAIT_POLL_S)

    def log(self, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines of the job's log: from RunPod while its pod is alive, else from the volume, else from this computer."""
        pod_id = self.folder.read_machine().pod
        lines = 0
        if pod_id:
            log = PodLog(self._connect(), self._remote.volume, self.folder.name, pod_id)
            try:
                for line in log.follow() if follow else log.read():
                    lines += 1
                    yield f"{line}\n"
            except CloudTrainError:
                if lines:
                    raise
        if not lines:
            yield from self.folder.log_lines(follow=follow)

    def delete(self, sent: Iterable[Path]) -> None:
        """Delete the job's files from the volume, and those of its inputs that no other job needs."""
        self._remote.delete_job()
        self._remote.delete_sent(file.name for file in sent)

    def _group_folder(self) -> JobFolder | None:
        """Return the folder of the group that runs the job, as its machine has noted, or as a group's own spec on this computer says."""
        machine = self._remote.machine()
        if machine.attempt:
            return None
        return JobFolder(self.folder.path.with_name(machine.group)) if machine.group else self.folder.group()


def living_pod(api: RunPodApi, machine: Machine) -> Pod | None:
    """Return the pod that a job's `machine.json` names, if it is alive."""
    if not machine.attempt or not machine.name:
        return None
    api.may_have_clusters |= machine.machines > 1
    pod = api.pod(machine.pod) if machine.pod else api.find_pod(machine.name)
    return pod if pod is not None and not pod.has_ended else None
