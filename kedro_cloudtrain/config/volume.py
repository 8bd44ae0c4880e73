"""The settings that say where the volume is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from kedro_cloudtrain.settings_model import SettingsModel
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.volumes import make_volume

if TYPE_CHECKING:
    from pathlib import Path

    from kedro_cloudtrain.storage.volumes import Volume

DEFAULT_VOLUME = "data/volume"


class VolumeSettings(SettingsModel):
    """Where the volume is: a directory on this computer, a network volume, or a bucket.

    Attributes:
        path: the path of a directory on this computer, relative to the project.
        id: the id of a network volume of RunPod's.
        data_center: the network volume's data centre.
        endpoint_url: the address of the network volume's S3 API, if its data centre is newer than this package; or that of a bucket that is
            not AWS's.
        bucket: the name of an S3 bucket that keeps the jobs where there is no network volume; pods then read tables by URL alone.
        region: the bucket's region.
    """

    path: str | None = Field(None, min_length=1)
    id: str | None = Field(None, min_length=1)
    data_center: str | None = Field(None, min_length=1)
    endpoint_url: str | None = None
    bucket: str | None = Field(None, min_length=1)
    region: str | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.bucket is not None:
            if self.id is not None or self.path is not None or self.data_center is not None:
                raise ValueError("`volume` has a `bucket` and a `path` or an `id`: keep one of them")
            return self
        if self.region is not None:
            raise ValueError("`region` is a bucket's, and `volume` names no bucket; a network volume has `data_center`")
        if self.id is None and self.data_center is None and self.endpoint_url is None:
            return self
        if self.path is not None:
            raise ValueError("`volume` has a `path`, for a directory, and an `id`, for a network volume: keep one of them")
        if self.id is None or self.data_center is None:
            raise ValueError("a network volume needs `id` and `data_center`: volume: {id: abc123xyz, data_center: EU-RO-1}")
        return self

    def __str__(self) -> str:
        if self.bucket is not None:
            return f"bucket {self.bucket}"
        return f"{self.id} in {self.data_center}" if self.id is not None else self.path or DEFAULT_VOLUME

    def make(self, project: Path) -> Volume:
        """Make the volume.

        Args:
            project: the project's folder, which `path` is relative to.

        Raises:
            ConfigError: the data centre has no S3 API.
        """
        if self.id is not None or self.bucket is not None:
            return make_volume(self.model_dump(exclude={"path"}, exclude_none=True))
        return DirectoryVolume(project / (self.path or DEFAULT_VOLUME))
