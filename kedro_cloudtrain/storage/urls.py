"""Which URLs can be read, and which part of one is secret."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.secrecy import hidden_in, is_secret
from kedro_cloudtrain.worker.urls import ascii_url

# Characters that break a line or reverse its direction count: with them, a message would show another name than the one that is read.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def check_url(url: str) -> None:
    """Check that a URL is one that a machine can read.

    Raises:
        SourceError: with the reason, and without a secret of the URL.
    """
    reason = _reason_against_text(url) or _reason_against_host(url)
    if reason:
        raise SourceError(f"dataset_url {displayed(url)!r} {reason}.")


def displayed(url: str) -> str:
    """Return a URL that was refused as it may be shown, without what may be a password in it."""
    return re.sub(r"(?s)(?<=://).*@|^[^/@]*:[^/@]*@", "***@", _redact_query(url))


def _reason_against_text(url: str) -> str | None:
    if CONTROL.search(url) or any(character.isspace() for character in url):
        return "has a space or a control character: write it as %20 and the like"
    if "\\" in url:
        return "has a backslash: separate the parts by /"
    if any(map(is_secret, url.partition("?")[0].partition("#")[0].split(";")[1:])):
        return "holds a secret in its path: give the dataset `credentials` with `headers`"
    scheme = url.partition(":")[0].lower() if ":" in url else ""
    if scheme in ("http", "https"):
        return None
    subject = f"has the scheme {scheme!r}" if re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) else "has no scheme"
    return f"{subject}, and only http and https are read. For a file on the volume, set dataset_key"


def _reason_against_host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        # A password may hold a slash, and what follows the slash does not belong to the host any more.
        if "@" in parts.netloc or ("@" in url and ":" in parts.netloc and not _has_valid_port(parts)):
            return "holds a user name or a password: remove them, and give the dataset `credentials` with `headers`"
        host = parts.hostname
        if not host:
            return "names no host"
        if not _has_valid_port(parts):
            return "is not a valid URL, or has port 0: give a port from 1 to 65535, or none"
        if ":" in host:
            ipaddress.IPv6Address(host.partition("%")[0])
        else:
            host.encode("idna")
        ascii_url(url)
    except UnicodeError:
        return "has a host whose parts are not all between 1 and 63 characters long"
    except ValueError as error:
        return "is not a valid URL" + ("" if "@" in url else f": {error}")
    return None


def _has_valid_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _redact_query(text: str) -> str:
    """Replace the secrets of a query in a text that need not be a URL."""
    first = re.search(r"[?#;]", text)
    if first is None:
        return text
    return text[: first.end()] + "&".join(map(_redact_piece, text[first.end() :].split("&")))


def _redact_piece(piece: str) -> str:
    if is_secret(piece):  # With what follows a `#`, which a token may hold.
        return f"{piece.partition('=')[0]}=***"
    return re.sub(r"[^#?]+", lambda match: hidden_in(match[0]), piece)
