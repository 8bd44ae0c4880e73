"""A volume that is a directory on this computer."""

from __future__ import annotations

import contextlib
import dataclasses
import filecmp
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.files import whole
from kedro_cloudtrain.storage.folders import Entry, folder_identity, largest_part, parts_of
from kedro_cloudtrain.storage.identity import SourceIdentity
from kedro_cloudtrain.storage.sources import key_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class DirectoryVolume:
    """A volume that is a directory on this computer.

    Args:
        root: the directory; it need not exist yet.
    """

    mounted = True

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"DirectoryVolume({str(self.root)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DirectoryVolume) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    @property
    def name(self) -> str:
        """The directory's path, as users are shown it."""
        return str(self.root)

    @property
    def where(self) -> str:
        """Where a file of the volume is, as a message has it."""
        return f"on the volume {self.name}"

    def path(self, key: str) -> Path:
        """Return the path of a key; there may be no file yet.

        Raises:
            SourceError: the key is not valid.
        """
        return self.root.joinpath(*key_parts(key, self.where))

    def is_writable(self) -> bool:
        """Return whether folders can be made in the directory, as far as permissions tell."""
        existing = next(place for place in (self.root.absolute(), *self.root.absolute().parents) if place.exists())
        return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)

    def folder(self, key: str) -> Path:
        """Return the folder itself."""
        return self.path(key)

    def exists(self, key: str) -> bool:
        """Return whether the volume has a file of this key, or a table of parts."""
        path = self.path(key)
        if path.is_dir():
            with contextlib.suppress(SourceError):
                return bool(self._parts(path))
        return path.is_file()

    def folders(self, key: str) -> list[str]:
        """Return the names of the folders in a folder; none if there is no such folder."""
        path = self.path(key)
        return [each.name for each in path.iterdir() if each.is_dir()] if path.is_dir() else []

    def identity(self, key: str) -> SourceIdentity:
        """Return the time of modification and the size of the file, or of each part, as web servers make an ETag of them.

        The content is not read: the data never passes through this process.

        Raises:
            SourceError: there is no such file.
        """
        with self.read(key) as path:
            if path.is_dir():
                return dataclasses.replace(folder_identity(self._parts(path)), kind="time")
            stat = path.stat()
            return SourceIdentity(etag=f"{stat.st_mtime_ns:x}-{stat.st_size:x}", size=stat.st_size, kind="time")

    def largest_file(self, key: str) -> tuple[str, int]:
        """Return the key and the size of the file, or of the largest part of a table of parts.

        Raises:
            SourceError: there is no such file, or the folder is not a table.
        """
        with self.read(key) as path:
            if not path.is_dir():
                return key, path.stat().st_size
            return largest_part(key, self._parts(path))

    @contextlib.contextmanager
    def read(self, key: str) -> Iterator[Path]:
        """Yield the file itself, or the folder of a table of parts.

        Raises:
            SourceError: there is no such file, or the folder is not a table.
        """
        path = self.path(key)
        if path.is_dir():
            self._parts(path)
        elif not path.is_file():
            raise SourceError(f"There is no {key} {self.where}. Check dataset_key, or put the file at {path}")
        yield path

    @contextlib.contextmanager
    def write(self, key: str) -> Iterator[Path]:
        """Yield a temporary path, whose file becomes the key's when the block ends without an error.

        The same content again leaves the file, and with it its identity, as it is: a node that writes what it wrote before changes nothing
        for the nodes below it. A network volume's ETag does the same by itself.
        """
        path = self.path(key)
        if path.is_dir():
            raise SourceError(f"{path} is a folder, which no file replaces. Delete it, or save under another key.")
        with whole(path, keep_same=True) as temporary:
            yield temporary

    def read_bytes(self, key: str, start: int = 0, size: int | None = None) -> bytes | None:
        """Return a file's bytes, or a range of them: None if there is no such file, empty beyond its end."""
        try:
            with self.path(key).open("rb") as stream:
                stream.seek(start)
                return stream.read(-1 if size is None else size)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_bytes(self, key: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        with self.write(key) as path:
            path.write_bytes(content)

    def upload(self, file: Path, key: str, progress: Callable[[int], None] | None = None) -> bool:
        """Copy a file to the volume.

        Returns:
            False if the volume has the file already, byte by byte.

        Raises:
            SourceError: the file does not exist.
        """
        if not file.is_file():
            raise SourceError(f"There is no file {file}.")
        target = self.path(key)
        same = target.is_file() and filecmp.cmp(file, target, shallow=False)
        if not same:
            with self.write(key) as path:
                shutil.copyfile(file, path)
        if progress is not None:
            progress(file.stat().st_size)
        return not same

    def download(self, key: str, file: Path, progress: Callable[[int], None] | None = None) -> None:
        """Copy a file from the volume, whole or not at all.

        Raises:
            SourceError: there is no such file, or it is a folder.
        """
        if self.path(key).is_dir():
            raise SourceError(f"{self.path(key)} is a folder: download its files one by one.")
        with self.read(key) as path, whole(file) as temporary:
            shutil.copyfile(path, temporary)
        if progress is not None:
            progress(file.stat().st_size)

    def _parts(self, folder: Path) -> dict[str, Entry]:
        stats = {path.name + ("/" if path.is_dir() else ""): path.stat() for path in folder.iterdir()}
        return parts_of(str(folder), {name: Entry(f"{stat.st_mtime_ns:x}", stat.st_size) for name, stat in stats.items()})

    def delete(self, key: str) -> None:
        """Delete a file; one that does not exist is not an error."""
        self.path(key).unlink(missing_ok=True)
