"""A table that is a folder of parts, as Spark writes it: what it consists of, and what tells whether it is the same as before."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.identity import SourceIdentity
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.parts import table_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file of a folder.

    Attributes:
        mark: tells one content from another: an ETag, or a time of modification.
        size: in bytes.
    """

    mark: str
    size: int


def parts_of(folder: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the parts of a folder's table.

    Args:
        folder: the folder, as a message has it.
        entries: what it holds, by the paths below it; a folder in it ends in a slash.

    Raises:
        SourceError: the folder is not a table.
    """
    try:
        return {name: entries[name] for name in table_parts(folder, entries)}
    except InputError as error:
        raise SourceError(str(error)) from None


def folder_identity(parts: Mapping[str, Entry]) -> SourceIdentity:
    """Return the identity of a table of parts: another one if a part is added, taken away or changed."""
    lines = [f"{name}\0{entry.mark}\0{entry.size}" for name, entry in sorted(parts.items())]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return SourceIdentity(etag=f"{digest[:32]}-{len(parts)}", size=sum(entry.size for entry in parts.values()))


def largest_part(key: str, parts: Mapping[str, Entry]) -> tuple[str, int]:
    """Return the key and the size of the largest part of a table."""
    name = max(parts, key=lambda name: parts[name].size)
    return f"{key}/{name}", parts[name].size


def listed(pages: Iterable[Mapping[str, Any]], prefix: str) -> dict[str, Entry]:
    """Return what a folder holds, from S3's answers (ListObjectsV2)."""
    entries: dict[str, Entry] = {}
    for page in pages:
        entries |= {file["Key"]: Entry(str(file.get("ETag", "")).strip('"'), int(file["Size"])) for file in page.get("Contents", ())}
        entries |= {folder["Prefix"]: Entry("", 0) for folder in page.get("CommonPrefixes", ())}
    # A store may have an empty file that stands for the folder itself.
    return {key.removeprefix(prefix): entry for key, entry in entries.items() if key != prefix}
