"""A table on a volume or a web server."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NewType

from kedro.io import AbstractVersionedDataset, Version
from kedro.io.core import VersionNotFoundError

from kedro_cloudtrain.errors import ConfigError, SourceError
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.identity import source_identity
from kedro_cloudtrain.storage.sources import UrlSource, VersionedSource, VolumeSource, make_source
from kedro_cloudtrain.storage.table_versions import existing_versions, key_of_latest, key_of_version, key_to_save
from kedro_cloudtrain.storage.volumes import make_volume, table_location
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.protocol import version_key
from kedro_cloudtrain.worker.tables import column_names, read_head, read_table
from kedro_cloudtrain.worker.values import write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from kedro_cloudtrain.storage.volumes import Volume

TablePreview = NewType("TablePreview", dict[str, Any])


class CloudDataset(AbstractVersionedDataset[Any, Any]):
    """A table that a machine reads itself, by its URL or by its key on the volume.

    For any other node, under any runner and in a notebook, `load()` returns a DataFrame and `save()` writes one to the volume. With
    `versioned: true` each save makes a version of its own, in Kedro's layout: `dataset_key/VERSION/NAME`.

    Args:
        dataset_url: the table's URL, http or https; it is read only.
        dataset_key: the table's path below the volume, instead of a URL.
        volume: the volume of the key: `{path: DIRECTORY}`, or `{id: ID, data_center: DATA_CENTER}` for a network volume.
        file_format: csv, tsv, parquet, xlsx, xls or jsonl; left out, that of the extension.
        load_args: passed to the pandas reader, on this computer and on the machine.
        save_args: passed to the pandas writer.
        credentials: `headers` of a URL, for example a bearer token; `access_key` and `secret_key` of a network volume.
        version: the version to load and the one to save, which Kedro gives to an entry with `versioned: true`; a URL has none.
        metadata: for other plugins; ignored by Kedro.

    Raises:
        SourceError: both or neither of URL and key are given, or the one that is given is not valid.
        ConfigError: the volume or the credentials are not valid, or a URL is versioned.

    Example:
        ```yaml
        penguins:
          type: kedro_cloudtrain.CloudDataset
          dataset_key: datasets/penguins.csv
          volume: {path: data/volume}

        clean_penguins:
          type: kedro_cloudtrain.CloudDataset
          dataset_key: clean/penguins.parquet
          volume: {path: data/volume}
          versioned: true

        flights:
          type: kedro_cloudtrain.CloudDataset
          dataset_url: https://example.org/flights.parquet
        ```
    """

    def __init__(
        self,
        *,
        dataset_url: str | None = None,
        dataset_key: str | None = None,
        volume: Mapping[str, Any] | None = None,
        file_format: str | None = None,
        load_args: Mapping[str, Any] | None = None,
        save_args: Mapping[str, Any] | None = None,
        credentials: Mapping[str, Any] | None = None,
        version: Version | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._source = make_source(
            dataset_url=dataset_url,
            dataset_key=dataset_key,
            file_format=file_format,
            load_args=load_args,
            headers=_headers(credentials),
        )
        self.metadata = metadata
        self.save_args = dict(save_args or {})
        self._volume: Volume | None = None
        if isinstance(self._source, VolumeSource):
            if volume is None:
                raise SourceError(f"dataset_key {self._source.key!r} needs a volume: add `volume: {{path: data/volume}}` to the entry.")
            self._volume = make_volume(volume, _s3_keys(credentials))
        elif version is not None:
            raise ConfigError(
                f"{self._source.redacted} is a URL, which has no versions that could be kept or chosen. Leave out `versioned`; or give the "
                "entry a dataset_key and a volume instead of the dataset_url, and upload the table as a version: kedro cloudtrain upload "
                "FILE KEY/VERSION/NAME"
            )
        super().__init__(PurePosixPath(self._store_path()), version)
        self._version_to_load: str | None = None

    @property
    def source(self) -> UrlSource | VolumeSource:
        """Where the table is; for one with versions, the key of the folder that holds them."""
        if self.has_versions and isinstance(self._source, VolumeSource):
            return VersionedSource(self._source.key, self._source.file_format, self._source.load_args, versions=self)
        return self._source

    @property
    def has_versions(self) -> bool:
        """Whether each save makes a version of its own."""
        # Not `versioned`: by an attribute of that name, Kedro takes every entry of a class for a versioned one.
        return self._version is not None

    @property
    def volume(self) -> Volume:
        """The volume of the key.

        Raises:
            SourceError: the table is at a URL.
        """
        if self._volume is None:
            raise SourceError(f"{self._source.redacted} is a URL: it has no volume.")
        return self._volume

    @property
    def filepath(self) -> str | None:
        """The path of the key's file in a directory, by which Kedro-Viz shows its size; None for any other table.

        Of a versioned entry it is the file of the version to load, and as long as there is none, the folder of the versions.
        """
        if not isinstance(self._volume, DirectoryVolume):
            return None
        with contextlib.suppress(SourceError):
            return str(self._volume.path(self._load_key()))
        return str(self.place)

    @property
    def place(self) -> Path:
        """The path of the key on this computer's disk, or the bucket and the key as a path; of a URL the host and the path."""
        return Path(self._filepath)

    @property
    def key_to_load(self) -> str | None:
        """The key of the version to load; None before it was first needed."""
        return None if self._version_to_load is None else version_key(self._key, self._version_to_load)

    @property
    def save_version(self) -> str:
        """The version that the run saves."""
        return str(self.resolve_save_version())

    def load_key(self) -> str:
        """Return the key of the version to load: the one that was named, or the latest, which stays the same until one is saved.

        Raises:
            SourceError: there is no such version, or none at all.
        """
        key = self.key_to_load or self.latest_key()
        self.saved(key)
        return key

    def latest_key(self) -> str:
        """Return the key of what a load that begins now would find: the version that was named, or the latest.

        Raises:
            SourceError: there is no such version, or none at all.
        """
        if self._version is not None and self._version.load:
            return key_of_version(self.volume, self._key, self._version.load)
        return key_of_latest(self.volume, self._key)

    def saved(self, key: str) -> None:
        """Record the version that the run loads from now on, unless it was started with another one."""
        version = PurePosixPath(key).parent.name
        if self._version is None or self._version.load in (None, version):
            self._version_to_load = version

    def load(self) -> pd.DataFrame:
        """Read the whole table.

        Raises:
            SourceError: the table does not exist, or cannot be read as its entry says.
        """
        with self._location() as location:
            return read_table(location).frame

    def save(self, data: pd.DataFrame) -> None:
        """Write a table to the volume, whole or not at all.

        Raises:
            SourceError: the table is at a URL, which is read only, or `data` cannot be written in its format.
        """
        if isinstance(self._source, UrlSource):
            raise SourceError(
                f"{self._source.redacted} is a URL, which is read only. Give the entry a dataset_key and a volume to save to."
            )
        key = self._save_key()
        try:
            with self.volume.write(key) as path:
                write_table(data, path, self._source.file_format, self.save_args)
        except InputError as error:
            raise SourceError(str(error)) from error
        if self.has_versions:
            self.saved(key)

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return the first rows for Kedro-Viz, without reading the rest."""
        return TablePreview(json.loads(self.head(nrows).to_json(orient="split", date_format="iso", default_handler=str)))

    def head(self, rows: int = 5) -> pd.DataFrame:
        """Read the first rows, and not much more of the file than they need.

        Raises:
            SourceError: the table does not exist, or cannot be read as its entry says.
        """
        with self._location(all_rows=False) as location:
            return read_head(location, rows=rows)

    def column_names(self) -> list[str]:
        """Return the names of the table's columns, and read no more of the file than they need.

        Raises:
            SourceError: the table does not exist, or cannot be read as its entry says.
        """
        with self._location(all_rows=False) as location:
            return column_names(location)

    @contextlib.contextmanager
    def _location(self, *, all_rows: bool = True) -> Iterator[Location]:
        try:
            if isinstance(self._source, UrlSource):
                yield self._source.location
                return
            source = VolumeSource(self._load_key(), self._source.file_format, self._source.load_args)
            if all_rows:
                with self.volume.read(source.key) as path:
                    yield Location(str(path), source.file_format, source.load_args)
            else:
                yield table_location(source, self.volume)
        except InputError as error:
            raise SourceError(str(error)) from error

    @property
    def _key(self) -> str:
        return self._source.key if isinstance(self._source, VolumeSource) else ""

    def _load_key(self) -> str:
        return self.load_key() if self.has_versions else self._key

    def _save_key(self) -> str:
        return key_to_save(self.volume, self._key, self.save_version) if self.has_versions else self._key

    def _store_path(self) -> str:
        """Return the table's place as Kedro's own datasets keep theirs: a path on this computer, or one that begins with the store."""
        if isinstance(self._source, UrlSource):
            return self._source.url.partition("://")[2].partition("?")[0]
        volume = self.volume
        return str(volume.path(self._key)) if isinstance(volume, DirectoryVolume) else f"{getattr(volume, 'id', '')}/{self._key}"

    def _fetch_latest_load_version(self) -> str:
        try:
            return PurePosixPath(self.load_key()).parent.name
        except SourceError as error:
            raise VersionNotFoundError(error.message) from error

    def _get_versions(self) -> list[str]:
        return [version_key(self._key, version) for version in existing_versions(self.volume, self._key)]

    def _release(self) -> None:
        super()._release()
        self._version_to_load = None

    def _copy(self, **overwrite_params: Any) -> CloudDataset:
        # With the same volume: the connections of one to a store cannot be copied.
        copied = copy.copy(self)
        copied._version_to_load = None  # noqa: SLF001  # the same class
        vars(copied).update(overwrite_params)
        return copied

    def _exists(self) -> bool:
        try:
            if isinstance(self._source, UrlSource):
                source_identity(self._source, None)
                return True
            return self.volume.exists(self._load_key())
        except SourceError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {
            "dataset_url": self._source.redacted if isinstance(self._source, UrlSource) else None,
            "dataset_key": self._source.key if isinstance(self._source, VolumeSource) else None,
            "volume": self._volume.name if self._volume is not None else None,
            "file_format": self._source.file_format,
            "version": self._version,
        }


def _headers(credentials: Mapping[str, Any] | None) -> dict[str, str]:
    if credentials is not None and not hasattr(credentials, "keys"):
        raise ConfigError("credentials is not a mapping. Write, for example, {headers: {Authorization: Bearer …}}.")
    headers = (credentials or {}).get("headers") or {}
    if not hasattr(headers, "items"):
        raise ConfigError("credentials.headers is not a mapping of names to values. Write, for example, {Authorization: Bearer …}.")
    return {str(name): str(value) for name, value in headers.items()}


def _s3_keys(credentials: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the S3 keys of an entry that has its own."""
    return {name: str(credentials[name]) for name in ("access_key", "secret_key") if credentials and credentials.get(name)}
