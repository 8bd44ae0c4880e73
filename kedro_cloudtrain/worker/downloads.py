"""A file from a web server, streamed to disk in pieces: its length is checked, a broken download is resumed, and the file is temporary."""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import gzip
import http.client
import shutil
import urllib.error
import urllib.request
import zlib
from time import sleep, time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from .errors import InputError
from .range_requests import RangeRequests
from .scratch import scratch
from .urls import READ_TIMEOUT_S, ascii_url, with_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

T = TypeVar("T")
TRIES = 3
_PIECE_BYTES = 1 << 20
_LONGEST_WAIT_S = 60.0
_HEAD_TIMEOUT_S = 10.0
_PLAIN = ("", "identity")
# Status codes that another try may change (RFC 9110, 15.5 and 15.6).
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
_HINTS = {
    401: "It needs credentials: give the dataset `credentials` with `headers`.",
    403: "Check the credentials, or whether a signed URL has expired.",
    404: "Check dataset_url, or put the file on the volume.",
    410: "The file is gone: check dataset_url, or put the file on the volume.",
}


@dataclasses.dataclass
class Download:
    """A file that is being downloaded, or has been.

    Attributes:
        path: the temporary file.
        bytes_read: the bytes that came over the network, including those of broken tries.
    """

    path: Path
    bytes_read: int = 0


@contextlib.contextmanager
def downloaded(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    secret_query: str = "",
    timeout_s: float = READ_TIMEOUT_S,
    tries: int = TRIES,
) -> Iterator[Download]:
    """Download a URL's content to a temporary file, which is removed in any case.

    Args:
        url: http or https, without secrets, since messages show it.
        headers: sent to the URL's own host only.
        secret_query: added to the URL's query, for its own host only.
        timeout_s: the longest time for connecting, and for each read, in seconds.
        tries: the most tries; each resumes where the one before broke off, if the server supports that (Range).

    Raises:
        InputError: the server refuses, or every try broke off.
    """
    with scratch() as folder:
        download = Download(folder / "download")
        download.path.touch()
        request = _Request(url, dict(headers or {}), secret_query, timeout_s)
        _retry(url, tries, lambda: request.fetch(download))
        _decode(url, download.path, request.encoding)
        yield download


@contextlib.contextmanager
def streamed(
    url: str, *, headers: Mapping[str, str] | None = None, secret_query: str = "", timeout_s: float = READ_TIMEOUT_S
) -> Iterator[Callable[[int], bytes] | None]:
    """Provide a function that reads the next `size` bytes of a URL; None if the content is encoded.

    Bytes that are not read are not transferred.

    Raises:
        InputError: the server refuses or cannot be reached.
        OSError: from the function: the connection broke.
    """
    request = _Request(url, dict(headers or {}), secret_query, timeout_s)
    response = _retry(url, TRIES, lambda: request.send("GET"))

    def read(size: int) -> bytes:
        try:
            content: bytes = response.read(size)
        except http.client.HTTPException as error:
            raise OSError(type(error).__name__) from None
        return content

    with response:
        yield read if _encoding(response) in _PLAIN else None


@dataclasses.dataclass(frozen=True)
class Description:
    """A server's description of a file.

    Attributes:
        url: the URL after redirects, with secrets: for requests, never for messages.
        own: whether that is the requested server, which may see the headers.
        headers: the response's headers.
    """

    url: str = dataclasses.field(repr=False)
    own: bool
    headers: Mapping[str, str] = dataclasses.field(repr=False)

    @property
    def size(self) -> int | None:
        """The file's size in bytes; None if the server does not give it, or gives that of an encoded file."""
        length = self.headers.get("content-length", "")
        return int(length) if length.isdigit() and self.headers.get("content-encoding", "").lower() in _PLAIN else None


