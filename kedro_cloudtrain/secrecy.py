"""What no file, message or log line may hold: secrets, found by their form or known because they were given as credentials."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from kedro_cloudtrain.worker.protocol import INDEX_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HIDDEN = "***"
# Query parameters that are, or belong to, a credential: those of presigned URLs of S3, Google Cloud Storage and CloudFront and of
# Azure's SAS, and the names that services have for their tokens: as words that `_` or `-` part, or capitals, or nothing.
_SECRET_PARAMETER = re.compile(
    r"x-amz-[\w-]*|x-goog-[\w-]*|aws_?access_?key_?id|google_?access_?id|signature|sig|hmac|policy|key-pair-id"
    r"|(?:[a-z_-]*[_-])?(?:token|key|secret|password|passwd|passphrase|pwd)"
    r"|(?:access|account|api|auth|bearer|client|consumer|id|job|private|refresh|secret|session|shared|subscription)(?:token|key|secret)"
    r"|auth|authorization|credentials?|jwt"
)
# In a query these are tickets of a session and passwords; elsewhere, as a parameter of a pipeline, they are ordinary names.
_SECRET_IN_QUERY = re.compile(
    r"(?:(?:user|db|login|admin|proxy|ftp|http|smtp|auth|api|my|svc|service)_?)?(?:pass|pw)|pat|(?:auth_?|service_?|proxy_?|login_?)?ticket"
    r"|otp|totp|psk|bearer|cookie|assertion|saml_?(?:response|request|art)|(?:j|php|asp)_?sess(?:ion)?_?id|hdn(?:ts|ea|tl|ea2)"
    r"|(?:access|auth|api|login)_?(?:code|pass|pin)|(?:url_|x_|request_|access_)signature"
)
# These are ordinary names too, so that the value decides.
_PERHAPS_SECRET_PARAMETER = re.compile(r"code|app_?id|session_?id|session|sid|sas|tkn|sign")
_RANDOM = re.compile(
    r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=.*(?:\d[A-Za-z]|[A-Za-z]\d))[\w+/=-]{16,}"
    r"|(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{16,}|(?=\d*[A-F])(?=[A-F]*\d)[0-9A-F]{16,}"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Azure's SAS signs these together with `sig`; alone, they are ordinary names.
_AZURE_SAS = {"se", "sp", "sv", "sr", "st", "spr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv", "ss", "srt"}
_IN_QUERY = re.compile(r"([?&#;])([\w.%-]+=[^&\s'\"<>#)\]},]+)")
# A `;` parts a query as a `&` does, where a name and a `=` follow; else it may be within a token.
_SEMICOLON = re.compile(r";(?=[\w.%-]+=)")
# A password with a `/` that is not escaped: what is before it looks like a host whose port is not a number.
_UNESCAPED = r"[^\s@/'\"?#:\[]*:(?!\d*(?:[/?#\s'\"]|$))"
_BEGINS_UNESCAPED = re.compile(_UNESCAPED)
_USER = re.compile(rf"\b([a-z][a-z0-9+.-]*://)([^/\s@'\"?#]+(?:@[^/\s@'\"?#]+)*|{_UNESCAPED}[^\s@'\"]*(?:@[^\s@'\"]*)*)@", re.IGNORECASE)
# Tokens that their makers have given a form by which they are found.
_TOKEN = re.compile(
    r"\b(?:rpa_[A-Za-z0-9]{16,}|rps_[A-Za-z0-9_]{8,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{16,}"
    r"|pypi-[\w-]{30,}|xox[abpr]-[\w-]{10,}|sk-[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+)"
)
# A long word of letters and digits that nothing separates: a key in the wrong place.
_KEY = re.compile(r"(?=[^\W\d_]*\d)(?=[\d_+/=-]*[A-Za-z])[\w+/=-]{28,}")
_URL = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<rest>(?:\S*@)?(?:[^\s;]|;(?=[\w.%-]+=))+)", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)\}")
# Values that YAML spells differently from Python.
_YAML_WORDS: dict[object, str] = {None: "null", True: "true", False: "false"}
_SHORTEST = 6
# A line of a secret with several lines, such as a private key: a shorter line may be a word.
_SHORTEST_LINE = 12
_carried: dict[str, str] = {}
_secret_texts: set[str] = set()


def redacted(text: str) -> str:
    """Return a text as it may be shown and written: without a URL's user and secret parameters, and without known secrets."""
    for secret in sorted(_secret_texts, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _USER.sub(lambda match: match[0] if _is_public_user(match[1], match[2]) else f"{match[1]}{HIDDEN}@", text)
    text = _IN_QUERY.sub(lambda match: match[1] + hidden_in(match[2]), text)
    return _TOKEN.sub(HIDDEN, text)


def shown(value: object) -> str:
    """Return a value that was refused as a message repeats it; what may be a key in the wrong place is not repeated."""
    text = redacted(_YAML_WORDS[value] if value is None or isinstance(value, bool) else repr(value))
    return f"{HIDDEN} ({len(value)} characters)" if isinstance(value, str) and _KEY.fullmatch(value) else text


def know(*secrets: str) -> None:
    """Remember secrets: `redacted` hides them from now on, also as Python, JSON and URLs write them, and line by line."""
    for secret in secrets:
        forms = {secret, repr(secret)[1:-1], repr(secret.encode(errors="replace"))[2:-1], json.dumps(secret)[1:-1], quote(secret, safe="")}
        lines = {line.strip() for line in secret.splitlines()[1:] + secret.splitlines()[:1]} if len(secret.splitlines()) > 1 else set()
        _secret_texts.update(form for form in forms if len(form) >= _SHORTEST)
        _secret_texts.update(line for line in lines if len(line) >= _SHORTEST_LINE)


def fault_of_key(key: str) -> str | None:
    """Return what is wrong with a key, a token or an id that goes into a header of a request, without its characters; None if nothing is.

    An HTTP client would show the whole of such a key in a stack trace.
    """
    if key.isascii() and key.isprintable() and " " not in key:
        return None
    lines = len(key.splitlines()) > 1
    kind = "a line break" if lines else "a space or a tab" if any(map(str.isspace, key)) else "a character that is not printable ASCII"
    return f"has {kind} within it, which no key has: copy it again"


def sealed(line: str) -> str:
    """Return a requirement, or an option of an installer, with a variable in place of each secret of its URL: `https://${NAME}@host/…`.

    Installers put the variables' values in. A variable is named for the URL without its secrets, so that the same line with another token
    is the same one.
    """
    return _URL.sub(_sealed_url, line)


def variables_of(lines: Iterable[str]) -> dict[str, str]:
    """Return the variables that sealed lines name, with their values; those of this process's environment are taken from there."""
    names = dict.fromkeys(name for line in lines for name in _REFERENCE.findall(line))
    values = {name: value for name in names if (value := _carried.get(name, os.environ.get(name))) is not None}
    know(*values.values())
    return values


def sealed_with(url: str, name: str, credentials: Mapping[str, object]) -> str:
    """Return a sealed URL with the user of some credentials: `username` and `password`, or a `token` alone.

    Args:
        url: the URL, without a user.
        name: the credentials' name: two nodes may ask the same index as different users.
        credentials: the credentials.
    """
    given = credentials.get("username"), credentials.get("password", credentials.get("token"))
    # RunPod puts its own secrets in for `{{ RUNPOD_SECRET_… }}`.
    user = ":".join(str(part) if "{{" in str(part) else quote(str(part), safe="") for part in given if part is not None)
    know(*(str(part) for part in given[1:]))
    variable = _variable(f"{name} {url}")
    _carry(variable, user)
    return url.replace("://", f"://${{{variable}}}@", 1)


def split_secret(url: str) -> tuple[str, str]:
    """Split a URL into itself without its secrets, and the secret part of its query; an ordinary query stays as it is."""
    parts = urlsplit(url)
    pieces, beyond = parts.query.split("&") if parts.query else [], parts.fragment.split("&")
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    signed = "sig" in names
    secret, kept_pieces = [], []
    for piece in pieces:
        public_part, secret_part = _parted(piece)
        if signed and piece.partition("=")[0].lower() in _AZURE_SAS:
            public_part, secret_part = None, piece
        secret += [] if secret_part is None else [secret_part]
        kept_pieces += [] if public_part is None else [public_part]
    # No server is sent what is behind the `#`, so that a secret there is of no use and is left out.
    public = [piece for piece in beyond if "=" not in piece or _parted(piece)[1] is None]
    if not secret and public == beyond:
        return url, ""
    return urlunsplit(parts._replace(query="&".join(kept_pieces), fragment="&".join(public))), "&".join(secret)


def names_a_secret(name: str) -> bool:
    """Return whether a parameter of this name is a credential, or belongs to one."""
    return _SECRET_PARAMETER.fullmatch(_in_words(name)) is not None


def is_secret(piece: str) -> bool:
    """Return whether a piece of a query, `name=value`, is a credential: by its name, or by its name and a value like a key's."""
    name, _, value = piece.partition("=")
    words = _in_words(unquote(name))
    if names_a_secret(unquote(name)) or _SECRET_IN_QUERY.fullmatch(words.replace("-", "_")) is not None:
        return True
    return _PERHAPS_SECRET_PARAMETER.fullmatch(words) is not None and _RANDOM.fullmatch(unquote(value)) is not None


def hidden_in(piece: str) -> str:
    """Return a piece of a query, what is between two `&`, with its secret hidden: all of it, or what follows a `;`."""
    public, secret = _parted(piece)
    if secret is None:
        return piece
    return f"{'' if public is None else f'{public};'}{secret.partition('=')[0]}={HIDDEN}"


def _parted(piece: str) -> tuple[str | None, str | None]:
    """Part what is between two `&` of a query at the `;` from which on it is secret; None for a part that it does not have."""
    pieces = _SEMICOLON.split(piece)
    at = next((number for number, each in enumerate(pieces) if is_secret(each)), None)
    if at is None:
        return piece, None
    return ";".join(pieces[:at]) if at else None, ";".join(pieces[at:])


def _in_words(name: str) -> str:
    return _HUMP.sub("_", name).lower()


def _sealed_url(match: re.Match[str]) -> str:
    scheme, rest = match["scheme"], match["rest"]
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if not at and "@" in path and _BEGINS_UNESCAPED.match(rest):
        user, at, place = rest.rpartition("@")
        host, slash, path = place.partition("/")
    try:
        public, query = split_secret(f"{scheme}{host}{slash}{path}")
    except ValueError:
        public, query = f"{scheme}{host}{slash}{path}", ""
    name = _variable(_TOKEN.sub(HIDDEN, public))
    for number, token in enumerate(dict.fromkeys(_TOKEN.findall(public))):
        # Such as one in the place of a branch's name.
        _carry(f"{name}_{number}", token)
        public = public.replace(token, f"${{{name}_{number}}}")
    if query:
        _carry(f"{name}_QUERY", query)
        know(*(piece.partition("=")[2] for piece in query.split("&")))
        parts = urlsplit(public)
        public = urlunsplit(parts._replace(query="&".join(part for part in (parts.query, f"${{{name}_QUERY}}") if part)))
    if not at or _is_public_user(scheme, user):
        return public if not at else public.replace("://", f"://{user}@", 1)
    _carry(name, user)
    know(*(part for part in (user.rpartition(":")[2], unquote(user.rpartition(":")[2]))))
    return public.replace("://", f"://${{{name}}}@", 1)


def _variable(what: str) -> str:
    return f"{INDEX_VARIABLES}{hashlib.sha256(what.encode()).hexdigest()[:10].upper()}"


def _carry(name: str, value: str) -> None:
    _carried[name] = value
    know(value)


def _is_public_user(scheme: str, user: str) -> bool:
    """Return whether the part of a URL before its host is not a secret: a variable's name, or the user of a server by ssh."""
    return (
        user == HIDDEN
        or _REFERENCE.search(user) is not None
        or ("ssh" in scheme.lower() and ":" not in user and _TOKEN.search(user) is None and _RANDOM.fullmatch(user) is None)
    )


class _Redacting(logging.Filter):
    """Lets no line of the log show a secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        public = redacted(message)
        if public != message:
            record.msg, record.args = public, ()
        return True


_logger = logging.getLogger("kedro.cloudtrain")
if not any(type(each).__name__ == _Redacting.__name__ for each in _logger.filters):
    _logger.addFilter(_Redacting())
