"""A network volume of RunPod's, through its S3 API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.rehearsed import is_rehearsed
from kedro_cloudtrain.storage.s3 import S3Store
from kedro_cloudtrain.storage.s3_calls import Hints
from kedro_cloudtrain.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

# RunPod's docs, "S3-compatible API", August 2026.
DATA_CENTERS = (
    "EU-CZ-1",
    "EU-RO-1",
    "EUR-IS-1",
    "EUR-NO-1",
    "US-CA-2",
    "US-GA-2",
    "US-IL-1",
    "US-KS-2",
    "US-MD-1",
    "US-MO-1",
    "US-MO-2",
    "US-NC-1",
    "US-NC-2",
    "US-NE-1",
    "US-WA-1",
)
_ENDPOINT_VARIABLE = "RUNPOD_S3_ENDPOINT_URL"


class NetworkVolume(S3Store):
    """A network volume of RunPod's: `s3://ID/a/b` is `/workspace/a/b` of a pod that mounts it.

    Args:
        id: the volume's id, which is the bucket's name.
        data_center: where the volume is, which is the S3 region.
        endpoint_url: the address of its S3 API; left out, RUNPOD_S3_ENDPOINT_URL, else the data centre's own.
        credentials: `access_key` and `secret_key`; left out, RUNPOD_S3_ACCESS_KEY and RUNPOD_S3_SECRET_KEY, else boto3's own search.

    Raises:
        ConfigError: the data centre has no S3 API.
    """

    mounted = True
    _hints = Hints(
        settings="volume.id and volume.data_center",
        no_keys="Create a pair at https://console.runpod.io/user/settings (S3 API keys), and set RUNPOD_S3_ACCESS_KEY and "
        "RUNPOD_S3_SECRET_KEY.",
        wrong_keys="They are a pair of their own, not the API key: RUNPOD_S3_ACCESS_KEY (user_…) and RUNPOD_S3_SECRET_KEY (rps_…).",
    )

    def __init__(
        self,
        id: str,  # noqa: A002  # as the catalog has it
        data_center: str,
        endpoint_url: str | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        if is_rehearsed():  # Whatever is set, the real volume is not touched.
            endpoint_url = credentials = None
        endpoint_url = endpoint_url or os.environ.get(_ENDPOINT_VARIABLE) or _endpoint_of(data_center)
        super().__init__(id, data_center, endpoint_url, credentials)
        self.data_center: str = data_center

    def __repr__(self) -> str:
        return f"NetworkVolume({self.id!r}, {self.data_center!r})"

    @property
    def name(self) -> str:
        """The volume's id and data centre, as users are shown them."""
        return f"{self.id} in {self.data_center}"

    @property
    def _noun(self) -> str:
        return f"volume {self.name}"

    def _keys(self) -> tuple[str | None, str | None]:
        access_key, secret_key = super()._keys()
        return (
            access_key or os.environ.get("RUNPOD_S3_ACCESS_KEY") or None,
            secret_key or os.environ.get("RUNPOD_S3_SECRET_KEY") or None,
        )


def _endpoint_of(data_center: str) -> str:
    if data_center not in DATA_CENTERS:
        raise ConfigError(
            f"volume.data_center is {data_center!r}, which has no S3 API.{did_you_mean(data_center, DATA_CENTERS)} Data centres that have "
            f"one: {', '.join(DATA_CENTERS)}. For a newer one, set volume.endpoint_url."
        )
    return f"https://s3api-{data_center.lower()}.runpod.io/"