def describe(
    url: str, *, headers: Mapping[str, str] | None = None, secret_query: str = "", timeout_s: float = READ_TIMEOUT_S
) -> Description:
    """Request a server's description of a file, without the file itself.

    Where HEAD brings no file, the first byte is requested: a presigned URL of S3 or Google Cloud Storage, for example, is signed for GET.

    Raises:
        InputError: the server refuses or cannot be reached.
    """
    request = _Request(url, dict(headers or {}), secret_query, timeout_s)
    return _retry(url, TRIES, request.describe)


class _Break(Exception):  # noqa: N818  # not yet an error: another try may succeed
    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def _retry(url: str, tries: int, request: Callable[[], T]) -> T:
    for number in range(1, tries + 1):
        try:
            return request()
        except _Break as broken:
            reason, wait_s = str(broken), broken.wait_s
        if number < tries:
            sleep(wait_s if wait_s is not None else 0.2 * 2 ** (number - 1))
    raise InputError(f"{url} could not be read in {tries} {'tries' if tries > 1 else 'try'}: {reason}. Check dataset_url, and the network.")


@dataclasses.dataclass
class _Request:
    url: str
    headers: dict[str, str] = dataclasses.field(repr=False)
    secret_query: str = dataclasses.field(repr=False)
    timeout_s: float
    validator: str | None = None
    encoding: str = ""
    splits: bool = True

    def fetch(self, download: Download) -> None:
        have = download.path.stat().st_size if self.validator else 0
        headers = {"Range": f"bytes={have}-", "If-Range": self.validator} if have and self.validator else {}
        with self.send("GET", headers) as response, _broken_off():
            validator = _validator(response)
            resumed = response.status == http.client.PARTIAL_CONTENT
            if resumed and (_range_start(response) != have or not have or validator not in (None, self.validator)):
                # Other bytes than the missing ones, or bytes of another version, must not be joined to those on disk.
                self.validator = None
                raise _Break("the server sent another part of the file than the one that was requested")
            self.validator, self.encoding = validator or (self.validator if resumed else None), _encoding(response)
            if self.splits and RangeRequests.suit(response):
                self._fetch_ranges(download, response)
                return
            with download.path.open("ab" if resumed else "wb") as file:
                while piece := response.read1(_PIECE_BYTES):
                    file.write(piece)
                    download.bytes_read += len(piece)
                length = response.headers.get("Content-Length")
                expected = (have if resumed else 0) + int(length) if length is not None else None
                if expected is not None and file.tell() != expected:
                    raise _Break(f"{file.tell():,} of {expected:,} bytes arrived")

    def _fetch_ranges(self, download: Download, response: Any) -> None:
        """Read a large file over several connections; what they leave, the next try reads over one."""
        self.splits = False
        size = int(response.headers["Content-Length"])
        ranges = RangeRequests(lambda headers: self.send("GET", headers), str(self.validator), size, download.path)
        whole = ranges.fetch(response)
        download.bytes_read += ranges.bytes_read
        if whole != size:
            raise _Break(f"{whole:,} of {size:,} bytes arrived")

    def describe(self) -> Description:
        # HEAD cannot be trusted: many a web framework answers it with 404, 500, an empty file or nothing, where GET has the file.
        head = dataclasses.replace(self, timeout_s=min(self.timeout_s, _HEAD_TIMEOUT_S))
        with contextlib.suppress(RefusedError, _Break):
            description = head.described_by("HEAD")
            if description.size != 0:
                return description
        try:
            return self.described_by("GET", {"Range": "bytes=0-0"})
        except RefusedError as refused:
            if refused.status in (http.client.NOT_FOUND, http.client.GONE):
                raise
        return self.described_by("GET")

    def described_by(self, method: str, more: Mapping[str, str] | None = None) -> Description:
        """Return the server's description of the file in its answer to one request."""
        with self.send(method, more) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            if response.status == http.client.PARTIAL_CONTENT:
                headers["content-length"] = headers.get("content-range", "").rpartition("/")[2]
            return Description(response.url, _same_origin(self._full_url(), response.url), headers)

    def send(self, method: str, more: Mapping[str, str] | None = None) -> Any:
        """Send a request, and return the response unless the server refuses."""
        # The scheme is http or https: sources.py has checked the URL, and urllib checks redirects.
        request = urllib.request.Request(  # noqa: S310
            self._full_url(), headers={"User-Agent": "kedro-cloudtrain", "Accept-Encoding": "identity", **(more or {})}, method=method
        )
        for name, value in self.headers.items():
            # Not by `add_header`: urllib would send those to other hosts, too, after a redirect.
            request.add_unredirected_header(name, value)
        try:
            with _broken_off():
                return _opener().open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refusal(error) from None
        except ValueError:
            # The error's own message would hold the header.
            raise InputError(f"{self.url} cannot be requested: its host, or a header of its credentials, is not valid.") from None

    def _full_url(self) -> str:
        return ascii_url(with_query(self.url, self.secret_query))

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        if 300 <= error.code < 400:  # noqa: PLR2004  # a redirect that urllib refuses: its own message would hold the target
            return RefusedError(f"{self.url} redirects without end, or not to a web address. Check dataset_url.", error.code)
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and self.validator:
            self.validator = None
            return _Break("the file became shorter while it was being read")
        if error.code in _TRANSIENT:
            return _Break(f"the server answered {error.code} {error.reason}", _retry_after_s(error))
        return RefusedError(f"{self.url} answered {error.code} {error.reason}. {_HINTS.get(error.code, 'Check dataset_url.')}", error.code)


