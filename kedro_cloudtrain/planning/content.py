"""What a catalog entry holds before a run, as a digest: of its files where they are on this computer, else of what its store tells."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.planning.catalog import reason, without_transcoding
from kedro_cloudtrain.planning.digests import Digests, file_digest
from kedro_cloudtrain.planning.entries import dataset_source, dataset_volume, inner, is_query, local_entry, remote_entry
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.identity import url_identity
from kedro_cloudtrain.storage.sources import UrlSource, VersionedSource, resolved
from kedro_cloudtrain.worker.parts import table_parts

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol

    from kedro_cloudtrain.storage.identity import SourceIdentity
    from kedro_cloudtrain.storage.sources import VolumeSource


@dataclasses.dataclass(frozen=True)
class Content:
    """What an entry holds.

    Attributes:
        digest: of what could be looked at; None where that is nothing.
        opaque: why the digest cannot tell one content from another; empty where it can.
        error: why nothing could be looked at, such as a server that does not answer; empty where something could.
    """

    digest: str | None = None
    opaque: str = ""
    error: str = ""


class Contents:
    """What the entries of a catalog hold, each looked at once.

    Args:
        catalog: has the entries.
        digests: makes the digests.
    """

    def __init__(self, catalog: CatalogProtocol[Any, Any], digests: Digests) -> None:
        self._catalog = catalog
        self._digests = digests
        self._contents: dict[str, Content] = {}

    def of(self, name: str) -> Content:
        """Return what an entry holds, by its name; nothing for one that is not in the catalog."""
        if name not in self._contents:
            try:
                self._contents[name] = self._look(name, inner(self._catalog.get(name)))
            except CloudTrainError as error:
                self._contents[name] = Content(error=error.message)
            except Exception as error:  # noqa: BLE001  # Kedro's DatasetError, or whatever the store's own client raises
                self._contents[name] = Content(error=reason(error))
        return self._contents[name]

    def _look(self, name: str, dataset: Any) -> Content:
        """Look at what a dataset holds.

        Raises:
            CloudTrainError: it does not exist, or its server or its volume does not answer.
        """
        if dataset is None:
            return Content()
        if type(dataset).__name__ == "MemoryDataset":
            return self._of_memory(dataset)
        source = dataset_source(dataset)
        if source is not None:
            return self._of_source(source, dataset)
        remote = remote_entry(name, dataset, ambient=True)
        if remote is not None:
            version = remote.load_version()
            return self._identified(remote.identity(version), version)
        local = local_entry(without_transcoding(name), dataset)
        return self._of_files(local.files()) if local is not None else self._of_path(dataset)

    def _of_source(self, source: UrlSource | VolumeSource, dataset: Any) -> Content:
        """Look at a table that a machine reads itself; another version of it is another content, since the work on it is another."""
        versioned = isinstance(source, VersionedSource)
        source = resolved(source)
        if isinstance(source, UrlSource):
            return self._identified(url_identity(source))
        volume = dataset_volume(dataset)
        if not isinstance(volume, DirectoryVolume):
            return self._identified(volume.identity(source.key), source.key if versioned else None)
        # Not by its time of modification, which a clone of the project does not share.
        with volume.read(source.key) as path:
            parts = {part: path / part for part in table_parts(str(path), path.iterdir())} if path.is_dir() else {"": path}
            return self._of_files({f"{source.key} {part}": file for part, file in parts.items()} if versioned else parts)

    def _of_memory(self, dataset: Any) -> Content:
        """Look at a value that a hook has put into the catalog."""
        if not dataset.exists():
            return Content()
        digest = self._digests.of(dataset.load())
        return Content(digest, opaque="" if digest is not None else "it is in memory, and its value cannot be compared")

    def _identified(self, identity: SourceIdentity, version: str | None = None) -> Content:
        digest = self._digests.of([identity.content, version])
        return Content(digest, opaque="" if identity.is_certain else "its server gives neither an ETag nor a date")

    def _of_path(self, dataset: Any) -> Content:
        """Look at the file or the folder on this computer that an entry loads."""
        opaque = f"{type(dataset).__name__} reads what has no file that could be compared"
        path = _local_path(dataset)
        if path is None:
            return Content(opaque=opaque)
        if path.is_file():
            return dataclasses.replace(self._of_files({"": path}), opaque=opaque if is_query(dataset) else "")
        return self._of_files({file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()})

    def _of_files(self, files: dict[str, Path]) -> Content:
        return Content(self._digests.of({place: file_digest(file) for place, file in files.items()}) if files else None)


def _local_path(dataset: Any) -> Path | None:
    """Return the path on this computer that a dataset loads, the latest version's if it has versions; None for any other dataset."""
    load_path = getattr(dataset, "_get_load_path", None)
    path = getattr(dataset, "_filepath", None) if load_path is None else load_path()
    local = getattr(dataset, "_protocol", "file") in ("file", "local") and path is not None and "://" not in str(path)
    return Path(str(path)) if local else None
