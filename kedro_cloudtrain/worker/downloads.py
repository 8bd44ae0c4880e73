"""A file from a web server, streamed to disk in pieces: length checked, resumed after a break, gone when it has been used."""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import http.client
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import InputError
from .urls import ascii_url, with_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TIMEOUT_S = 300.0
TRIES = 3
_PIECE_BYTES = 1 << 20
_LONGEST_WAIT_S = 60.0
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
    timeout_s: float = TIMEOUT_S,
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
        for number in range(1, tries + 1):
            try:
                request.fetch(download)
                break
            except _Break as broken:
                if number == tries:
                    raise InputError(f"{url} could not be read in {tries} tries: {broken}.") from None
                time.sleep(broken.wait_s if broken.wait_s is not None else 0.2 * 2 ** (number - 1))
        yield download


class _Break(Exception):  # noqa: N818  # no error yet: another try may do
    def __init__(self, said: str, wait_s: float | None = None) -> None:
        super().__init__(said)
        self.wait_s = wait_s


@dataclasses.dataclass
class _Request:
    url: str
    headers: dict[str, str] = dataclasses.field(repr=False)
    secret_query: str = dataclasses.field(repr=False)
    timeout_s: float
    validator: str | None = None

    def fetch(self, download: Download) -> None:
        have = download.path.stat().st_size if self.validator else 0
        try:
            with self._open(have) as answer:
                resumed = answer.status == http.client.PARTIAL_CONTENT and _range_start(answer) == have
                etag = answer.headers.get("ETag")
                # A weak ETag does not promise the same bytes (RFC 9110, 13.1.5).
                self.validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
                with download.path.open("ab" if resumed else "wb") as file:
                    self._pour(answer, file, download)
                    length = answer.headers.get("Content-Length")
                    expected = (have if resumed else 0) + int(length) if length is not None else None
                    if expected is not None and file.tell() != expected:
                        raise _Break(f"{file.tell():,} of {expected:,} bytes came")
        except urllib.error.HTTPError as error:
            error.close()
            self._refused(error)
        except (http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise _Break(f"{type(reason).__name__}: {reason}") from None

    def head(self) -> Mapping[str, str]:
        try:
            with self._open(0, "HEAD") as answer:
                return dict(answer.headers.items())
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (http.client.METHOD_NOT_ALLOWED, http.client.NOT_IMPLEMENTED):
                return {}  # A server that has no HEAD has said nothing against the file.
            self._refused(error)
            raise
        except (http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise _Break(f"{type(reason).__name__}: {reason}") from None

    def _open(self, have: int, method: str = "GET") -> Any:
        url = ascii_url(with_query(self.url, self.secret_query))
        # The scheme is http or https: `ascii_url` is given what sources.py let through, or what a redirect of urllib may lead to.
        request = urllib.request.Request(  # noqa: S310
            url, headers={"User-Agent": "kedro-cloudtrain", "Accept-Encoding": "identity"}, method=method
        )
        for name, value in self.headers.items():
            # Not `add_header`: urllib passes these on only to the host that was asked.
            request.add_unredirected_header(name, value)
        if have and self.validator:
            request.add_header("Range", f"bytes={have}-")
            request.add_header("If-Range", self.validator)
        return _opener().open(request, timeout=self.timeout_s)

    @staticmethod
    def _pour(answer: Any, file: Any, download: Download) -> None:
        while piece := answer.read1(_PIECE_BYTES):
            file.write(piece)
            download.bytes_read += len(piece)

    def _refused(self, error: urllib.error.HTTPError) -> None:
        said = f"{self.url} answered {error.code} {error.reason}"
        if error.code in _PASSING:
            raise _Break(f"the server answered {error.code} {error.reason}", _retry_after_s(error)) from None
        raise InputError(f"{said}. {_HINTS.get(error.code, 'Check dataset_url.')}") from None


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https; the query's secret stays with the host that was asked, as the headers do."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        new = super().redirect_request(req, fp, code, msg, headers, ascii_url(newurl))
        if new is not None and urlsplit(new.full_url).netloc == urlsplit(req.full_url).netloc:
            for name, value in req.unredirected_hdrs.items():
                new.add_unredirected_header(name, value)
        return new


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


def head(url: str, *, headers: Mapping[str, str] | None = None, secret_query: str = "", timeout_s: float = TIMEOUT_S) -> Mapping[str, str]:
    """Give the headers by which a server describes a file, without the file.

    Raises:
        InputError: the server refuses or cannot be reached.
    """
    request = _Request(url, dict(headers or {}), secret_query, timeout_s)
    try:
        return request.head()
    except _Break as broken:
        raise InputError(f"{url} cannot be read: {broken}.") from None
