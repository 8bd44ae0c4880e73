"""The log of a job on a pod: from RunPod line by line while the pod exists, from the volume after that."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ApiError
from kedro_cloudtrain.worker.protocol import JOBS, LOG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.storage.volumes import Volume

_ALL_LINES = 5000
_PAUSE_S = 2.0


class PodLog:
    """The log of one pod.

    Attributes:
        line_count: how many lines have been yielded.
    """

    def __init__(self, api: RunPodApi, volume: Volume, job: str, pod_id: str) -> None:
        self._api = api
        self._volume = volume
        self._key = f"{JOBS}/{job}/{LOG}"
        self._pod_id = pod_id
        self.line_count = 0

    def read(self) -> Iterator[str]:
        """Yield the lines that are on the volume."""
        for line in self._lines_on_volume():
            self.line_count += 1
            yield line

    def follow(self) -> Iterator[str]:
        """Yield each line as it is written, until the pod is gone; a stream that breaks is resumed where it broke.

        The stream ends with the pod: the lines that it has not sent by then are read from the volume.

        Raises:
            ApiError: RunPod refuses the stream.
        """
        last_id = None
        last = ""
        while True:
            try:
                for event in self._api.logs(self._pod_id, tail=_ALL_LINES, since_id=last_id):
                    last_id, last = event.id, event.line
                    self.line_count += 1
                    yield last
            except ApiError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                break
            if self._api.pod(self._pod_id) is None:
                break
            time.sleep(_PAUSE_S)
        lines = self._lines_on_volume()
        begin = len(lines) - lines[::-1].index(last) if last in lines else 0 if not self.line_count else len(lines)
        for line in lines[begin:]:
            self.line_count += 1
            yield line

    def _lines_on_volume(self) -> list[str]:
        return (self._volume.read_bytes(self._key) or b"").decode(errors="replace").splitlines()
