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
_MOST_BYTES = 256_000_000


class PodLog:
    """The log of one pod."""

    def __init__(self, api: RunPodApi, volume: Volume, job: str, pod_id: str) -> None:
        self._api = api
        self._volume = volume
        self._key = f"{JOBS}/{job}/{LOG}"
        self._pod_id = pod_id

    def read(self) -> list[str]:
        """Return the lines that are on the volume, of a log without end the first ones."""
        return (self._volume.read_bytes(self._key, 0, _MOST_BYTES) or b"").decode(errors="replace").splitlines()

    def follow(self) -> Iterator[str]:
        """Yield each line as it is written, until the pod is gone; a stream that breaks is resumed where it broke.

        The stream ends with the pod: the lines that it has not sent by then are read from the volume.

        Raises:
            ApiError: RunPod refuses the stream.
        """
        last_id = last = None
        while True:
            try:
                for event in self._api.logs(self._pod_id, tail=_ALL_LINES, since_id=last_id):
                    last_id, last = event.id, event.line
                    yield last
            except ApiError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                break
            if self._api.pod(self._pod_id) is None:
                break
            time.sleep(_PAUSE_S)
        lines = self.read()
        if last is None:
            yield from lines
        elif last in lines:
            yield from lines[len(lines) - lines[::-1].index(last) :]
