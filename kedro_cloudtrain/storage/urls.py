"""What may stand in a URL, and what of it is secret."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.worker.urls import ascii_url

# Those that break a line or turn its direction, too: a message or a plan would show another name than the one that is read.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Query parameters that are, or belong to, a credential: the presigned URLs of S3, Google Cloud Storage and CloudFront, Azure's SAS,
# and what services call their tokens.
_SECRET_PARAMETER = re.compile(
    r"^(x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|sig|token|[a-z_-]*[_-]token|key|api[_-]?key|[a-z_-]*[_-]key"
    r"|key-pair-id|policy|secret|client[_-]secret|password|passwd|pwd|auth|authorization|credential|credentials|jwt|access[_-]?key)$",
    re.IGNORECASE,
)
# Azure's SAS signs these together with `sig`; alone, they are ordinary names.
_AZURE_SAS = {"se", "sp", "sv", "sr", "st", "spr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv", "ss", "srt"}


def _check_url(url: str) -> None:
    reason = _reason_against_text(url) or _reason_against_host(url)
    if reason:
        raise SourceError(f"dataset_url {_shown(url)!r} {reason}.")


def _reason_against_text(url: str) -> str | None:
    if _CONTROL.search(url) or any(character.isspace() for character in url):
        return "has a space or a control character: write them as %20 and the like"
    if "\\" in url:
        return "has a backslash: parts are separated by /"
    scheme = url.partition(":")[0].lower() if ":" in url else ""
    if scheme in ("http", "https"):
        return None
    named = f"is of the scheme {scheme!r}" if re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) else "has no scheme"
    return f"{named}: http and https are read. A file on the volume is given by dataset_key"


def _reason_against_host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        # A password may hold a slash, and what stands behind that is no part of the host any more.
        if "@" in parts.netloc or ("@" in url and ":" in parts.netloc and not _possible_port(parts)):
            return "holds a user name or a password: take them out, and give the dataset `credentials` with `headers`"
        host = parts.hostname
        if not host:
            return "names no host"
        if not _possible_port(parts):
            return "is no URL, or has port 0: give the server's port, 1 to 65535, or none"
        if ":" in host:
            ipaddress.IPv6Address(host.partition("%")[0])
        else:
            host.encode("idna")
        ascii_url(url)
    except UnicodeError:
        return "has a host whose parts are not all between 1 and 63 characters long"
    except ValueError as error:
        return "is no URL" + ("" if "@" in url else f": {error}")
    return None


def _possible_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _shown(url: str) -> str:
    """Write a URL that is refused, without what may be a password in it."""
    return re.sub(r"(?s)(?<=://).*@|^[^/@]*:[^/@]*@", "***@", _apart_text(url))


def _apart_text(url: str) -> str:
    """Take secrets out of a text that need not be a URL."""
    head, mark, query = url.partition("?")
    if not mark:
        return url
    return head + mark + "&".join(f"{part.partition('=')[0]}=***" if _is_secret(part) else part for part in query.split("&"))


def _apart(url: str) -> tuple[str, str]:
    """Take what is secret out of a URL's query; an ordinary query stays as it is."""
    parts = urlsplit(url)
    pieces = parts.query.split("&") if parts.query else []
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    signed = "sig" in names
    secret = [piece for piece in pieces if _is_secret(piece) or (signed and piece.partition("=")[0].lower() in _AZURE_SAS)]
    if not secret:
        return url, ""
    kept = "&".join(piece for piece in pieces if piece not in secret)
    return urlunsplit(parts._replace(query=kept)), "&".join(secret)


def names_a_secret(name: str) -> bool:
    """Tell whether a parameter of this name is, or belongs to, a credential."""
    return _SECRET_PARAMETER.match(name) is not None


def _is_secret(piece: str) -> bool:
    return names_a_secret(piece.partition("=")[0])
