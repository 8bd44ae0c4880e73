"""A web server's file that is read in ranges, and the file on disk that is read where that does not work."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, TypeVar

from .downloads import TRIES, describe, downloaded
from .errors import InputError
from .parts import table_parts
from .scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .downloads import Description
    from .locations import Location

T = TypeVar("T")
_MAGIC_BYTES = 512
_PIECE_BYTES = 16 * 1024 * 1024


def on_parts(location: Location, use: Callable[[Any], T]) -> tuple[T, int]:
    """Use a table's file, in pieces if it is not on disk, and return the outcome and the number of bytes that were read."""
    spent = 0
    if location.in_pieces:
        with remote_file(location) as remote:
            if remote is not None:
                try:
                    return use(remote), remote.bytes_read
                except Exception:
                    # A range did not arrive: the download below resumes after a break, and its errors explain more.
                    if not remote.failed:
                        raise
                    spent = remote.bytes_read
    with local_file(location) as (path, count):
        return use(path), spent + count


@contextlib.contextmanager
def local_file(location: Location) -> Iterator[tuple[Path, int]]:
    """Provide the table as a file on disk, and the number of bytes that were read for it."""
    if location.fetch is not None:
        with scratch() as folder:
            path = folder / location.place.rpartition("/")[2]
            with path.open("wb") as file:
                for start in range(0, location.size, _PIECE_BYTES):
                    file.write(location.fetch(start, _PIECE_BYTES))
            yield path, location.size
        return
    if not location.is_url:
        path = Path(location.place)
        if path.is_dir():
            parts = table_parts(location.place, path.iterdir())
            if location.format != "parquet":
                raise InputError(f"{path} is a folder of parquet files, and its format is {location.format}: set file_format to parquet.")
            yield path, sum((path / name).stat().st_size for name in parts)
            return
        if not path.is_file():
            raise InputError(f"{path} does not exist. Check dataset_key and the volume's path.")
        yield path, path.stat().st_size
        return
    with downloaded(location.place, headers=location.headers, secret_query=location.secret_query, timeout_s=location.timeout_s) as download:
        with download.path.open("rb") as file:
            refuse_web_page(file.read(_MAGIC_BYTES), location)
        yield download.path, download.bytes_read


def refuse_web_page(beginning: bytes, location: Location) -> None:
    """Check that a file does not begin as a web page does.

    Raises:
        InputError: the file is a web page.
    """
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)", beginning[:_MAGIC_BYTES], re.IGNORECASE):
        raise InputError(
            f"{location.place} answered with a web page instead of {location.format}: a sign-in page, or a page that shows the file. "
            "Give the address of the file itself (on GitHub, the raw file), and `credentials` with `headers` if it needs them."
        )


@contextlib.contextmanager
def remote_file(location: Location) -> Iterator[RemoteFile | None]:
    """Open a remote file for reading in pieces; None if its server has no ranges, or does not give the file's size.

    Raises:
        InputError: the server refuses or cannot be reached.
    """
    if location.fetch is not None:
        yield RemoteFile(FetchedFile(location.fetch, location.size)) if location.size > 1 else None
        return
    file = describe(location.place, headers=location.headers, secret_query=location.secret_query, timeout_s=location.timeout_s)
    remote = _open(file, location) if (file.size or 0) > 1 and file.headers.get("accept-ranges", "").lower() != "none" else None
    try:
        yield remote
    finally:
        if remote is not None:
            remote.close()


def _open(description: Description, location: Location) -> RemoteFile | None:
    import aiohttp  # takes, with fsspec's HTTP file system, a third of a second
    import fsspec

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=location.timeout_s, sock_read=location.timeout_s)
    filesystem = fsspec.filesystem(
        "http",
        # A signed URL was signed with its escapes.
        encoded=True,
        # Redirects have been followed already: aiohttp would send headers, except Authorization, to another host.
        headers={"Accept-Encoding": "identity", **(location.headers if description.own else {})},
        allow_redirects=False,
        client_kwargs={"timeout": timeout, "trust_env": True},
        skip_instance_cache=True,
    )
    # No read-ahead: the default cache would read 5 MB for a footer of 8 kB.
    with contextlib.suppress(Exception):
        file = filesystem.open(description.url, cache_type="none", size=description.size)
        # Some servers have ranges without announcing them, and some announce them without having them.
        file.seek(1)
        if len(file.read(1)) == 1:
            file.seek(0)
            return RemoteFile(file)
    return None


class RemoteFile(io.RawIOBase):
    """A remote file that is read in exactly the requested ranges, and counts their bytes.

    A range that breaks off is requested again.

    Attributes:
        size: the file's size in bytes.
        bytes_read: the bytes that have been read.
        failed: whether a range did not arrive, however often it was requested.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.size: int = file.size
        self.bytes_read = 0
        self.failed = False

    def readable(self) -> bool:
        """Return True: the file can be read."""
        return True

    def seekable(self) -> bool:
        """Return True: the position can be set."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position of the next read."""
        return int(self._file.seek(offset, whence))

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, or fewer at the end of the file.

        Raises:
            OSError: they did not arrive in three tries.
        """
        start = self.tell()
        count = max(0, self.size - start if size < 0 else min(size, self.size - start))
        for number in range(TRIES):
            with contextlib.suppress(Exception):  # aiohttp's own errors, which hold the whole URL
                content: bytes = self._file.read(count) if count else b""
                self.bytes_read += len(content)
                if len(content) == count:
                    return content
            self._file.seek(start)
            if number < TRIES - 1:
                sleep(0.1 * 2**number)
        self.failed = True
        raise OSError("a part of the file did not arrive")

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        super().close()


class FetchedFile:
    """The file that `RemoteFile` reads, over a function that returns its ranges."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self.size = size
        self._position = 0

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        return self._position

    def read(self, size: int) -> bytes:
        """Read `size` bytes."""
        content = self._fetch(self._position, size)
        self._position += len(content)
        return content

    def close(self) -> None:
        """Do nothing: no connection is open."""
