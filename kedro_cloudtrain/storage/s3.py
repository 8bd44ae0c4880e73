"""Files by exact keys on an S3 server: what a network volume and a bucket have in common; the only importer of boto3."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import hashlib
import logging
import tempfile
import threading
from functools import cached_property
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from kedro_cloudtrain.errors import ApiError, AuthError, ConfigError, SourceError
from kedro_cloudtrain.storage.cache import cache_folder
from kedro_cloudtrain.storage.folders import Entry, folder_identity, largest_part, listed, parts_of
from kedro_cloudtrain.storage.identity import SourceIdentity
from kedro_cloudtrain.storage.multipart import PART_BYTES, LargeUpload
from kedro_cloudtrain.storage.sources import key_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

logger = logging.getLogger("kedro.cloudtrain")

_TRIES = 10
_READ_BYTES = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Hints:
    """What a user does when a kind of store refuses.

    Attributes:
        settings: where the store is named, for when there is no such store.
        no_keys: where S3 keys come from, for when there are none.
        wrong_keys: which S3 keys are needed, for when others were given.
    """

    settings: str
    no_keys: str
    wrong_keys: str


class S3Store(abc.ABC):
    """Files by exact keys on an S3 server; nothing is ever listed but the parts of a table.

    Args:
        bucket: the bucket's name; that of a network volume is the volume's id.
        region: the S3 region; None leaves it to boto3.
        endpoint_url: the server's address; None for AWS's own.
        credentials: `access_key` and `secret_key`, where they do not come from the environment.

    Attributes:
        id: the bucket's name.
        mounted: whether a pod has the store as a directory; it reaches a store that is not mounted by presigned URLs.
        data_center: where a pod has to be to mount the store; None if pods may be anywhere.
    """

    mounted: bool
    _hints: ClassVar[Hints]
    data_center: str | None = None

    def __init__(self, bucket: str, region: str | None, endpoint_url: str | None, credentials: Mapping[str, str] | None) -> None:
        self.id = bucket
        self.region = region
        self._endpoint_url = endpoint_url
        self._credentials = dict(credentials or {})
        self._lock = threading.Lock()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Store) and (type(other), other.name) == (type(self), self.name)

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The store's name, as users are shown it."""

    @property
    def where(self) -> str:
        """Where a file of the store is, as a message has it: `on the volume …`, `in the bucket …`."""
        return f"{'on' if self.mounted else 'in'} the {self._noun}"

    @property
    @abc.abstractmethod
    def _noun(self) -> str:
        """The store's kind and name: `volume …`, `bucket …`."""

    def folder(self, key: str) -> Path:
        """Return the folder on this computer that mirrors one of the store's."""
        return cache_folder().joinpath(self.id, *key_parts(key, self.where))

    def exists(self, key: str) -> bool:
        """Return whether the store has a file of this key, or a table of parts."""
        entries = self._listed(key) if self.head(key) is None else None
        with contextlib.suppress(SourceError):  # a folder that is no table
            return entries is None or bool(entries and parts_of(key, entries))
        return False

    def identity(self, key: str) -> SourceIdentity:
        """Return the ETag and the size of the file, or of the parts of a table.

        Raises:
            SourceError: there is no such file, or the folder is no table.
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
            SourceError: there is no such file, or the folder is no table.
        """
        with tempfile.TemporaryDirectory(prefix="cloudtrain-") as scratch:
            path = Path(scratch) / key.rpartition("/")[2]
            if self.head(key) is not None:
                self.download(key, path)
            else:
                for name in self.parts(key):
                    self.download(f"{key}/{name}", path / name)
            yield path

    def parts(self, key: str) -> dict[str, Entry]:
        """Return the parts of the table whose folder is a key: the one case in which a folder is listed."""
        entries = self._listed(key)
        if not entries:
            raise self._missing(key)
        return parts_of(f"{key} {self.where}", entries)

    def names(self, key: str) -> list[str]:
        """Return the names of the files in a folder, which is a small one: RunPod's S3 API takes minutes to list 10,000 files."""
        return sorted(self._listed(key))

    def _listed(self, key: str) -> dict[str, Entry]:
        """Return what is below a key, if it is that of a folder."""
        prefix = f"{self.place(key)['Key']}/"
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.id, Prefix=prefix, Delimiter="/")
        return listed(self.retry(key, lambda: list(pages)), prefix)

    @contextlib.contextmanager
    def write(self, key: str) -> Iterator[Path]:
        """Yield a temporary path on this computer; its file is uploaded when the block ends without an error."""
        key_parts(key, self.where)
        with tempfile.TemporaryDirectory(prefix="cloudtrain-") as scratch:
            path = Path(scratch) / key.rpartition("/")[2]
            yield path
            self.upload(path, key)

    def read_bytes(self, key: str, start: int = 0, size: int | None = None) -> bytes | None:
        """Return a file's bytes, or a range of them: None if there is no such file, empty beyond its end."""
        wanted: dict[str, str] = {}
        if start or size is not None:
            wanted["Range"] = f"bytes={start}-" + ("" if size is None else str(start + size - 1))
        place = self.place(key)

        def get() -> bytes:
            with contextlib.closing(self.client.get_object(**place, **wanted)["Body"]) as body:
                content: bytes = body.read()
            return content

        try:
            return self.retry(key, get)
        except SourceError:
            return None
        except ApiError as error:
            if error.status == 416:  # noqa: PLR2004  # the range begins at the file's end
                return b""
            raise

    def write_bytes(self, key: str, content: bytes) -> None:
        """Write a small file."""
        self.retry(key, lambda: self.client.put_object(**self.place(key), Body=content))

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
        etags = _etags(file, size)
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
        """
        head = self.head(key)
        if head is None:
            raise self._missing(key)
        size, etag = int(head["ContentLength"]), str(head.get("ETag", ""))
        file.parent.mkdir(parents=True, exist_ok=True)
        # Named by its content: the bytes of it that an earlier call has brought are not downloaded again.
        partial = file.with_name(f".{file.name}.{hashlib.sha256(f'{key} {etag} {size}'.encode()).hexdigest()[:12]}")
        try:
            with partial.open("ab") as stream:
                if stream.tell() > size:
                    stream.truncate(0)
                if progress is not None and stream.tell():
                    progress(stream.tell())
                self.retry(key, lambda: self._fill(key, etag, size, stream, progress))
            partial.replace(file)
        except SourceError:
            partial.unlink(missing_ok=True)
            raise

    def _fill(self, key: str, etag: str, size: int, stream: Any, progress: Callable[[int], None] | None) -> None:
        """Append to a file the bytes that it lacks."""
        if stream.tell() == size:
            return
        wanted: dict[str, str] = {"Range": f"bytes={stream.tell()}-"} if stream.tell() else {}
        response = self.client.get_object(**self.place(key), **wanted, **({"IfMatch": etag} if etag else {}))
        if wanted and not response.get("ContentRange"):
            stream.truncate(0)  # The server sends the whole file again.
        with contextlib.closing(response["Body"]) as body:
            for piece in body.iter_chunks(_READ_BYTES):
                stream.write(piece)
                if progress is not None:
                    progress(len(piece))
        stream.flush()
        arrived = stream.tell()
        if arrived != size:
            if arrived > size:
                stream.truncate(0)
            raise _BreakError(f"{arrived:,} of {size:,} bytes arrived")

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

    def place(self, key: str) -> dict[str, str]:
        """Return the bucket and the key as arguments of boto3's calls."""
        return {"Bucket": self.id, "Key": "/".join(key_parts(key, self.where))}

    def retry(self, key: str, call: Callable[[], T]) -> T:
        """Return what a call about a file returns, trying again where that may help.

        botocore itself does not try again after a 524, and a 502 of RunPod's takes up to ten tries.

        Raises:
            SourceError: there is no such file.
            AuthError: the S3 keys are missing or not accepted.
            ConfigError: there is no such store.
            ApiError: the store refuses, or does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415

        for number in range(_TRIES):
            try:
                return call()
            except NoCredentialsError:
                raise AuthError(f"There are no S3 keys for the {self._noun}. {self._hints.no_keys}") from None
            except ClientError as error:
                refusal = self._refusal(key, error)
                if refusal is not None:
                    raise refusal from None
                reason = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
            except (BotoCoreError, OSError, _BreakError) as error:
                reason = str(error) if isinstance(error, _BreakError) else type(error).__name__
            logger.debug("Asking for %s %s again: %s", key, self.where, reason)
            if number < _TRIES - 1:
                sleep(min(10.0, 0.2 * 2.0**number))
        raise ApiError(
            f"The {self._noun} did not answer for {key} in {_TRIES} tries ({reason}). Its S3 API: {self.client.meta.endpoint_url}"
        )

    def _refusal(self, key: str, error: Any) -> Exception | None:
        """Return the error that an answer means; None if another try may change the answer."""
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        code = str(error.response.get("Error", {}).get("Code", ""))
        if status == 404:  # noqa: PLR2004
            if code == "NoSuchBucket":
                return ConfigError(f"There is no {self._noun}: check {self._hints.settings}.")
            return self._missing(key)
        if status in (401, 403):
            return AuthError(f"The {self._noun} does not accept the S3 keys ({code or status}). {self._hints.wrong_keys}")
        if status != 507 and (status >= 500 or status in (408, 429)):  # noqa: PLR2004
            return None
        reason = {
            507: f"is full: {key} does not fit. Make it larger, or delete something",
            412: f"has another {key} than a moment ago. Read it again",
            413: f"refuses {key} as too large in one piece",
        }.get(status, f"refuses {key}: {status} {code}")
        return ApiError(f"The {self._noun} {reason}.", status, code)

    def _missing(self, key: str) -> SourceError:
        return SourceError(f"There is no {key} {self.where}. Check dataset_key, or upload the file: kedro cloudtrain upload FILE {key}")

    def _keys(self) -> tuple[str | None, str | None]:
        """Return the access key and the secret key; None leaves one to boto3's own search."""
        return self._credentials.get("access_key"), self._credentials.get("secret_key")

    @property
    def broken(self) -> tuple[type[Exception], ...]:
        """The errors of a call whose answer was lost, or was an error."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        return BotoCoreError, ClientError, OSError

    @cached_property
    def client(self) -> Any:
        """boto3's S3 client."""
        with self._lock:
            try:
                import boto3  # noqa: PLC0415  # half a second that only users of an S3 store wait for
                from botocore.config import Config  # noqa: PLC0415
            except ImportError:
                raise ConfigError(f'The {self._noun} needs boto3: pip install "kedro-cloudtrain[runpod]"') from None
            access_key, secret_key = self._keys()
            # A session of its own: threads must not share boto3's default one.
            return boto3.session.Session().client(
                "s3",
                endpoint_url=self._endpoint_url,
                region_name=self.region,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                config=Config(
                    s3={"addressing_style": "path"},
                    signature_version="s3v4",
                    # RunPod's S3 API does not list conditional checksums among what it supports.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    retries={"mode": "standard", "max_attempts": 3},
                    connect_timeout=10,
                    read_timeout=300,
                    max_pool_connections=64,
                ),
            )


class _BreakError(Exception):
    """A transfer broke off; another try may complete it."""


def _etags(file: Path, size: int) -> tuple[str, str]:
    """Return what an S3 server may use as a file's ETag: its MD5, or after a multipart upload that of its parts' MD5s with their number."""
    whole = hashlib.md5(usedforsecurity=False)
    sums = []
    with file.open("rb") as stream:
        while piece := stream.read(PART_BYTES):
            whole.update(piece)
            sums.append(hashlib.md5(piece, usedforsecurity=False).digest())
    parts = hashlib.md5(b"".join(sums), usedforsecurity=False).hexdigest()
    return whole.hexdigest(), f"{parts}-{len(sums)}" if size > PART_BYTES else whole.hexdigest()
