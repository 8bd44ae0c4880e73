"""Where a table is: at a URL, under a key on the volume, or in a file that is sent along with the job."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any, Protocol

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.secrecy import know, split_secret
from kedro_cloudtrain.storage.urls import CONTROL, check_url, displayed
from kedro_cloudtrain.wording import did_you_mean
from kedro_cloudtrain.worker.locations import FORMATS, Location
from kedro_cloudtrain.worker.protocol import URL_SECRETS_VARIABLE
from kedro_cloudtrain.worker.row_selection import ROWS
from kedro_cloudtrain.worker.urls import extension, with_query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BOTH_MESSAGE = "Cannot provide both dataset_key and dataset_url. Only one dataset source is allowed."
NEITHER_MESSAGE = "Must provide either dataset_key or dataset_url. Exactly one dataset source is required."


@dataclasses.dataclass(frozen=True)
class UrlSource:
    """A table on a web server, which the machine reads itself.

    Attributes:
        url: http or https, without the secret part of its query.
        file_format: csv, tsv, parquet, xlsx, xls or jsonl.
        load_args: passed to the pandas reader.
        headers: sent with the request, for example a bearer token.
        secret_query: the part of the query that carries a credential.
    """

    url: str
    file_format: str
    load_args: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False, hash=False)
    secret_query: str = dataclasses.field(default="", repr=False)

    @property
    def redacted(self) -> str:
        """The URL as it may be shown, without its secrets."""
        return with_query(self.url, "***") if self.secret_query else self.url

    @property
    def location(self) -> Location:
        """The location by which this process reads the table."""
        return Location(self.url, self.file_format, self.load_args, self.headers, self.secret_query)


@dataclasses.dataclass(frozen=True)
class VolumeSource:
    """A table on the volume.

    Attributes:
        key: its path below the volume's root, with `/` between its parts.
        file_format: csv, tsv, parquet, xlsx, xls or jsonl.
        load_args: passed to the pandas reader.
    """

    key: str
    file_format: str
    load_args: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def redacted(self) -> str:
        """The key, which holds no secret."""
        return self.key


class Versions(Protocol):
    """The versions of a table on the volume, as the run that reads and saves it sees them."""

    @property
    def key_to_load(self) -> str | None:
        """The key of the version to load; None before it was first needed."""
        ...

    @property
    def save_version(self) -> str:
        """The version that the run saves."""
        ...

    def load_key(self) -> str:
        """Return the key of the version to load: the one that was named, or the latest, which stays the same until one is saved.

        Raises:
            SourceError: there is no such version, or none at all.
        """
        ...

    def latest_key(self) -> str:
        """Return the key of what a load that begins now would find.

        Raises:
            SourceError: there is no such version, or none at all.
        """
        ...

    def saved(self, key: str) -> None:
        """Record that a machine has saved a version under a key: it is what the run loads from now on."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class VersionedSource(VolumeSource):
    """A table on the volume of which each save makes a version, in Kedro's layout: `KEY/VERSION/NAME`.

    Its key is the folder that holds the versions; what a machine reads is one of them.

    Attributes:
        versions: those that there are.
    """

    versions: Versions = dataclasses.field(repr=False, compare=False)

    @property
    def redacted(self) -> str:
        """The key of the version to load, as soon as it is known."""
        return self.versions.key_to_load or self.key

    def at(self, key: str) -> VolumeSource:
        """Return one of the versions as a table of its own."""
        return VolumeSource(key, self.file_format, self.load_args)


def resolved(source: UrlSource | VolumeSource) -> UrlSource | VolumeSource:
    """Return a source as a machine reads it: of one with versions, the version to load.

    Raises:
        SourceError: there is no such version, or none at all.
    """
    return source.at(source.versions.load_key()) if isinstance(source, VersionedSource) else source


@dataclasses.dataclass(frozen=True)
class SentSource:
    """A table that exists in this process alone, and is sent along with the job.

    Attributes:
        file: its path in the job folder.
        file_format: the format in which it was written.
    """

    file: str
    file_format: str = "parquet"


# `Bearer` and the like are not secrets.
_SHORTEST_TOKEN = 12


