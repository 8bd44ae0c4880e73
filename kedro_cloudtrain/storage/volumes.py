"""The volume: one store of files, known by the same keys here and on a machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.wording import did_you_mean
from kedro_cloudtrain.worker.locations import Location

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kedro_cloudtrain.storage.identity import SourceIdentity
    from kedro_cloudtrain.storage.sources import VolumeSource


class Volume(Protocol):
    """A store of files by exact keys; nothing is ever listed.

    Attributes:
        mounted: whether a job finds it as a directory.
    """

    mounted: bool

    @property
    def name(self) -> str:
        """As it is shown."""
        ...

    def folder(self, key: str) -> Path:
        """Give a folder here for a folder of the volume's: the same one, or one that mirrors it."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether there is a file of this key."""
        ...

    def identity(self, key: str) -> SourceIdentity:
        """Say by what the file is known to be the same.

        Raises:
            SourceError: there is no such file.
        """
        ...

    def read(self, key: str) -> contextlib.AbstractContextManager[Path]:
        """Give the file as one on this computer's disk.

        Raises:
            SourceError: there is no such file.
        """
        ...

    def write(self, key: str) -> contextlib.AbstractContextManager[Path]:
        """Give a place to write to; when it is left without an error, the file is there, whole."""
        ...

    def read_bytes(self, key: str, start: int = 0, size: int | None = None) -> bytes | None:
        """Give a file's bytes, or a range of them; None where there is no such file, and nothing beyond its end."""
        ...

    def write_bytes(self, key: str, content: bytes) -> None:
        """Put a small file there, whole."""
        ...

    def upload(self, file: Path, key: str, progress: Callable[[int], None] | None = None) -> bool:
        """Put a file there; False where it was there already, by its size and its hash.

        Raises:
            SourceError: the file here is not there.
        """
        ...

    def download(self, key: str, file: Path, progress: Callable[[int], None] | None = None) -> None:
        """Bring a file here, whole or not at all.

        Raises:
            SourceError: there is no such file.
        """
        ...

    def delete(self, key: str) -> None:
        """Take a file away; one that is not there is no error."""
        ...


def make_volume(config: Mapping[str, Any], credentials: Mapping[str, str] | None = None) -> Volume:
    """Give the volume that a catalog entry or `cloudtrain.yml` names.

    Args:
        config: `{path: …}`, a directory here; `{id: …, data_center: …}`, a network volume of RunPod's, with an `endpoint_url` where its S3
            API is elsewhere; or `{bucket: …}`, an S3 bucket that keeps the jobs of pods without a network volume, with `region` and
            `endpoint_url` where it is not AWS's.
        credentials: `access_key` and `secret_key` of a network volume or a bucket.

    Raises:
        ConfigError: it is none of them.

    Example:
        ```yaml
        volume: {path: data/volume}
        ```
    """
    if not hasattr(config, "keys"):
        raise ConfigError(f"volume is {config!r}: a mapping is wanted there, {{path: data/volume}} say.")
    kinds = [kind for kind in _KINDS if any(key in config for key in kind.own)]
    if len(kinds) > 1:
        names = " and ".join(kind.article for kind in kinds)
        raise ConfigError(f"volume is {names} at once ({', '.join(str(key) for key in config)}). Keep one of them.")
    kind = kinds[0] if kinds else _KINDS[0]
    unknown = [str(key) for key in config if key not in (*kind.own, *kind.more)]
    if unknown:
        known = (*kind.own, *kind.more)
        every = " Known here: path, a directory; id and data_center, a network volume; or bucket, for the jobs of pods without one."
        raise ConfigError(f"volume.{unknown[0]} is not a setting.{did_you_mean(unknown[0], known) or every}")
    for name, example in kind.own.items():
        if not isinstance(config.get(name), str) or not config[name].strip():
            raise ConfigError(f"volume.{name} is {config.get(name)!r}: give it a text, {example} say.")
    return kind.make(config, credentials)


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of volume: its name, the keys that it needs, each with an example, those that it may have, and how it is made."""

    article: str
    own: Mapping[str, str]
    more: tuple[str, ...]
    make: Callable[[Mapping[str, Any], Mapping[str, str] | None], Volume]


def _make_directory(config: Mapping[str, Any], _: Mapping[str, str] | None) -> Volume:
    return DirectoryVolume(config["path"])


def _make_network_volume(config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> Volume:
    from kedro_cloudtrain.storage.network_volume import NetworkVolume  # noqa: PLC0415  # for who has one

    return NetworkVolume(config["id"].strip(), config["data_center"].strip(), config.get("endpoint_url"), credentials)


def _make_bucket(config: Mapping[str, Any], credentials: Mapping[str, str] | None) -> Volume:
    from kedro_cloudtrain.storage.bucket import Bucket  # noqa: PLC0415  # for who has one

    return Bucket(config["bucket"].strip(), config.get("region"), config.get("endpoint_url"), credentials)


_KINDS = (
    _Kind("a directory (path)", {"path": "data/volume"}, (), _make_directory),
    _Kind("a network volume (id)", {"id": "abc123xyz", "data_center": "EU-RO-1"}, ("endpoint_url",), _make_network_volume),
    _Kind("a bucket", {"bucket": "my-jobs"}, ("region", "endpoint_url"), _make_bucket),
)


def same_volume(one: Volume, other: Volume | None) -> bool:
    """Tell whether two are the same volume, by whatever path a directory is named."""
    if isinstance(one, DirectoryVolume) and isinstance(other, DirectoryVolume):
        return one.root.resolve() == other.root.resolve()
    return one == other


def table_location(source: VolumeSource, volume: Volume) -> Location:
    """Say where a look at a table finds it: its file where the volume is a directory, else the ranges of it that are wanted.

    Raises:
        SourceError: it is not there.
    """
    if isinstance(volume, DirectoryVolume):
        with volume.read(source.key) as path:
            return Location(str(path), source.file_format, source.load_args)
    size = volume.identity(source.key).size or 0

    def fetch(start: int, count: int) -> bytes:
        return volume.read_bytes(source.key, start, count) or b""

    return Location(source.key, source.file_format, source.load_args, fetch=fetch, size=size)
