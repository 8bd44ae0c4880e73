"""A job folder in a bucket that no pod mounts: what the pod reads and writes is named, each by a URL that is good for it alone."""

from __future__ import annotations

import json
import zipfile
from importlib import resources
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.remote_folder import BOOTSTRAP, RemoteFolder
from kedro_cloudtrain.errors import JobLostError
from kedro_cloudtrain.jobs.folder import INPUTS

if TYPE_CHECKING:
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.storage.bucket import Bucket

COURIER = "courier.py"
_STORE = "store.json"
_OUTPUTS = "outputs.zip"
_CHECKPOINT = "checkpoint.zip"
_WRITTEN = ("log.txt", "progress.jsonl", "heartbeat.json", _OUTPUTS, "result.json")
# Beyond a pod's own deadline: its result is delivered then.
_LONGER_S = 3600.0


class CarriedFolder(RemoteFolder):
    """As `RemoteFolder`, for a pod that has the folder brought to it."""

    def __init__(self, folder: JobFolder, bucket: Bucket) -> None:
        super().__init__(folder, bucket)
        self._bucket = bucket

    def send(self) -> None:
        """Put everything that the machine needs in the bucket."""
        super().send()
        self._write(COURIER, resources.files("kedro_cloudtrain.pod").joinpath(COURIER).read_bytes())

    def command(self, mount: str) -> str:  # noqa: ARG002  # nothing is mounted
        """Give the pod's one short line."""
        return "python3 -c \"import os,urllib.request as u;exec(u.urlopen(os.environ['CLOUDTRAIN_START'],timeout=60).read())\""

    def environment(self, lasts_s: float) -> dict[str, str]:
        """Give what the pod needs to begin: two URLs, which read two files and nothing else.

        Args:
            lasts_s: how long the pod may live, in seconds.
        """
        lasts_s += _LONGER_S
        names = [file.name for file in (*self.folder.needed, self.folder.machine)] + [BOOTSTRAP]
        sent = {f"inputs/{file.name}": self._bucket.presigned(f"{INPUTS}/{file.name}", lasts_s) for file in self.folder.sent}
        said = {
            "job": self.folder.name,
            "read": {name: self._bucket.presigned(self.key(name), lasts_s) for name in names} | sent,
            "write": {name: self._bucket.presigned(self.key(name), lasts_s, write=True) for name in _WRITTEN},
            "checkpoint": {
                "read": self._bucket.presigned(self.key(_CHECKPOINT), lasts_s),
                "write": self._bucket.presigned(self.key(_CHECKPOINT), lasts_s, write=True),
            },
        }
        self._write(_STORE, json.dumps(said).encode())
        return {
            "CLOUDTRAIN_START": self._bucket.presigned(self.key(COURIER), lasts_s),
            "CLOUDTRAIN_STORE": self._bucket.presigned(self.key(_STORE), lasts_s),
        }

    def fetch(self, result: JobResult) -> None:
        """Bring the outputs here, packed as one file.

        Raises:
            JobLostError: the file is not what the pod has packed.
        """
        if not result.outputs:
            return
        packed = self.folder.path / _OUTPUTS
        self.volume.download(self.key(_OUTPUTS), packed)
        self.folder.bytes_passed += packed.stat().st_size
        wanted = {name for output in result.outputs.values() for name in output.names}
        try:
            with zipfile.ZipFile(packed) as archive:
                # By the names that the result has: none of another is taken.
                for name in wanted & set(archive.namelist()):
                    archive.extract(name, self.folder.path)
        except zipfile.BadZipFile as error:
            raise JobLostError(f"{self.key(_OUTPUTS)} in the {self.volume.name} is no archive: {error}") from error
        finally:
            packed.unlink()
