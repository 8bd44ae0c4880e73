"""The volume: one store of files, known by the same keys here and on a machine."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kedro_cloudtrain.errors import ConfigError, SourceError
from kedro_cloudtrain.problems import nearest
from kedro_cloudtrain.sources import SourceIdentity, UrlSource, VolumeSource, url_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Volume(Protocol):
    """A store of files by exact keys; nothing is ever listed."""

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


class DirectoryVolume:
    """A volume that is a directory here.

    Args:
        root: the directory; it need not be there yet.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"DirectoryVolume({str(self.root)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DirectoryVolume) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    def path(self, key: str) -> Path:
        """Give the place of a key; there may be no file yet.

        Raises:
            SourceError: it is none on the volume.
        """
        parts = key.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise SourceError(f"{key!r} is no place on the volume {self.root}. A key is a path below it, like datasets/penguins.csv.")
        return self.root.joinpath(*parts)

    def exists(self, key: str) -> bool:
        """Tell whether there is a file of this key."""
        return self.path(key).is_file()

    def identity(self, key: str) -> SourceIdentity:
        """Give the file's time of modification and its size, as web servers make an ETag of them.

        Its content is not read: the data never passes through this process.

        Raises:
            SourceError: there is no such file.
        """
        with self.read(key) as path:
            stat = path.stat()
            return SourceIdentity(etag=f"{stat.st_mtime_ns:x}-{stat.st_size:x}", size=stat.st_size)

    @contextlib.contextmanager
    def read(self, key: str) -> Iterator[Path]:
        """Give the file itself.

        Raises:
            SourceError: there is no such file.
        """
        path = self.path(key)
        if not path.is_file():
            raise SourceError(f"There is no {key} on the volume {self.root}. Check dataset_key, or put the file there: {path}")
        yield path

    @contextlib.contextmanager
    def write(self, key: str) -> Iterator[Path]:
        """Give a temporary file beside the key's place, which takes that place when it is left without an error."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile's: its files are its user's alone, and a volume is shared. The ending stays, for writers that go by it.
        temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.{path.name}")
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def make_volume(config: Mapping[str, Any]) -> DirectoryVolume:
    """Give the volume that a catalog entry names.

    Args:
        config: `{path: …}`, a directory here.

    Raises:
        ConfigError: it is no such mapping, or a network volume, which this version does not know.

    Example:
        ```yaml
        volume: {path: data/volume}
        ```
    """
    if not hasattr(config, "keys"):
        raise ConfigError(f"volume is {config!r}: a mapping is wanted there, {{path: data/volume}} say.")
    if "id" in config or "data_center" in config:
        raise ConfigError(
            "volume.id is a network volume of RunPod, and this version knows volumes that are a directory here: "
            "volume: {path: data/volume}."
        )
    unknown = [str(key) for key in config if key != "path"]
    if unknown:
        raise ConfigError(f"volume.{unknown[0]} is not a setting.{nearest(unknown[0], ['path'])} Known here: path, a directory.")
    path = config.get("path")
    if not isinstance(path, str) or not path.strip():
        raise ConfigError(f"volume.path is {path!r}: give it a directory, data/volume say.")
    return DirectoryVolume(path)


def source_identity(source: UrlSource | VolumeSource, volume: Volume | None) -> SourceIdentity:
    """Say by what a source is known to be the same.

    Raises:
        SourceError: it is not there, or cannot be reached.
    """
    if isinstance(source, UrlSource):
        return url_identity(source)
    if volume is None:
        raise SourceError(f"dataset_key {source.key!r} needs a volume: give the dataset `volume: {{path: …}}`.")
    return volume.identity(source.key)
