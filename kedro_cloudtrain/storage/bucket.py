"""An S3 bucket that no pod mounts: it keeps the job folders where there is no network volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_cloudtrain.storage.s3 import S3Store
from kedro_cloudtrain.storage.s3_calls import Hints

if TYPE_CHECKING:
    from collections.abc import Mapping

# Signature Version 4 allows a week at most (AWS's docs, "Sharing objects with presigned URLs").
LONGEST_S = 7 * 24 * 3600


class Bucket(S3Store):
    """A bucket on any S3 server; a pod reaches it by presigned URLs.

    Args:
        bucket: the bucket's name.
        region: where the bucket is; left out, boto3's own.
        endpoint_url: the address of another server than AWS's.
        credentials: `access_key` and `secret_key`; left out, boto3's own search.
    """

    mounted = False
    _hints = Hints(
        settings="volume.bucket, volume.region and volume.endpoint_url",
        no_keys="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile in ~/.aws.",
        wrong_keys="Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws, and that the keys may read and write it.",
    )

    def __init__(
        self, bucket: str, region: str | None = None, endpoint_url: str | None = None, credentials: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(bucket, region, endpoint_url, credentials)

    def __repr__(self) -> str:
        return f"Bucket({self.id!r})"

    @property
    def name(self) -> str:
        """The bucket's name, as users are shown it."""
        return f"bucket {self.id}"

    @property
    def _noun(self) -> str:
        return self.name

    def presigned(self, key: str, lasts_s: float, *, write: bool = False) -> str:
        """Return a URL that lets its holder read one file, or write it.

        Args:
            key: the file's key.
            lasts_s: how long the URL works, in seconds; a week at most.
            write: whether the URL writes the file instead of reading it.
        """
        method = "put_object" if write else "get_object"
        url: str = self.client.generate_presigned_url(method, Params=self.place(key), ExpiresIn=int(min(lasts_s, LONGEST_S)))
        return url
