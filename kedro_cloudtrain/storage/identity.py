"""By what a source is known to be the same: its ETag, or its date and its size."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.storage.volumes import Volume


@dataclasses.dataclass(frozen=True)
class SourceIdentity:
    """By what a source is known to be the same.

    Attributes:
        etag: the server's or the volume's word for the content.
        modified: when it was last modified, where there is no ETag.
        size: in bytes; None where the server does not say.
    """

    etag: str | None = None
    modified: str | None = None
    size: int | None = None

    @property
    def known(self) -> bool:
        """Whether it can tell one content from another."""
        return bool(self.etag or (self.modified and self.size is not None))


def url_identity(source: UrlSource, timeout_s: float = 30.0) -> SourceIdentity:
    """Ask a URL's server what it has there, by HEAD, or by its first byte where HEAD is refused.

    Raises:
        SourceError: it cannot be reached, or answers with an error.
    """
    from kedro_cloudtrain.worker.downloads import describe  # noqa: PLC0415

    try:
        found = describe(source.url, headers=source.headers, secret_query=source.secret_query, timeout_s=timeout_s)
    except ValueError as error:
        raise SourceError(str(error)) from None
    return SourceIdentity(found.headers.get("etag"), found.headers.get("last-modified"), found.size)


def source_identity(source: UrlSource | VolumeSource, volume: Volume | None) -> SourceIdentity:
    """Say by what a source is known to be the same.

    Raises:
        SourceError: it is not there, or cannot be reached.
    """
    if isinstance(source, UrlSource):
        return url_identity(source)
    if volume is None:
        raise SourceError(f"dataset_key {source.key!r} needs a volume: give the dataset `volume: {{path: …}}`.")
    return volume.identity(source.key)


def identities_of(sources: Mapping[str, UrlSource | VolumeSource], volume: Volume | None) -> tuple[dict[str, Any], dict[str, int | None]]:
    """Say by what each of some tables is known to be the same (None where nothing tells), and their sizes in bytes.

    Raises:
        SourceError: one is not there, or cannot be reached.
    """
    found = {name: source_identity(source, volume) for name, source in sources.items()}
    known = {name: dataclasses.asdict(identity) if identity.known else None for name, identity in found.items()}
    return known, {name: identity.size for name, identity in found.items()}
