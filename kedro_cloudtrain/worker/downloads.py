"""A file from a web server, streamed to disk in pieces: length checked, resumed after a break, gone when it has been used."""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import gzip
import http.client
import shutil
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from .errors import InputError
from .urls import READ_TIMEOUT_S, ascii_url, with_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")
TRIES = 3
_PIECE_BYTES = 1 << 20
_LONGEST_WAIT_S = 60.0
_PLAIN = ("", "identity")
# Answers that another try may change (RFC 9110, 15.5 and 15.6).
_PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
_HINTS = {
    401: "It asks for credentials: give the dataset `credentials` with `headers`.",
    403: "It refuses: check the credentials, or whether a signed URL has run out.",
    404: "Check dataset_url, or put the file on the volume.",
    410: "The file is gone: check dataset_url, or put the file on the volume.",
}


@dataclasses.dataclass
class Download:
    """A file on its way, or here.

    Attributes:
        path: the temporary file.
        bytes_read: what came over the wire, in bytes, broken tries included.
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
    """Give a URL's content as a temporary file, which is removed whatever happens.

    Args:
        url: http or https, without secrets: it is what messages show.
        headers: sent to the URL's own host alone.
        secret_query: added to the URL's query, for its own host alone.
        timeout_s: how long connecting, and each read, may take, in seconds.
        tries: how often to begin; a later one goes on where the one before broke off, where the server can (Range).

    Raises:
        InputError: the server refuses, or every try broke.
    """
    with tempfile.TemporaryDirectory(prefix="cloudtrain-") as folder:
        download = Download(Path(folder) / "download")
        download.path.touch()
        request = _Request(url, dict(headers or {}), secret_query, timeout_s)
        _tried(url, tries, lambda: request.fetch(download))
        _decode(url, download.path, request.encoding)
        yield download


@contextlib.contextmanager
def streamed(
    url: str, *, headers: Mapping[str, str] | None = None, secret_query: str = "", timeout_s: float = READ_TIMEOUT_S
) -> Iterator[Callable[[int], bytes] | None]:
    """Give what reads a URL's first bytes, so many at a call; the rest stays on its server. None where its content is encoded.

    Raises:
        InputError: the server refuses or cannot be reached.
        OSError: the connection breaks, when it is read.
    """
    request = _Request(url, dict(headers or {}), secret_query, timeout_s)
    answer = _tried(url, TRIES, lambda: request.sent("GET"))

    def read(size: int) -> bytes:
        try:
            content: bytes = answer.read(size)
        except http.client.HTTPException as error:
            raise OSError(type(error).__name__) from None
        return content

    with answer:
        yield read if _encoding(answer) in _PLAIN else None


@dataclasses.dataclass(frozen=True)
class Description:
    """What a server says of a file.

    Attributes:
        url: where redirects led, secrets included: for requests, and for no message.
        own: whether that is the server that was asked, which may see the headers.
        headers: the answer's.
    """

    url: str = dataclasses.field(repr=False)
    own: bool
    headers: Mapping[str, str] = dataclasses.field(repr=False)

    @property
    def size(self) -> int | None:
        """The file's size in bytes, where it is said and is that of the file itself."""
        said = self.headers.get("content-length", "")
        return int(said) if said.isdigit() and self.headers.get("content-encoding", "").lower() in _PLAIN else None


def describe(
    url: str, *, headers: Mapping[str, str] | None = None, secret_query: str = "", timeout_s: float = READ_TIMEOUT_S
) -> Description:
    """Ask what a server has at a URL, without the file itself.

    A server that refuses HEAD is asked for the first byte: a presigned URL of S3 or Google Cloud Storage is signed for GET alone.

    Raises:
        InputError: the server refuses or cannot be reached.
    """
    request = _Request(url, dict(headers or {}), secret_query, timeout_s)
    return _tried(url, TRIES, request.described)


class _Break(Exception):  # noqa: N818  # no error yet: another try may do
    def __init__(self, said: str, wait_s: float | None = None) -> None:
        super().__init__(said)
        self.wait_s = wait_s


def _tried(url: str, tries: int, once: Callable[[], T]) -> T:
    for number in range(1, tries + 1):
        try:
            return once()
        except _Break as broken:
            said, wait_s = str(broken), broken.wait_s
        if number < tries:
            time.sleep(wait_s if wait_s is not None else 0.2 * 2 ** (number - 1))
    raise InputError(f"{url} could not be read in {tries} {'tries' if tries > 1 else 'try'}: {said}.")


