"""A RunPod network volume through its S3 API: exact keys, never a listing; the only importer of boto3."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kedro_cloudtrain.errors import ApiError, AuthError, ConfigError, SourceError
from kedro_cloudtrain.storage.identity import SourceIdentity
from kedro_cloudtrain.storage.multipart import PART_BYTES, LargeUpload
from kedro_cloudtrain.storage.sources import key_parts
from kedro_cloudtrain.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

logger = logging.getLogger("kedro.cloudtrain")

# RunPod's docs, "S3-compatible API", August 2026.
DATA_CENTERS = (
    "EU-CZ-1",
    "EU-RO-1",
    "EUR-IS-1",
    "EUR-NO-1",
    "US-CA-2",
    "US-GA-2",
    "US-IL-1",
    "US-KS-2",
    "US-MD-1",
    "US-MO-1",
    "US-MO-2",
    "US-NC-1",
    "US-NC-2",
    "US-NE-1",
    "US-WA-1",
)
_TRIES = 10
_READ_BYTES = 1024 * 1024
_ENDPOINT_VARIABLE = "RUNPOD_S3_ENDPOINT_URL"


class NetworkVolume:
    """A network volume of RunPod's: `s3://ID/a/b` is `/workspace/a/b` of a pod that mounts it.

    Args:
        id: the volume's id, which is the bucket's name.
        data_center: where it is, which is the S3 region.
        endpoint_url: of its S3 API; left out, RUNPOD_S3_ENDPOINT_URL, else the data centre's own.
        credentials: `access_key` and `secret_key`; left out, RUNPOD_S3_ACCESS_KEY and RUNPOD_S3_SECRET_KEY, else boto3's own chain.

    Attributes:
        mounted: whether a pod has it at its mount path; another bucket is reached by its S3 API there, too.

    Raises:
        ConfigError: the data centre has no S3 API, or boto3 is not installed.
    """

    mounted = True

    def __init__(
        self,
        id: str,  # noqa: A002  # as the catalog has it
        data_center: str,
        endpoint_url: str | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        self.id = id
        self.data_center: str | None = data_center
        self._credentials = dict(credentials or {})
        self._endpoint: str | None = endpoint_url or os.environ.get(_ENDPOINT_VARIABLE) or _endpoint_of(data_center)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"NetworkVolume({self.id!r}, {self.data_center!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NetworkVolume) and (other.id, other.data_center) == (self.id, self.data_center)

    def __hash__(self) -> int:
        return hash((self.id, self.data_center))

    @property
    def name(self) -> str:
        """As it is shown."""
        return f"{self.id} in {self.data_center}"

    @property
    def region(self) -> str | None:
        """The region of its S3 API."""
        return self.data_center

    def folder(self, key: str) -> Path:
        """Give a folder here that mirrors one of the volume's: what a job leaves is read from there."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache.joinpath("kedro-cloudtrain", self.id, *key_parts(key, self.name))

    def exists(self, key: str) -> bool:
        """Tell whether there is a file of this key."""
        return self.head(key) is not None

    def identity(self, key: str) -> SourceIdentity:
        """Give the file's ETag and size.

        Raises:
            SourceError: there is no such file.
        """
        head = self.head(key)
        if head is None:
            raise self._not_there(key)
        return SourceIdentity(etag=str(head.get("ETag", "")).strip('"') or None, size=int(head["ContentLength"]))

    @contextlib.contextmanager
    def read(self, key: str) -> Iterator[Path]:
        """Give the file as a temporary one here.

        Raises:
            SourceError: there is no such file.
        """
        with tempfile.TemporaryDirectory(prefix="cloudtrain-") as scratch:
            path = Path(scratch) / key.rpartition("/")[2]
            self.download(key, path)
            yield path

    @contextlib.contextmanager
    def write(self, key: str) -> Iterator[Path]:
        """Give a place here; what is there when it is left without an error is put on the volume."""
        key_parts(key, self.name)
        with tempfile.TemporaryDirectory(prefix="cloudtrain-") as scratch:
            path = Path(scratch) / key.rpartition("/")[2]
            yield path
            self.upload(path, key)

    def read_bytes(self, key: str, start: int = 0, size: int | None = None) -> bytes | None:
        """Give a file's bytes, or a range of them; None where there is no such file, and nothing beyond its end."""
        wanted: dict[str, str] = {}
        if start or size is not None:
            wanted["Range"] = f"bytes={start}-" + ("" if size is None else str(start + size - 1))

        place = self.place(key)

        def get() -> bytes:
            with contextlib.closing(self.s3.get_object(**place, **wanted)["Body"]) as body:
                content: bytes = body.read()
            return content

        try:
            return self.tried(key, get)
        except SourceError:
            return None
        except ApiError as error:
            if error.status == 416:  # noqa: PLR2004  # the range begins at its end
                return b""
            raise

    def write_bytes(self, key: str, content: bytes) -> None:
        """Put a small file there."""
        self.tried(key, lambda: self.s3.put_object(**self.place(key), Body=content))

    def delete(self, key: str) -> None:
        """Take a file away; one that is not there is no error."""
        place = self.place(key)
        with contextlib.suppress(SourceError):
            self.tried(key, lambda: self.s3.delete_object(**place))

    def upload(self, file: Path, key: str, progress: Callable[[int], None] | None = None) -> bool:
        """Put a file there, in parts where it is large; an upload that broke goes on where it was.

        Args:
            file: the file here.
            key: its key there.
            progress: is told how many more bytes are there.

        Returns:
            False where it was there already, by its size and its hash.

        Raises:
            SourceError: the file here is not there, or what has arrived is not it.
            ApiError: the volume refuses: it is full, say.
        """
        if not file.is_file():
            raise SourceError(f"There is no file {file}.")
        size = file.stat().st_size
        etags = _etags(file, size)
        told = progress if progress is not None else lambda _: None
        head = self.head(key)
        if head is not None and head["ContentLength"] == size and str(head.get("ETag", "")).strip('"') in etags:
            told(size)
            return False
        if size <= PART_BYTES:
            with file.open("rb") as stream:
                content = stream.read()
            self.write_bytes(key, content)
            told(size)
        else:
            LargeUpload(self, file, key, size, etags[0]).send(told)
        head = self.head(key)
        if head is None or head["ContentLength"] != size:
            found = "nothing" if head is None else f"{head['ContentLength']:,} bytes"
            raise SourceError(f"{file} was put on {self.name} as {key}, and there are {found} of {size:,} there. Upload it again.")
        return True

    def download(self, key: str, file: Path, progress: Callable[[int], None] | None = None) -> None:
        """Bring a file here, whole or not at all; a break is resumed.

        Raises:
            SourceError: there is no such file.
        """
        head = self.head(key)
        if head is None:
            raise self._not_there(key)
        size, etag = int(head["ContentLength"]), str(head.get("ETag", ""))
        file.parent.mkdir(parents=True, exist_ok=True)
        # Named by what is in it: what an earlier call has brought of the same content is not brought again.
        partial = file.with_name(f".{file.name}.{hashlib.sha256(f'{key} {etag} {size}'.encode()).hexdigest()[:12]}")
        try:
            with partial.open("ab") as stream:
                if stream.tell() > size:
                    stream.truncate(0)
                if progress is not None and stream.tell():
                    progress(stream.tell())
                self.tried(key, lambda: self._fill(key, etag, size, stream, progress))
            partial.replace(file)
        except SourceError:
            partial.unlink(missing_ok=True)
            raise

    def _fill(self, key: str, etag: str, size: int, stream: Any, progress: Callable[[int], None] | None) -> None:
        if stream.tell() == size:
            return
        wanted: dict[str, str] = {"Range": f"bytes={stream.tell()}-"} if stream.tell() else {}
        answer = self.s3.get_object(**self.place(key), **wanted, **({"IfMatch": etag} if etag else {}))
        if wanted and not answer.get("ContentRange"):
            stream.truncate(0)  # All of it comes again.
        with contextlib.closing(answer["Body"]) as body:
            for piece in body.iter_chunks(_READ_BYTES):
                stream.write(piece)
                if progress is not None:
                    progress(len(piece))
        stream.flush()
        came = stream.tell()
        if came != size:
            if came > size:
                stream.truncate(0)
            raise _BreakError(f"{came:,} of {size:,} bytes came")

    def head(self, key: str) -> dict[str, Any] | None:
        """Ask for a file's size and ETag; None where there is no such file."""
        place = self.place(key)
        try:
            found: dict[str, Any] = self.tried(key, lambda: self.s3.head_object(**place))
        except SourceError:
            return None
        except ApiError as error:
            if error.status == 400:  # noqa: PLR2004  # a directory's HEAD (reported)
                return None
            raise
        return found

    def place(self, key: str) -> dict[str, str]:
        """Give a key as boto3's calls take it."""
        return {"Bucket": self.id, "Key": "/".join(key_parts(key, self.name))}

    def _not_there(self, key: str) -> SourceError:
        return SourceError(
            f"There is no {key} on the volume {self.name}. Check dataset_key, or put it there: kedro cloudtrain upload FILE {key}"
        )

    def tried(self, key: str, once: Callable[[], T]) -> T:
        """Ask until there is an answer; botocore itself does not ask again after a 524, and 502 wants up to ten tries."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415

        for number in range(_TRIES):
            try:
                return once()
            except NoCredentialsError:
                raise AuthError(
                    f"There are no S3 keys for the volume {self.name}. Make a pair at https://console.runpod.io/user/settings (S3 API "
                    "keys), and set RUNPOD_S3_ACCESS_KEY and RUNPOD_S3_SECRET_KEY."
                ) from None
            except ClientError as error:
                said = self._refusal(key, error)
                if said is not None:
                    raise said from None
                what = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
            except (BotoCoreError, OSError, _BreakError) as error:
                what = str(error) if isinstance(error, _BreakError) else type(error).__name__
            logger.debug("%s: %s on %s is asked for again", what, key, self.name)
            if number < _TRIES - 1:
                time.sleep(min(10.0, 0.2 * 2.0**number))
        raise ApiError(f"The volume {self.name} did not answer for {key} in {_TRIES} tries ({what}). Its S3 API: {self._endpoint}")

    def _refusal(self, key: str, error: Any) -> Exception | None:
        """Give the error that an answer means; None for one that another try may change."""
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        code = str(error.response.get("Error", {}).get("Code", ""))
        if status == 404:  # noqa: PLR2004
            if code == "NoSuchBucket":
                return ConfigError(f"There is no volume {self.id} in {self.data_center}: check volume.id and volume.data_center.")
            return self._not_there(key)
        if status in (401, 403):
            return AuthError(
                f"The volume {self.name} does not accept the S3 keys ({code or status}). They are a pair of their own, not the API key: "
                "RUNPOD_S3_ACCESS_KEY (user_…) and RUNPOD_S3_SECRET_KEY (rps_…)."
            )
        if status != 507 and (status >= 500 or status in (408, 429)):  # noqa: PLR2004
            return None
        why = {
            507: f"is full: {key} does not fit. Make it larger, or take something away",
            412: f"has another {key} than a moment ago. Read it again",
            413: f"refuses {key} as too large in one piece",
        }.get(status, f"refuses {key}: {status} {code}")
        return ApiError(f"The volume {self.name} {why}.", status, code)

    def _keys(self) -> tuple[str | None, str | None]:
        """Give the pair of S3 keys; None leaves it to boto3's own chain."""
        given = self._credentials
        return (
            given.get("access_key") or os.environ.get("RUNPOD_S3_ACCESS_KEY") or None,
            given.get("secret_key") or os.environ.get("RUNPOD_S3_SECRET_KEY") or None,
        )

    @property
    def broken(self) -> tuple[type[Exception], ...]:
        """The errors of a call whose answer did not come, or was none."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        return BotoCoreError, ClientError, OSError

    @cached_property
    def s3(self) -> Any:
        """The client of its S3 API."""
        with self._lock:
            try:
                import boto3  # noqa: PLC0415  # for who has a network volume
                from botocore.config import Config  # noqa: PLC0415
            except ImportError:
                raise ConfigError('A network volume needs boto3: pip install "kedro-cloudtrain[runpod]"') from None
            access_key, secret_key = self._keys()
            # A session of its own: boto3's default one is not made to be shared by threads.
            return boto3.session.Session().client(
                "s3",
                endpoint_url=self._endpoint,
                region_name=self.region,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                config=Config(
                    s3={"addressing_style": "path"},
                    signature_version="s3v4",
                    # Conditional checksums are not among what the volume's API supports.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    retries={"mode": "standard", "max_attempts": 3},
                    connect_timeout=10,
                    read_timeout=300,
                    max_pool_connections=64,
                ),
            )


class _BreakError(Exception):
    """Another try may do."""


def _endpoint_of(data_center: str) -> str:
    if data_center not in DATA_CENTERS:
        raise ConfigError(
            f"volume.data_center is {data_center!r}, which has no S3 API.{did_you_mean(data_center, DATA_CENTERS)} Those that have it: "
            f"{', '.join(DATA_CENTERS)}. For a newer one, give volume.endpoint_url."
        )
    return f"https://s3api-{data_center.lower()}.runpod.io/"


def _etags(file: Path, size: int) -> tuple[str, str]:
    """Give what an S3 server may call a file's ETag: its MD5, or that of its parts' MD5s with their number, after a multipart one."""
    whole = hashlib.md5(usedforsecurity=False)
    sums = []
    with file.open("rb") as stream:
        while piece := stream.read(PART_BYTES):
            whole.update(piece)
            sums.append(hashlib.md5(piece, usedforsecurity=False).digest())
    parts = hashlib.md5(b"".join(sums), usedforsecurity=False).hexdigest()
    return whole.hexdigest(), f"{parts}-{len(sums)}" if size > PART_BYTES else whole.hexdigest()