class RefusedError(InputError):
    """A server's refusal, which another try will not change; `status` is the response's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def _broken_off() -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except http.client.InvalidURL:
        raise ValueError from None  # The error's own message would hold the query.
    except (http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise _Break(f"{type(reason).__name__}: {reason}") from None


def _validator(response: Any) -> str | None:
    etag = response.headers.get("ETag")
    # A weak ETag does not promise the same bytes (RFC 9110, 13.1.5).
    validator: str | None = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    return validator


def _encoding(response: Any) -> str:
    return str(response.headers.get("Content-Encoding", "")).strip().lower()


def _decode(url: str, path: Path, encoding: str) -> None:
    """Decode a file that a server has encoded although the request forbade it: object stores keep some files that way."""
    if encoding in _PLAIN:
        return
    if encoding not in ("gzip", "x-gzip"):
        raise InputError(f"{url} is encoded as {encoding}, which cannot be read. Serve the file without it, or put it on the volume.")
    plain = path.with_name("plain")
    try:
        with gzip.open(path) as packed, plain.open("wb") as file:
            shutil.copyfileobj(packed, file, _PIECE_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{url} is not encoded as gzip, although its server says so: {error}. Put the file on the volume.") from None
    plain.replace(path)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https; the headers, like the secret query, go to the requested server only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        new = super().redirect_request(req, fp, code, msg, headers, ascii_url(newurl))
        if new is not None:
            # Before Python 3.13, a redirect turns HEAD into GET.
            new.method = req.get_method()
            if _same_origin(req.full_url, new.full_url):
                for name, value in req.unredirected_hdrs.items():
                    if name != "Host":
                        new.add_unredirected_header(name, value)
        return new


def _same_origin(url: str, other: str) -> bool:
    """Return whether a second URL may see the secrets of a first: it is the same server, and TLS is not given up."""
    first, second = _origin(url), _origin(other)
    return first == second or (first[1] == second[1] and (first[0], first[2], second[0], second[2]) == ("http", 80, "https", 443))


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _SameHost,
    ):
        opener.add_handler(handler())
    return opener


def _range_start(response: Any) -> int:
    start = str(response.headers.get("Content-Range", "")).removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdigit() else -1


def _retry_after_s(error: urllib.error.HTTPError) -> float | None:
    retry_after = error.headers.get("Retry-After") if error.headers is not None else None
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return min(float(retry_after), _LONGEST_WAIT_S)
    try:
        wait_s = email.utils.parsedate_to_datetime(retry_after).timestamp() - time()
    except ValueError:
        return None
    return min(max(wait_s, 0.0), _LONGEST_WAIT_S)
