"""The place of a table, and how to read it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .urls import READ_TIMEOUT_S, extension

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMATS = {
    "csv": "csv",
    "tsv": "tsv",
    "parquet": "parquet",
    "pq": "parquet",
    "xlsx": "xlsx",
    "xls": "xls",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
}


@dataclasses.dataclass(frozen=True)
class Location:
    """The place of a table, and how to read it.

    Attributes:
        place: a path, or an http(s) URL without secrets.
        file_format: one of `FORMATS`; None infers it from the extension.
        load_args: passed to the pandas reader.
        headers: sent to the URL's own host.
        secret_query: added to the URL's query, for its own host.
        timeout_s: the longest time for connecting, and for each read, in seconds.
        fetch: for a file that is neither on disk nor behind a URL: returns a range of it, from its start and length in bytes.
        size: the size of such a file, in bytes.
    """

    place: str
    file_format: str | None = None
    load_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    secret_query: str = dataclasses.field(default="", repr=False)
    timeout_s: float = READ_TIMEOUT_S
    fetch: Callable[[int, int], bytes] | None = dataclasses.field(default=None, repr=False)
    size: int = 0

    @property
    def is_url(self) -> bool:
        """Whether the place is a URL."""
        return self.place.lower().startswith(("http://", "https://"))

    @property
    def in_pieces(self) -> bool:
        """Whether the table is not on disk, and is worth reading in pieces."""
        return self.is_url or self.fetch is not None

    @property
    def format(self) -> str:
        """The format's name.

        Raises:
            InputError: it is not known.
        """
        name = (self.file_format or extension(self.place)).lower().lstrip(".")
        if name not in FORMATS:
            raise InputError(
                f"{self.place} has no known format{f' ({name})' if name else ''}. Give file_format as one of "
                f"{', '.join(dict.fromkeys(FORMATS.values()))}."
            )
        return FORMATS[name]
