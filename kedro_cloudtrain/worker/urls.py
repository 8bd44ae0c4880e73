"""URLs as the wire wants them, and as a log may show them."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit, urlunsplit

# How long connecting, and each read, may take.
READ_TIMEOUT_S = 300.0
# Endings of packed files that pandas reads without another package.
PACKED = (".gz", ".bz2", ".xz")
# What may stand in a URL as it is (RFC 3986, reserved and unreserved), and an escape that is one already.
_KEPT = "%:/?#[]@!$&'()*+,;=-._~"


def ascii_url(url: str) -> str:
    """Write a URL in ASCII: the host by IDNA, the rest percent-encoded as UTF-8; what is escaped already stays as it is.

    A fragment is the reader's own business and is left out, as every HTTP client leaves it out.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port is not None else ""
    return urlunsplit((parts.scheme.lower(), host + port, _encode(parts.path) or "/", _encode(parts.query), ""))


def with_query(url: str, query: str) -> str:
    """Add a query to a URL's own."""
    if not query:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=f"{parts.query}&{query}" if parts.query else query))


def extension(location: str) -> str:
    """Give the ending of a path or URL in lower case, without its dot and whatever stands behind `?` or `#`.

    That of a packed file is the one before: `csv` of `a.csv.gz`.
    """
    path = urlsplit(location).path if "://" in location else location
    name = path.rsplit("/", 1)[-1].lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return name.rsplit(".", 1)[-1] if "." in name else ""


def _encode(text: str) -> str:
    # A lone percent sign is no escape, and is one itself.
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text), safe=_KEPT)
