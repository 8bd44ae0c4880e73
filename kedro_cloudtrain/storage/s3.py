"""Files by exact keys on an S3 server: what a network volume and a bucket have in common."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ApiError, DiskError, SourceError
from kedro_cloudtrain.storage.cache import cache_folder
from kedro_cloudtrain.storage.disk import writing
from kedro_cloudtrain.storage.folders import Entry, folder_identity, largest_part, listed, parts_of
from kedro_cloudtrain.storage.identity import SourceIdentity
from kedro_cloudtrain.storage.multipart import PART_BYTES, LargeUpload
from kedro_cloudtrain.storage.s3_calls import S3Calls
from kedro_cloudtrain.storage.s3_client import BreakError, etags_of
from kedro_cloudtrain.storage.sources import key_parts
from kedro_cloudtrain.worker.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# What is larger is a large transfer, which may be slow.
_SMALL_BYTES = 1024 * 1024


class S3Store(S3Calls):
    """Files by exact keys on an S3 server; only small folders are ever listed.

    They hold a table's parts, its versions, a shared budget's files, or the records of runs.

    Its arguments and attributes are those of `S3Calls`.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Store) and (type(other), other.name) == (type(self), self.name)

    def __hash__(self) -> int:
        return hash(self.name)

    def folder(self, key: str) -> Path:
        """Return the folder on this computer that mirrors one of the store's."""
        return cache_folder().joinpath(self.id, *key_parts(key, self.where))

    def exists(self, key: str) -> bool:
        """Return whether the store has a file of this key, or a table of parts."""
        entries = self._listed(key) if self.head(key) is None else None
        with contextlib.suppress(SourceError):  # a folder that is not a table
            return entries is None or bool(entries and parts_of(key, entries))
        return False

    def identity(self, key: str) -> SourceIdentity:
        """Return the ETag and the size of the file, or of the parts of a table.

        Raises:
            SourceError: there is no such file, or the folder is not a table.
        """
        head = self.head(key)
        if head is None:
            return folder_identity(self.parts(key))
        return SourceIdentity(etag=str(head.get("ETag", "")).strip('"') or None, size=int(head["ContentLength"]))

    def largest_file(self, key: str) -> tuple[str, int]:
        """Return the key and the size of the file, or of the largest part of a table of parts."""
        head = self.head(key)
        return (key, int(head["ContentLength"])) if head is not None else largest_part(key, self.parts(key))

    @contextlib.contextmanager
    def read(self, key: str) -> Iterator[Path]:
        """Yield the file, or the folder of a table of parts, as a temporary one on this computer.

        Raises:
            SourceError: there is no such file, or the folder is not a table.
        """
        with scratch() as folder:
            path = folder / key.rpartition("/")[2]
            if self.head(key) is not None:
                self.download(key, path)
            else:
                for name in self.parts(key):
                    self.download(f"{key}/{name}", path / name)
            yield path

    def parts(self, key: str) -> dict[str, Entry]:
        """Return the parts of the table whose folder is a key."""
        entries = self._listed(key)
        if not entries:
            raise self._missing(key)
        return parts_of(f"{key} {self.where}", entries)

    def names(self, key: str) -> list[str]:
        """Return the names of the files in a folder, which is a small one: RunPod's S3 API takes minutes to list 10,000 files."""
        return sorted(self._listed(key))

    def folders(self, key: str) -> list[str]:
        """Return the names of the folders in a folder; none if there is no such folder."""
        return [name.removesuffix("/") for name in self._listed(key) if name.endswith("/")]

    def _listed(self, key: str) -> dict[str, Entry]:
        """Return what is below a key, if it is that of a folder."""
        prefix = f"{self.place(key)['Key']}/"
        # RunPod's answers late: it may have to read the files first.
        pages = self.large_client.get_paginator("list_objects_v2").paginate(Bucket=self.id, Prefix=prefix, Delimiter="/")
        return listed(self.retry(key, lambda: list(pages)), prefix)

    @contextlib.contextmanager
    def write(self, key: str) -> Iterator[Path]:
        """Yield a temporary path on this computer; its file is uploaded when the block ends without an error."""
        key_parts(key, self.where)
        with scratch() as folder:
            path = folder / key.rpartition("/")[2]
            yield path
            self.upload(path, key)

    def read_bytes(self, key: str, start: int = 0, size: int | None = None) -> bytes | None:
        """Return a file's bytes, or a range of them: None if there is no such file, empty beyond its end."""
        range_header: dict[str, str] = {}
        if start or size is not None:
            range_header["Range"] = f"bytes={start}-" + ("" if size is None else str(start + size - 1))
        place = self.place(key)

        def get() -> bytes:
            with contextlib.closing(self.client.get_object(**place, **range_header)["Body"]) as body:
                return b"".join(self._pieces(body))

        try:
            return self.retry(key, get)
        except SourceError:
            return None
        except ApiError as error:
            if error.status == 416:  # noqa: PLR2004  # the range begins at the file's end
                return b""
            raise

    def write_bytes(self, key: str, content: bytes) -> None:
        """Write a file that fits into memory."""
        if len(content) <= _SMALL_BYTES:
            self.retry(key, lambda: self.client.put_object(**self.place(key), Body=content))
        else:
            self.retry(key, lambda: self.large_client.put_object(**self.place(key), Body=self.moving(content)))

    def delete(self, key: str) -> None:
        """Delete a file; one that does not exist is not an error."""
        place = self.place(key)
        with contextlib.suppress(SourceError):
            self.retry(key, lambda: self.client.delete_object(**place))

    def upload(self, file: Path, key: str, progress: Callable[[int], None] | None = None) -> bool:
        """Upload a file, a large one in parts; an upload that broke off is resumed.

        Args:
            file: the file on this computer.
            key: its key in the store.
            progress: called with the number of bytes that each step has added.

        Returns:
            False if the store has the file already, by its size and its hash.

        Raises:
            SourceError: the file does not exist, or another one has arrived.
            ApiError: the store refuses the file, because it is full for example.
        """
        if not file.is_file():
            raise SourceError(f"There is no file {file}.")
        size = file.stat().st_size
        etags = etags_of(file, size)
        report = progress if progress is not None else lambda _: None
        head = self.head(key)
        if head is not None and head["ContentLength"] == size and str(head.get("ETag", "")).strip('"') in etags:
            report(size)
            return False
        if size <= PART_BYTES:
            self.write_bytes(key, file.read_bytes())
            report(size)
        else:
            LargeUpload(self, file, key, size, etags[0]).send(report)
        head = self.head(key)
        if head is None or head["ContentLength"] != size:
            arrived = "nothing" if head is None else f"{head['ContentLength']:,} bytes"
            raise SourceError(f"Of {file} ({size:,} bytes), {arrived} arrived as {key} {self.where}. Upload it again.")
        return True

    def download(self, key: str, file: Path, progress: Callable[[int], None] | None = None) -> None:
        """Download a file whole or not at all; a download that broke off is resumed.

        Raises:
            SourceError: there is no such file.
            DiskError: it does not fit here.
        """
        head = self.head(key)
        if head is None:
            raise self._missing(key)
        size, etag = int(head["ContentLength"]), str(head.get("ETag", ""))
        # Named by its content: the bytes of it that an earlier call has brought are not downloaded again.
        partial = file.with_name(f".{file.name}.{hashlib.sha256(f'{key} {etag} {size}'.encode()).hexdigest()[:12]}")
        try:
            with writing(file, size):
                file.parent.mkdir(parents=True, exist_ok=True)
            with writing(file, size), partial.open("ab") as stream:
                if stream.tell() > size:
                    stream.truncate(0)
                if progress is not None and stream.tell():
                    progress(stream.tell())
                self.retry(key, lambda: self._fill(key, etag, size, stream, progress))
            with writing(file, size):
                partial.replace(file)
        except (SourceError, DiskError):
            # A part of it, on a full disk, would be in the way of everything else.
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise

    def _fill(self, key: str, etag: str, size: int, stream: Any, progress: Callable[[int], None] | None) -> None:
        """Append to a file the bytes that it lacks."""
        if stream.tell() == size:
            return
        range_header: dict[str, str] = {"Range": f"bytes={stream.tell()}-"} if stream.tell() else {}
        response = self.large_client.get_object(**self.place(key), **range_header, **({"IfMatch": etag} if etag else {}))
        if range_header and not response.get("ContentRange"):
            stream.truncate(0)  # The server sends the whole file again.
        with contextlib.closing(response["Body"]) as body:
            for piece in self._pieces(body):
                stream.write(piece)
                if progress is not None:
                    progress(len(piece))
        stream.flush()
        arrived = stream.tell()
        if arrived != size:
            if arrived > size:
                stream.truncate(0)
            raise BreakError(f"{arrived:,} of {size:,} bytes arrived")

    def head(self, key: str) -> dict[str, Any] | None:
        """Return S3's answer about a file, with its size and ETag; None if there is no such file."""
        place = self.place(key)
        try:
            response: dict[str, Any] = self.retry(key, lambda: self.client.head_object(**place))
        except SourceError:
            return None
        except ApiError as error:
            if error.status == 400:  # noqa: PLR2004  # a directory's HEAD (reported)
                return None
            raise
        return response
