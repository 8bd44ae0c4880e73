"""The volume: a store of files, with the same keys on this computer and on a machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import UrlSource, resolved
from kedro_cloudtrain.wording import did_you_mean
from kedro_cloudtrain.worker.locations import Location

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kedro_cloudtrain.storage.identity import SourceIdentity
    from kedro_cloudtrain.storage.sources import VolumeSource


class Volume(Protocol):
    """A store of files by exact keys; only small folders, such as a table's parts or versions, are ever listed.

    Attributes:
        mounted: whether a job finds it as a directory.
    """

    mounted: bool

    @property
    def name(self) -> str:
        """The volume's name, as users are shown it."""
        ...

    @property
    def where(self) -> str:
        """Where a file of the volume is, as a message has it: `on the volume …`, `in the bucket …`."""
        ...

    def folder(self, key: str) -> Path:
        """Return the folder on this computer for a folder of the volume: that folder itself, or one that mirrors it."""
        ...

    def exists(self, key: str) -> bool:
        """Return whether the volume has a file of this key, or a table of parts."""
        ...

    def folders(self, key: str) -> list[str]:
        """Return the names of the folders in a folder; none if there is no such folder."""
        ...

    def identity(self, key: str) -> SourceIdentity:
        """Return what tells whether the file, or the table of parts, is the same as before.

        Raises:
            SourceError: there is no such file, or the folder is not a table.
        """
        ...

    def largest_file(self, key: str) -> tuple[str, int]:
        """Return the key and the size of the file, or of the largest part of a table of parts.

        Raises:
            SourceError: there is no such file, or the folder is not a table.
        """
        ...

    def read(self, key: str) -> contextlib.AbstractContextManager[Path]:
        """Yield the file, or the folder of a table of parts, as one on this computer's disk.

        Raises:
            SourceError: there is no such file, or the folder is not a table.
        """
        ...

    def write(self, key: str) -> contextlib.AbstractContextManager[Path]:
        """Yield a path to write to; when the block ends without an error, the volume has the file, whole."""
        ...

    def read_bytes(self, key: str, start: int = 0, size: int | None = None) -> bytes | None:
        """Return a file's bytes, or a range of them: None if there is no such file, empty beyond its end."""
        ...

    def write_bytes(self, key: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        ...

    def upload(self, file: Path, key: str, progress: Callable[[int], None] | None = None) -> bool:
        """Upload a file.

        Returns:
            False if the volume has the file already, by its size and its hash.

        Raises:
            SourceError: the file does not exist on this computer.
        """
        ...

    def download(self, key: str, file: Path, progress: Callable[[int], None] | None = None) -> None:
        """Download a file, whole or not at all.

        Raises:
            SourceError: there is no such file.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete a file; one that does not exist is not an error."""
        ...


def make_volume(config: Mapping[str, Any], credentials: Mapping[str, str] | None = None) -> Volume:
    """Make the volume that a catalog entry or `cloudtrain.yml` names.

    Args:
        config: `{path: …}`, a directory on this computer; `{id: …, data_center: …}`, a network volume of RunPod's, with `endpoint_url` if
            its S3 API has another address; or `{bucket: …}`, an S3 bucket that keeps the jobs of pods without a network volume, with
            `region` and `endpoint_url` if it is not AWS's.
        credentials: `access_key` and `secret_key` of a network volume or a bucket.

    Raises:
        ConfigError: the configuration is of no kind of volume, or of several at once.

    Example:
        ```yaml
        volume: {path: data/volume}
        ```
    """
    if not hasattr(config, "keys"):
        raise ConfigError(f"volume is {config!r}, not a mapping. Write, for example, {{path: data/volume}}.")
    kinds = [kind for kind in _KINDS if any(key in config for key in kind.required)]
    if len(kinds) > 1:
        names = " and ".join(kind.name for kind in kinds)
        raise ConfigError(f"volume is {names} at once ({', '.join(str(key) for key in config)}). Keep one of them.")
    kind = kinds[0] if kinds else _KINDS[0]
    keys = (*kind.required, *kind.optional)
    unknown = [str(key) for key in config if key not in keys]
    if unknown:
        every = " Possible settings: path, for a directory; id and data_center, for a network volume; bucket, for jobs of pods without one."
        raise ConfigError(f"volume.{unknown[0]} is not a setting.{did_you_mean(unknown[0], keys) or every}")
    for name, example in kind.required.items():
        if not isinstance(config.get(name), str) or not config[name].strip():
            raise ConfigError(f"volume.{name} is {config.get(name)!r}: write it as text, for example {example}.")
    return kind.make(config, credentials)


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of volume.

    Attributes:
        name: with its article.
        required: the keys that it needs, each with an example.
        optional: the keys that it may have besides.
        make: makes the volume of a configuration and credentials.
    """

    name: str
    required: Mapping[str, str]
    optional: tuple[str, ...]
    make: Callable[[Mapping[str, Any], Mapping[str, str] | None], Volume]


def _make_directory(config: Mapping[str, Any], _: Mapping[str, str] | None) -> Volume:
    return DirectoryVolume(config["path"])


def _make_network_volume(config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> Volume:
    from kedro_cloudtrain.storage.network_volume import NetworkVolume  # noqa: PLC0415  # only for projects that have one

    return NetworkVolume(config["id"].strip(), config["data_center"].strip(), config.get("endpoint_url"), credentials)


def _make_bucket(config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> Volume:
    from kedro_cloudtrain.storage.bucket import Bucket  # noqa: PLC0415  # only for projects that have one

    return Bucket(config["bucket"].strip(), config.get("region"), config.get("endpoint_url"), credentials)


_KINDS = (
    _Kind("a directory (path)", {"path": "data/volume"}, (), _make_directory),
    _Kind("a network volume (id)", {"id": "abc123xyz", "data_center": "EU-RO-1"}, ("endpoint_url",), _make_network_volume),
    _Kind("a bucket", {"bucket": "my-jobs"}, ("region", "endpoint_url"), _make_bucket),
)


def same_volume(volume: Volume, other: Volume | None) -> bool:
    """Return whether two volumes are the same, by whatever path a directory is named."""
    if isinstance(volume, DirectoryVolume) and isinstance(other, DirectoryVolume):
        return volume.root.resolve() == other.root.resolve()
    return volume == other


def table_location(source: UrlSource | VolumeSource, volume: Volume) -> Location:
    """Return the location by which this process looks at a table: its URL, its file in a directory, else the ranges of it that are needed.

    A look at a table of parts on a network volume is one at its largest part.

    Raises:
        SourceError: the table does not exist.
    """
    source = resolved(source)
    if isinstance(source, UrlSource):
        return source.location
    if isinstance(volume, DirectoryVolume):
        with volume.read(source.key) as path:
            return Location(str(path), source.file_format, source.load_args)
    key, size = volume.largest_file(source.key)

    def fetch(start: int, count: int) -> bytes:
        return volume.read_bytes(key, start, count) or b""

    return Location(key, source.file_format, source.load_args, fetch=fetch, size=size)
