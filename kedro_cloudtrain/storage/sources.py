"""Where a dataset is: a URL, a key on the volume, or a file that is sent along."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.urls import _CONTROL, _apart, _check_url, _shown
from kedro_cloudtrain.worker.locations import FORMATS, Location
from kedro_cloudtrain.worker.urls import extension, with_query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BOTH_MESSAGE = "Cannot provide both dataset_key and dataset_url. Only one dataset source is allowed."
NEITHER_MESSAGE = "Must provide either dataset_key or dataset_url. Exactly one dataset source is required."

# Under this name a machine finds what a URL needs and no file may hold.
SECRETS_VARIABLE = "CLOUDTRAIN_URL_SECRETS"


@dataclasses.dataclass(frozen=True)
class UrlSource:
    """A dataset on a web server, which the machine reads itself.

    Attributes:
        url: http or https, without what is secret of its query.
        file_format: csv, tsv, parquet, xlsx, xls or jsonl.
        load_args: passed to the pandas reader.
        headers: sent with the request; a bearer token, say.
        secret_query: the part of the query that carries a credential.
    """

    url: str
    file_format: str
    load_args: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False, hash=False)
    secret_query: str = dataclasses.field(default="", repr=False)

    @property
    def redacted(self) -> str:
        """The URL as it may be shown."""
        return with_query(self.url, "***") if self.secret_query else self.url

    @property
    def location(self) -> Location:
        """What reads it from here."""
        return Location(self.url, self.file_format, self.load_args, self.headers, self.secret_query)


@dataclasses.dataclass(frozen=True)
class VolumeSource:
    """A dataset on the volume.

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
        """The key as it may be shown."""
        return self.key


@dataclasses.dataclass(frozen=True)
class SentSource:
    """A table that exists nowhere but here, sent along with the job.

    Attributes:
        file: its path in the job folder.
        file_format: what it was written as.
    """

    file: str
    file_format: str = "parquet"


def make_source(
    dataset_url: object = None,
    dataset_key: object = None,
    *,
    file_format: str | None = None,
    load_args: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> UrlSource | VolumeSource:
    """Check what a user gives as a dataset's place: exactly one of a URL and a key; blank means not given.

    Raises:
        SourceError: with one of two fixed messages where both or neither are given; with the reason where the one that is given is
            no such thing, or its format cannot be told.
    """
    url, key = _given("dataset_url", dataset_url), _given("dataset_key", dataset_key)
    if url and key:
        raise SourceError(BOTH_MESSAGE)
    if not url and not key:
        raise SourceError(NEITHER_MESSAGE)
    args = _mapping("load_args", load_args)
    if key:
        return VolumeSource(_check_key(key), _format(key, file_format), args)
    _check_url(url)
    public, secret = _apart(url)
    return UrlSource(public, _format(public, file_format), args, _check_headers(headers), secret)


def key_parts(key: str, volume: str) -> list[str]:
    """Give the parts of a key.

    Raises:
        SourceError: it is none on the volume.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise SourceError(f"{key!r} is no place on the volume {volume}. A key is a path below it, like datasets/penguins.csv.")
    return parts


def secrets_environment(sources: Iterable[UrlSource]) -> dict[str, str]:
    """Give the environment variable that carries the secrets of some sources to a machine; none where there are none.

    Raises:
        SourceError: two sources differ in their secrets alone, so that a machine could not tell one from the other.
    """
    secrets: dict[str, Any] = {}
    for source in sources:
        said = {"query": source.secret_query, "headers": dict(source.headers)}
        if secrets.setdefault(source.url, said) != said:
            raise SourceError(
                f"{source.redacted} is read twice, with other credentials each time, and a script tells them apart by the URL without "
                "them. Let something else in the URLs differ: a path, or an ordinary parameter."
            )
    secrets = {url: said for url, said in secrets.items() if said["query"] or said["headers"]}
    return {SECRETS_VARIABLE: json.dumps(secrets)} if secrets else {}


def _given(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SourceError(f"{name} is {value!r} ({type(value).__name__}): text is wanted there. Put it in quotes.")
    return value.strip()


def _mapping(name: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not hasattr(value, "keys") or not all(isinstance(key, str) for key in value.keys()):  # noqa: SIM118  # a mapping has keys
        raise SourceError(f"{name} is no mapping of names and values ({type(value).__name__}).")
    return dict(value)  # type: ignore[call-overload, no-any-return]


def _check_headers(headers: object) -> dict[str, str]:
    """Refuse what cannot be a header, without its value in the message."""
    said = _mapping("headers", headers)
    for name, value in said.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise SourceError(f"{name!r} is no possible name of a header: letters, digits and hyphens are.")
        if not isinstance(value, str) or not re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value.strip()):
            raise SourceError(f"The value of the header {name} is no text of one line: check the credentials.")
    # A token that was read from a file has the file's line end.
    return {name: value.strip() for name, value in said.items()}


def _format(place: str, file_format: str | None) -> str:
    if file_format is not None and not isinstance(file_format, str):
        raise SourceError(f"file_format is {file_format!r}: give it as text, csv say.")
    said = (file_format or extension(place)).lower().lstrip(".")
    if said not in FORMATS:
        known = ", ".join(dict.fromkeys(FORMATS.values()))
        what = f"file_format {file_format!r} of {place}" if file_format else f"The extension of {place}"
        raise SourceError(f"{what} is not a known format. Give file_format as one of {known}.")
    return FORMATS[said]


def _check_key(key: str) -> str:
    def refuse(reason: str) -> SourceError:
        return SourceError(f"dataset_key {_shown(key)!r} {reason}. A key is a path below the volume, like datasets/penguins.csv.")

    if "://" in key:
        raise refuse("is a URL: give it as dataset_url")
    if key.startswith("/") or re.match(r"^[A-Za-z]:", key):
        raise refuse("is absolute")
    if "\\" in key:
        raise refuse("has a backslash: parts are separated by /")
    if _CONTROL.search(key):
        raise refuse("has a control character")
    parts = key.split("/")
    if ".." in parts:
        raise refuse("leaves the volume by ..")
    if "" in parts or "." in parts:
        raise refuse("has an empty part, or one that is a single dot")
    return key
