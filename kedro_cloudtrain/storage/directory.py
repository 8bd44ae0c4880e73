"""A volume that is a directory on this computer."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.identity import SourceIdentity
from kedro_cloudtrain.storage.sources import key_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class DirectoryVolume:
    """A volume that is a directory here.

    Args:
        root: the directory; it need not be there yet.
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
        """As it is shown."""
        return str(self.root)

    def path(self, key: str) -> Path:
        """Give the place of a key; there may be no file yet.

        Raises:
            SourceError: it is none on the volume.
        """
        return self.root.joinpath(*key_parts(key, self.name))

    def is_writable(self) -> bool:
        """Tell whether folders can be made there, as far as its permissions say."""
        there = next(place for place in (self.root.absolute(), *self.root.absolute().parents) if place.exists())
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)

    def folder(self, key: str) -> Path:
        """Give the folder itself."""
        return self.path(key)

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
        """Give a temporary file beside the key's place, which takes that place when it is left without an error.

        The same content again leaves the file, and with it its identity, as it is: a node that writes what it wrote before changes nothing
        for the nodes below it. A network volume's ETag does the same by itself.
        """
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile's: its files are its user's alone, and a volume is shared. The ending stays, for writers that go by it.
        temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.{path.name}")
        try:
            yield temporary
            if not (path.is_file() and filecmp.cmp(temporary, path, shallow=False)):
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def read_bytes(self, key: str, start: int = 0, size: int | None = None) -> bytes | None:
        """Give a file's bytes, or a range of them; None where there is no such file, and nothing beyond its end."""
        try:
            with self.path(key).open("rb") as stream:
                stream.seek(start)
                return stream.read(-1 if size is None else size)
        except FileNotFoundError:
            return None

    def write_bytes(self, key: str, content: bytes) -> None:
        """Put a small file there, whole."""
        with self.write(key) as path:
            path.write_bytes(content)

    def upload(self, file: Path, key: str, progress: Callable[[int], None] | None = None) -> bool:
        """Copy a file there; False where it was there already, byte by byte.

        Raises:
            SourceError: the file here is not there.
        """
        if not file.is_file():
            raise SourceError(f"There is no file {file}.")
        there = self.path(key)
        same = there.is_file() and filecmp.cmp(file, there, shallow=False)
        if not same:
            with self.write(key) as path:
                shutil.copyfile(file, path)
        if progress is not None:
            progress(file.stat().st_size)
        return not same

    def download(self, key: str, file: Path, progress: Callable[[int], None] | None = None) -> None:
        """Copy a file from there, whole or not at all.

        Raises:
            SourceError: there is no such file.
        """
        with self.read(key) as path:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_name(f".{uuid.uuid4().hex[:12]}.{file.name}")
            try:
                shutil.copyfile(path, temporary)
                temporary.replace(file)
            finally:
                temporary.unlink(missing_ok=True)
        if progress is not None:
            progress(file.stat().st_size)

    def delete(self, key: str) -> None:
        """Take a file away; one that is not there is no error."""
        self.path(key).unlink(missing_ok=True)
