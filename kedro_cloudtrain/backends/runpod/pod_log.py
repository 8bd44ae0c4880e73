"""The log of a job on a pod: from RunPod line by line while the pod is, from the volume after that."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ApiError
from kedro_cloudtrain.jobs.folder import JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.storage.volumes import Volume

_ALL_LINES = 5000
_GONE = 404
_PAUSE_S = 2.0


class PodLog:
    """One pod's log.

    Attributes:
        printed: how many lines were given.
    """

    def __init__(self, api: RunPodApi, volume: Volume, job: str, pod_id: str) -> None:
        self._api = api
        self._volume = volume
        self._key = f"{JOBS}/{job}/log.txt"
        self._pod_id = pod_id
        self.printed = 0

    def now(self) -> Iterator[str]:
        """Give what is on the volume."""
        content = self._volume.read_bytes(self._key)
        for line in (content or b"").decode(errors="replace").splitlines():
            self.printed += 1
            yield line

    def follow(self) -> Iterator[str]:
        """Give each line as it is written, until the pod is gone; a stream that breaks is resumed where it broke.

        The stream goes with the pod: what it has not said by then is on the volume.

        Raises:
            ApiError: RunPod gives no stream.
        """
        last_id = None
        last = ""
        while True:
            try:
                for event in self._api.logs(self._pod_id, tail=_ALL_LINES, since_id=last_id):
                    last_id, last = event.id, event.line
                    self.printed += 1
                    yield last
            except ApiError as error:
                if error.status != _GONE:
                    raise
                break
            if self._api.pod(self._pod_id) is None:
                break
            time.sleep(_PAUSE_S)
        lines = list((self._volume.read_bytes(self._key) or b"").decode(errors="replace").splitlines())
        begin = len(lines) - lines[::-1].index(last) if last in lines else 0 if not self.printed else len(lines)
        for line in lines[begin:]:
            self.printed += 1
            yield line