@dataclasses.dataclass
class _Request:
    url: str
    headers: dict[str, str] = dataclasses.field(repr=False)
    secret_query: str = dataclasses.field(repr=False)
    timeout_s: float
    validator: str | None = None
    encoding: str = ""

    def fetch(self, download: Download) -> None:
        have = download.path.stat().st_size if self.validator else 0
        wanted = {"Range": f"bytes={have}-", "If-Range": self.validator} if have and self.validator else {}
        with self.sent("GET", wanted) as answer, _broken_off():
            validator = _validator(answer)
            resumed = answer.status == http.client.PARTIAL_CONTENT
            if resumed and (_range_start(answer) != have or not have or validator not in (None, self.validator)):
                # Other bytes than those that are missing here, or those of another version: neither may be put together with these.
                self.validator = None
                raise _Break("the server sent another part of the file than it was asked for")
            self.validator, self.encoding = validator or (self.validator if resumed else None), _encoding(answer)
            with download.path.open("ab" if resumed else "wb") as file:
                self._pour(answer, file, download)
                length = answer.headers.get("Content-Length")
                expected = (have if resumed else 0) + int(length) if length is not None else None
                if expected is not None and file.tell() != expected:
                    raise _Break(f"{file.tell():,} of {expected:,} bytes came")

    def described(self) -> Description:
        for method, wanted in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"}), ("GET", {})):
            try:
                with self.sent(method, wanted) as answer:
                    said = {name.lower(): value for name, value in answer.headers.items()}
                    if answer.status == http.client.PARTIAL_CONTENT:
                        said["content-length"] = said.get("content-range", "").rpartition("/")[2]
                    return Description(answer.url, _same_origin(self._full_url(), answer.url), said)
            except RefusedError as refused:
                if refused.status in (http.client.NOT_FOUND, http.client.GONE):
                    raise
                last = refused
        raise last

    def sent(self, method: str, more: Mapping[str, str] | None = None) -> Any:
        """Send a request; give the answer, if it is a good one."""
        # The scheme is http or https: `ascii_url` is given what sources.py let through, or what a redirect of urllib may lead to.
        request = urllib.request.Request(  # noqa: S310
            self._full_url(), headers={"User-Agent": "kedro-cloudtrain", "Accept-Encoding": "identity", **(more or {})}, method=method
        )
        for name, value in self.headers.items():
            # Not `add_header`: urllib passes these on only to the host that was asked.
            request.add_unredirected_header(name, value)
        try:
            with _broken_off():
                return _opener().open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refusal(error) from None
        except ValueError:
            # Its words would hold the header.
            raise InputError(f"{self.url} cannot be asked for: a header of its credentials, or its host, is not possible.") from None

    def _full_url(self) -> str:
        return ascii_url(with_query(self.url, self.secret_query))

    @staticmethod
    def _pour(answer: Any, file: Any, download: Download) -> None:
        while piece := answer.read1(_PIECE_BYTES):
            file.write(piece)
            download.bytes_read += len(piece)

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        if 300 <= error.code < 400:  # noqa: PLR2004  # redirects that urllib does not follow, in words that would hold where they lead
            return RefusedError(f"{self.url} redirects without end, or to what is no web address. Check dataset_url.", error.code)
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and self.validator:
            self.validator = None
            return _Break("the file became shorter while it was read")
        if error.code in _PASSING:
            return _Break(f"the server answered {error.code} {error.reason}", _retry_after_s(error))
        return RefusedError(f"{self.url} answered {error.code} {error.reason}. {_HINTS.get(error.code, 'Check dataset_url.')}", error.code)


class RefusedError(InputError):
    """A server's refusal, which no other try will change; `status` is its answer's."""

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
        raise ValueError from None  # Its words would hold the query.
    except (http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise _Break(f"{type(reason).__name__}: {reason}") from None


def _validator(answer: Any) -> str | None:
    etag = answer.headers.get("ETag")
    # A weak ETag does not promise the same bytes (RFC 9110, 13.1.5).
    said: str | None = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
    return said


def _encoding(answer: Any) -> str:
    return str(answer.headers.get("Content-Encoding", "")).strip().lower()


def _decode(url: str, path: Path, encoding: str) -> None:
    """Undo what a server does to a file although it was asked not to: object stores keep some files that way."""
    if encoding in _PLAIN:
        return
    if encoding not in ("gzip", "x-gzip"):
        raise InputError(f"{url} comes encoded as {encoding}, which is not read here. Ask for it plain, or put the file on the volume.")
    plain = path.with_name("plain")
    try:
        with gzip.open(path) as packed, plain.open("wb") as file:
            shutil.copyfileobj(packed, file, _PIECE_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{url} says that it is encoded as gzip and is not: {error}. Put the file on the volume.") from None
    plain.replace(path)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https; the headers stay with the server that was asked, as its query's secret does."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        new = super().redirect_request(req, fp, code, msg, headers, ascii_url(newurl))
        if new is not None:
            # Before Python 3.13, a redirected HEAD becomes a GET.
            new.method = req.get_method()
            if _same_origin(req.full_url, new.full_url):
                for name, value in req.unredirected_hdrs.items():
                    if name != "Host":
                        new.add_unredirected_header(name, value)
        return new


def _same_origin(url: str, other: str) -> bool:
    """Tell whether what one may see, the other may: one server, and never in clear what was asked for under TLS."""
    here, there = _origin(url), _origin(other)
    return here == there or (here[1] == there[1] and (here[0], here[2], there[0], there[2]) == ("http", 80, "https", 443))


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


def _range_start(answer: Any) -> int:
    said = str(answer.headers.get("Content-Range", ""))
    start = said.removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdigit() else -1


def _retry_after_s(error: urllib.error.HTTPError) -> float | None:
    said = error.headers.get("Retry-After") if error.headers is not None else None
    if said is None:
        return None
    if said.strip().isdigit():
        return min(float(said), _LONGEST_WAIT_S)
    try:
        wait_s = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(wait_s, 0.0), _LONGEST_WAIT_S)
