"""What tells whether a source is the same as before: its ETag, or its date and its size."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, resolved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.storage.volumes import Volume

# Where an identity in plain JSON has its kind.
KIND = "kind"


@dataclasses.dataclass(frozen=True)
class SourceIdentity:
    """What tells whether a source is the same as before.

    Attributes:
        etag: the server's or the volume's word for the content.
        modified: when the source was last modified; None if nothing tells it.
        size: in bytes; None if the server does not tell it.
        kind: what the ETag is: the server's own, or made of the time of a file's modification.
    """

    etag: str | None = None
    modified: str | None = None
    size: int | None = None
    kind: Literal["etag", "time"] = dataclasses.field(default="etag", compare=False)

    @property
    def is_certain(self) -> bool:
        """Whether the identity can tell one content from another."""
        return bool(self.etag or (self.modified and self.size is not None))

    @property
    def content(self) -> dict[str, Any]:
        """What stands for the source's content, as plain JSON."""
        return {"etag": self.etag, "modified": self.modified, "size": self.size}

    @property
    def described(self) -> dict[str, Any] | None:
        """Its content with the kind of the identity; None where it cannot tell one content from another."""
        return {**self.content, KIND: self.kind} if self.is_certain else None


def url_identity(source: UrlSource, timeout_s: float = 30.0) -> SourceIdentity:
    """Ask a URL's server for its file's identity, by HEAD, or by the first byte where HEAD brings none.

    Raises:
        SourceError: the server cannot be reached, or answers with an error.
    """
    from kedro_cloudtrain.worker.downloads import describe  # noqa: PLC0415

    try:
        description = describe(source.url, headers=source.headers, secret_query=source.secret_query, timeout_s=timeout_s)
    except ValueError as error:
        raise SourceError(str(error)) from None
    return SourceIdentity(description.headers.get("etag"), description.headers.get("last-modified"), description.size)


def source_identity(source: UrlSource | VolumeSource, volume: Volume | None) -> SourceIdentity:
    """Return a source's identity, from its server or from the volume; of one with versions, that of the version to load.

    Raises:
        SourceError: the source does not exist, or cannot be reached.
    """
    source = resolved(source)
    if isinstance(source, UrlSource):
        return url_identity(source)
    if volume is None:
        raise SourceError(f"dataset_key {source.key!r} needs a volume: give the dataset `volume: {{path: …}}`.")
    return volume.identity(source.key)


def identities_of(sources: Mapping[str, UrlSource | VolumeSource], volume: Volume | None) -> tuple[dict[str, Any], dict[str, int | None]]:
    """Return the identities of some tables by name, None for one that cannot tell its content, and their sizes in bytes.

    Raises:
        SourceError: a source does not exist, or cannot be reached.
    """
    identities = {name: source_identity(source, volume) for name, source in sources.items()}
    plain = {name: identity.described for name, identity in identities.items()}
    return plain, {name: identity.size for name, identity in identities.items()}
