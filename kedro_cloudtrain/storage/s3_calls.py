"""Calls to one S3 bucket, retried where that may help, within the limit of a silence."""

from __future__ import annotations

import abc
import copy
import dataclasses
import logging
import threading
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from kedro_cloudtrain.errors import ApiError, AuthError, ConfigError, SourceError
from kedro_cloudtrain.secrecy import fault_of_key, know
from kedro_cloudtrain.storage.disk import LOCAL_ERRORS
from kedro_cloudtrain.storage.s3_client import CONNECT_S, LARGE_READ_S, SMALL_READ_S, BreakError, Moving, make_client
from kedro_cloudtrain.storage.silence import DEFAULT_LIMIT_S, Silence
from kedro_cloudtrain.storage.sources import key_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kedro_cloudtrain.storage.silence import Wait

T = TypeVar("T")

logger = logging.getLogger("kedro.cloudtrain")

_TRIES = 10
_READ_BYTES = 64 * 1024
# An answer of 400 that another try may change.
_WAITED_FOR = ("RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException")


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


class S3Calls(abc.ABC):
    """The calls of one bucket.

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
        self._closed = threading.Event()

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

    def until(self, closed: threading.Event, limit_s: float = DEFAULT_LIMIT_S) -> Self:
        """Return the store as a run uses it: once the run is over, nothing is tried again.

        Args:
            closed: set once the run is over.
            limit_s: how long the store's silence is borne, in seconds.
        """
        self._silence.begin(limit_s)
        store = copy.copy(self)
        store._closed = closed  # noqa: SLF001  # the same class
        return store

    @property
    def _silence(self) -> Silence:
        return Silence.of(f"The S3 API of the {self._noun} ({self._endpoint_url or 'AWS'})")

    def moving(self, content: bytes) -> Moving:
        """Return a large content to send: while it is read, the store is not silent."""
        return Moving(content, self._silence.moved)

    def _pieces(self, body: Any) -> Iterator[bytes]:
        for piece in body.iter_chunks(_READ_BYTES):
            self._silence.moved()
            yield piece

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
        with self._silence.wait(f"{key} {self.where}") as wait:
            return self._retry(key, call, wait)

    def _retry(self, key: str, call: Callable[[], T], wait: Wait) -> T:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415

        silence, tries, began_at = self._silence, 0, monotonic()
        while True:
            # A try that has hung, without a byte, does not count: the time does.
            tried_at = monotonic()
            try:
                result = call()
            except NoCredentialsError:
                raise AuthError(f"There are no S3 keys for the {self._noun}. {self._hints.no_keys}") from None
            except ClientError as error:
                refusal = self._refusal(key, error)
                if refusal is not None:
                    silence.answered()
                    raise refusal from None
                reason = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
            except (BotoCoreError, OSError, BreakError) as error:
                if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
                    raise
                reason = str(error) if isinstance(error, BreakError) else type(error).__name__
            else:
                silence.answered()
                return result
            silence.failed()
            tries += monotonic() - tried_at < CONNECT_S or wait.moved_at > tried_at
            logger.debug("Asking for %s %s again: %s", key, self.where, reason)
            last = self._last_error(key, reason, tries, monotonic() - began_at, wait)
            if last is not None:
                raise last
            sleep(min(10.0, 0.1 * 2.0**tries), self._closed)

    def _last_error(self, key: str, reason: str, tries: int, waited_s: float, wait: Wait) -> ApiError | None:
        """Return the error with which a call is given up; None while it is tried again."""
        place = f"Its S3 API: {self.client.meta.endpoint_url}"
        if self._closed.is_set():
            return ApiError(f"The {self._noun} did not answer for {key} ({reason}), and the run is over. {place}")
        if self._silence.is_over(wait):
            return ApiError(
                f"The {self._noun} has not answered for {key} in {waited_s:.0f} s ({reason}), and run.answer_timeout_s is "
                f"{self._silence.limit_s:g}. {place} Check that it can be reached from here, and run again: what machines have finished "
                "stays on the volume, and is taken from there."
            )
        return ApiError(f"The {self._noun} did not answer for {key} in {_TRIES} tries ({reason}). {place}") if tries >= _TRIES else None

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
        if code in _WAITED_FOR:
            return None
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
        """boto3's S3 client for small files."""
        return self._made_client(SMALL_READ_S)

    @cached_property
    def large_client(self) -> Any:
        """boto3's S3 client for large transfers."""
        return self._made_client(LARGE_READ_S)

    def _made_client(self, read_timeout_s: float) -> Any:
        access_key, secret_key = (key.strip() if key else key for key in self._keys())
        with self._lock:
            try:
                return make_client(self._endpoint_url, self.region, (access_key, secret_key), read_timeout_s, self._check_keys)
            except ImportError:
                raise ConfigError(f'The {self._noun} needs boto3: pip install "kedro-cloudtrain[runpod]"') from None

    def _check_keys(self, keys: Mapping[str, str | None]) -> None:
        """Check keys before any of them is in a request.

        Raises:
            AuthError: one of them cannot be a key.
        """
        know(*(key for key in keys.values() if key))
        for name, key in keys.items():
            fault = fault_of_key(key or "")
            if fault is not None:
                raise AuthError(f"The {name} for the {self._noun} {fault}. {self._hints.wrong_keys}")


def sleep(seconds: float, closed: threading.Event) -> None:
    """Pause between two tries, no longer than the run lasts."""
    closed.wait(seconds)