def make_source(
    dataset_url: object = None,
    dataset_key: object = None,
    *,
    file_format: str | None = None,
    load_args: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> UrlSource | VolumeSource:
    """Make a source of what a user gives: exactly one of a URL and a key; a blank one counts as not given.

    Raises:
        SourceError: with one of two fixed messages if both or neither are given; with the reason if the one that is given is not valid,
            or its format cannot be told.
    """
    url, key = _text("dataset_url", dataset_url), _text("dataset_key", dataset_key)
    if url and key:
        raise SourceError(BOTH_MESSAGE)
    if not url and not key:
        raise SourceError(NEITHER_MESSAGE)
    args = _mapping("load_args", load_args)
    if ROWS in args:
        raise SourceError(f"load_args has {ROWS!r}, which no reader takes: `partitioned` in parameters.yml trains on some rows alone.")
    if key:
        return VolumeSource(_check_key(key), _format(key, file_format), args)
    check_url(url)
    public, secret = split_secret(url)
    return UrlSource(public, _format(public, file_format), args, _check_headers(headers), secret)


def key_parts(key: str, where: str) -> list[str]:
    """Split a key into its parts.

    Args:
        key: the key.
        where: the store that it is a key of, as a message has it: `on the volume data/volume`.

    Raises:
        SourceError: the key is not valid.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise SourceError(f"{key!r} is not a valid key {where}. A key is a path below it, like datasets/penguins.csv.")
    return parts


def secrets_environment(sources: Iterable[UrlSource]) -> dict[str, str]:
    """Return the environment variable that carries the secrets of some sources to a machine; an empty dict if they have none.

    Raises:
        SourceError: two sources differ in their secrets alone, so that a machine could not tell them apart.
    """
    secrets: dict[str, Any] = {}
    for source in sources:
        secret = {"query": source.secret_query, "headers": dict(source.headers)}
        if secrets.setdefault(source.url, secret) != secret:
            raise SourceError(
                f"{source.redacted} is read twice with different credentials. A script has its URLs without credentials, and cannot tell "
                "these apart: let them differ in something else, such as the path or an ordinary parameter."
            )
    secrets = {url: secret for url, secret in secrets.items() if secret["query"] or secret["headers"]}
    return {URL_SECRETS_VARIABLE: json.dumps(secrets)} if secrets else {}


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SourceError(f"{name} is {value!r} ({type(value).__name__}), not text. Put it in quotes.")
    return value.strip()


def _mapping(name: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not hasattr(value, "keys") or not all(isinstance(key, str) for key in value.keys()):  # noqa: SIM118  # a mapping has keys
        raise SourceError(f"{name} is not a mapping of names to values ({type(value).__name__}).")
    return dict(value)  # type: ignore[call-overload, no-any-return]


def _check_headers(value: object) -> dict[str, str]:
    """Check headers, without their values in a message."""
    headers = _mapping("headers", value)
    for name, content in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise SourceError(f"{name!r} is not a valid header name: use letters, digits and hyphens.")
        if not isinstance(content, str) or not re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", content.strip()):
            raise SourceError(f"The value of the header {name} is not one line of text: check the credentials.")
        # A word of it is a token: `Bearer …`.
        know(*(word for word in (content.strip(), *content.split()) if len(word) >= _SHORTEST_TOKEN))
    # A token that was read from a file ends with the file's line end.
    return {name: content.strip() for name, content in headers.items()}


def _format(place: str, file_format: str | None) -> str:
    if file_format is not None and not isinstance(file_format, str):
        raise SourceError(f"file_format is {file_format!r}: write it as text, for example csv.")
    name = (file_format or extension(place)).lower().lstrip(".")
    if name not in FORMATS:
        subject = f"file_format {file_format!r} of {place}" if file_format else f"The extension of {place}"
        formats = ", ".join(dict.fromkeys(FORMATS.values()))
        raise SourceError(f"{subject} is not a known format.{did_you_mean(name, FORMATS)} Set file_format to one of {formats}.")
    return FORMATS[name]


def _check_key(key: str) -> str:
    def refuse(reason: str) -> SourceError:
        return SourceError(f"dataset_key {displayed(key)!r} {reason}. A key is a path below the volume, like datasets/penguins.csv.")

    if "://" in key:
        raise refuse("is a URL: set dataset_url instead")
    if key.startswith("/") or re.match(r"^[A-Za-z]:", key):
        raise refuse("is absolute")
    if "\\" in key:
        raise refuse("has a backslash: separate the parts by /")
    if CONTROL.search(key):
        raise refuse("has a control character")
    parts = key.split("/")
    if ".." in parts:
        raise refuse("leads out of the volume by ..")
    if "" in parts or "." in parts:
        raise refuse("has a part that is empty or a single dot")
    return key
