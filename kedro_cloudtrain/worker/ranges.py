"""A file of a web server that is read by ranges, and the one on disk that stands in for it."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .downloads import TRIES, describe, downloaded
from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .downloads import Description
    from .locations import Location

T = TypeVar("T")
_MAGIC_BYTES = 512
_PIECE_BYTES = 16 * 1024 * 1024


def on_parts(location: Location, use: Callable[[Any], T]) -> tuple[T, int]:
    """Do something with a table that is read in pieces, wherever it is; give the bytes that it took, too."""
    spent = 0
    if location.in_pieces:
        with remote_file(location) as remote:
            if remote is not None:
                try:
                    return use(remote), remote.bytes_read
                except Exception:
                    # A range that does not come: the download that comes instead knows to go on, and to say what is wrong.
                    if not remote.failed:
                        raise
                    spent = remote.bytes_read
    with local_file(location) as (path, count):
        return use(path), spent + count


@contextlib.contextmanager
def local_file(location: Location) -> Iterator[tuple[Path, int]]:
    """Give the table as a file here, and the bytes that it took."""
    if location.fetch is not None:
        with tempfile.TemporaryDirectory(prefix="cloudtrain-") as scratch:
            path = Path(scratch) / location.place.rpartition("/")[2]
            with path.open("wb") as file:
                for start in range(0, location.size, _PIECE_BYTES):
                    file.write(location.fetch(start, _PIECE_BYTES))
            yield path, location.size
        return
    if not location.is_url:
        path = Path(location.place)
        if not path.is_file():
            raise InputError(f"{path} is not there. Check dataset_key and the volume's path.")
        yield path, path.stat().st_size
        return
    with downloaded(location.place, headers=location.headers, secret_query=location.secret_query, timeout_s=location.timeout_s) as download:
        with download.path.open("rb") as file:
            refuse_web_page(file.read(_MAGIC_BYTES), location)
        yield download.path, download.bytes_read


def refuse_web_page(beginning: bytes, location: Location) -> None:
    """Refuse what begins as a web page does.

    Raises:
        InputError: it is one.
    """
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)", beginning[:_MAGIC_BYTES], re.IGNORECASE):
        raise InputError(
            f"{location.place} answered with a web page, where {location.format} was expected: a page to sign in, or one that shows the "
            "file. Give the address of the file itself (the raw file, on GitHub), and `credentials` with `headers` if it needs them."
        )


@contextlib.contextmanager
def remote_file(location: Location) -> Iterator[RemoteFile | None]:
    """Open what is elsewhere for reading in pieces; None where its server has no ranges, or says no size.

    Raises:
        InputError: the server refuses or cannot be reached.
    """
    if location.fetch is not None:
        yield RemoteFile(FetchedFile(location.fetch, location.size)) if location.size > 1 else None
        return
    said = describe(location.place, headers=location.headers, secret_query=location.secret_query, timeout_s=location.timeout_s)
    remote = _opened(said, location) if (said.size or 0) > 1 and said.headers.get("accept-ranges", "").lower() != "none" else None
    try:
        yield remote
    finally:
        if remote is not None:
            remote.close()


def _opened(said: Description, location: Location) -> RemoteFile | None:
    import aiohttp  # with fsspec's http filesystem, a third of a second
    import fsspec

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=location.timeout_s, sock_read=location.timeout_s)
    filesystem = fsspec.filesystem(
        "http",
        # The escapes of a signed URL are part of what was signed.
        encoded=True,
        # Redirects have been followed: aiohttp would take headers along to another host, all but Authorization.
        headers={"Accept-Encoding": "identity", **(location.headers if said.own else {})},
        allow_redirects=False,
        client_kwargs={"timeout": timeout, "trust_env": True},
        skip_instance_cache=True,
    )
    # No read-ahead: the default cache takes 5 MB where a footer of 8 kB is wanted.
    with contextlib.suppress(Exception):
        file = filesystem.open(said.url, cache_type="none", size=said.size)
        # Not every server that has ranges says so, and not every one that says so has them.
        file.seek(1)
        if len(file.read(1)) == 1:
            file.seek(0)
            return RemoteFile(file)
    return None


class RemoteFile(io.RawIOBase):
    """A file that is elsewhere, read by exactly the ranges that are asked for, and counting them.

    A range that breaks is asked for again; when that does not help, `failed` says so.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.size: int = file.size
        self.bytes_read = 0
        self.failed = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that its place can be set."""
        return True

    def tell(self) -> int:
        """Give the place of the next read."""
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the place of the next read."""
        return int(self._file.seek(offset, whence))

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, fewer at the end only.

        Raises:
            OSError: they did not come in three tries.
        """
        start = self.tell()
        wanted = max(0, self.size - start if size < 0 else min(size, self.size - start))
        for number in range(TRIES):
            with contextlib.suppress(Exception):  # aiohttp's own, whose words hold the whole URL
                content: bytes = self._file.read(wanted) if wanted else b""
                self.bytes_read += len(content)
                if len(content) == wanted:
                    return content
            self._file.seek(start)
            if number < TRIES - 1:
                time.sleep(0.1 * 2**number)
        self.failed = True
        raise OSError("a part of the file did not come")

    def close(self) -> None:
        """Let go of the connection."""
        self._file.close()
        super().close()


class FetchedFile:
    """What `RemoteFile` asks of a file, over a function that gives its ranges."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self.size = size
        self._place = 0

    def tell(self) -> int:
        """Give the place of the next read."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the place of the next read."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        return self._place

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        content = self._fetch(self._place, size)
        self._place += len(content)
        return content

    def close(self) -> None:
        """Let go of nothing."""
