"""An S3 bucket that no pod mounts: where job folders are kept for who has no network volume."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kedro_cloudtrain.storage.network_volume import NetworkVolume

if TYPE_CHECKING:
    from collections.abc import Mapping

# Signature Version 4 allows a week at most (AWS's docs, "Sharing objects with presigned URLs").
LONGEST_S = 7 * 24 * 3600


class Bucket(NetworkVolume):
    """A bucket of any S3 server, by the same exact keys; its S3 keys are those of boto3's own chain.

    Args:
        bucket: its name.
        region: where it is; left out, boto3's own.
        endpoint_url: of another server than AWS's.
        credentials: `access_key` and `secret_key`, where an entry has its own.
    """

    mounted = False

    def __init__(
        self, bucket: str, region: str | None = None, endpoint_url: str | None = None, credentials: Mapping[str, str] | None = None
    ) -> None:
        # Not the volume's: its data centre says where the pods have to be, and this one's does not.
        self.id = bucket
        self.data_center = None
        self._region = region
        self._credentials = dict(credentials or {})
        self._endpoint = endpoint_url
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Bucket({self.id!r})"

    @property
    def name(self) -> str:
        """As it is shown."""
        return f"bucket {self.id}"

    @property
    def region(self) -> str | None:
        """Where it is."""
        return self._region

    def presigned(self, key: str, lasts_s: float, *, write: bool = False) -> str:
        """Give a URL by which whoever has it reads one file, or writes it, for so many seconds; a week at most."""
        method = "put_object" if write else "get_object"
        url: str = self.s3.generate_presigned_url(method, Params=self.place(key), ExpiresIn=int(min(lasts_s, LONGEST_S)))
        return url

    def _keys(self) -> tuple[str | None, str | None]:
        return self._credentials.get("access_key"), self._credentials.get("secret_key")
