"""A job folder in a bucket, which no pod mounts: the pod reads and writes by signed URLs, each of which is good for one file."""

from __future__ import annotations

import json
import zipfile
from importlib import resources
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
from kedro_cloudtrain.errors import JobLostError
from kedro_cloudtrain.storage.bucket import Bucket
from kedro_cloudtrain.storage.disk import writing
from kedro_cloudtrain.worker.protocol import (
    BOOTSTRAP,
    CHECKPOINT_ZIP,
    COURIER,
    HEARTBEAT,
    INPUTS,
    LOG,
    OUTPUTS_ZIP,
    POD_ARCHIVE,
    PROGRESS,
    RESULT,
    SENT,
    START_VARIABLE,
    STORE,
    STORE_VARIABLE,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.storage.s3 import S3Store

_WRITTEN = (LOG, PROGRESS, HEARTBEAT, OUTPUTS_ZIP, RESULT)
# The URLs outlive the pod's deadline, since the pod delivers its result after that.
_DELIVERY_S = 3600.0


class BucketFolder(RemoteFolder):
    """A `RemoteFolder` for a pod that has a courier copy the folder to and from the bucket."""

    packs_outputs = True

    def __init__(self, folder: JobFolder, bucket: Bucket) -> None:
        super().__init__(folder, bucket)
        self._bucket = bucket

    def send(self) -> None:
        """Write everything to the bucket that the machine needs, except `machine.json`."""
        super().send()
        self._write(COURIER, resources.files("kedro_cloudtrain.pod").joinpath(COURIER).read_bytes())

    def command(self, mount: str) -> str:  # noqa: ARG002  # nothing is mounted
        """Return the pod's command, one short line that runs the courier."""
        return f"python3 -c \"import os,urllib.request as u;exec(u.urlopen(os.environ['{START_VARIABLE}'],timeout=60).read())\""

    def environment(self, lasts_s: float) -> dict[str, str]:
        """Return the variables that the pod needs to begin: two URLs, by which it can read two files and nothing else.

        Args:
            lasts_s: how long the pod may live, in seconds.
        """
        lasts_s += _DELIVERY_S
        names = [file.name for file in (*self.folder.needed, self.folder.machine)] + [BOOTSTRAP, POD_ARCHIVE]
        sent = {f"{SENT}/{file.name}": self._bucket.presigned(f"{INPUTS}/{file.name}", lasts_s) for file in self.folder.sent}
        store = {
            "job": self.folder.name,
            "read": {name: self._bucket.presigned(self.key(name), lasts_s) for name in names} | sent,
            "write": {name: self._bucket.presigned(self.key(name), lasts_s, write=True) for name in _WRITTEN},
            "checkpoint": {
                "read": self._bucket.presigned(self.key(CHECKPOINT_ZIP), lasts_s),
                "write": self._bucket.presigned(self.key(CHECKPOINT_ZIP), lasts_s, write=True),
            },
        }
        self._write(STORE, json.dumps(store).encode())
        return {
            START_VARIABLE: self._bucket.presigned(self.key(COURIER), lasts_s),
            STORE_VARIABLE: self._bucket.presigned(self.key(STORE), lasts_s),
        }

    def fetch(self, result: JobResult, kinds: Collection[str] | None = None) -> None:
        """Download the outputs, which the pod has packed into one file, and unpack them in the mirror.

        Args:
            result: names them.
            kinds: which of them; they come with all others.

        Raises:
            JobLostError: the file is not a zip archive.
            SourceError: the bucket does not have it.
        """
        del kinds
        if not result.outputs:
            return
        packed = self.folder.path / OUTPUTS_ZIP
        self._bring(OUTPUTS_ZIP)
        self.folder.bytes_passed += packed.stat().st_size
        names = {name for output in result.outputs.values() for name in output.names}
        try:
            with writing(self.folder.path / OUTPUTS_ZIP), zipfile.ZipFile(packed) as archive:
                # Only files that the result names are unpacked.
                for name in names & set(archive.namelist()):
                    archive.extract(name, self.folder.path)
        except zipfile.BadZipFile as error:
            raise JobLostError(f"{self.key(OUTPUTS_ZIP)} in the {self.volume.name} is not a zip archive: {error}") from error
        finally:
            packed.unlink()


def remote_folder(folder: JobFolder, volume: S3Store) -> RemoteFolder:
    """Return a job's folder on the volume; in a bucket, which no pod mounts, everything is carried to the pod and back."""
    return BucketFolder(folder, volume) if isinstance(volume, Bucket) else RemoteFolder(folder, volume)
