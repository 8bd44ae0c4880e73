"""URLs in the form that HTTP requires."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit, urlunsplit

# The longest time for connecting, and for each read.
READ_TIMEOUT_S = 300.0
# Extensions of packed files that pandas reads without another package.
PACKED = (".gz", ".bz2", ".xz", ".zip")
# The characters that a URL may hold unescaped (RFC 3986, reserved and unreserved), and the percent sign of an escape.
_KEPT = "%:/?#[]@!$&'()*+,;=-._~"


def ascii_url(url: str) -> str:
    """Return a URL in ASCII: the host by IDNA, the rest percent-encoded as UTF-8; escapes stay as they are.

    The fragment is left out, since HTTP clients do not send it.
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
    """Return the extension of a path or URL in lower case, without its dot; a URL's query and fragment do not count.

    For a packed file it is the extension before: `csv` for `a.csv.gz`.
    """
    path = urlsplit(location).path if "://" in location else location
    name = path.rsplit("/", 1)[-1].lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return name.rsplit(".", 1)[-1] if "." in name else ""


def _encode(text: str) -> str:
    # A percent sign that begins no escape is itself escaped.
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text), safe=_KEPT)
