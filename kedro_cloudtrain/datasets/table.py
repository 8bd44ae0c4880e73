"""A table on a volume or a web server."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, NewType

from kedro.io import AbstractDataset, Version

from kedro_cloudtrain.errors import ConfigError, SourceError
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.identity import source_identity
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, make_source
from kedro_cloudtrain.storage.volumes import make_volume, table_location
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.tables import column_names, read_head, read_table
from kedro_cloudtrain.worker.values import write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from kedro_cloudtrain.storage.volumes import Volume

TablePreview = NewType("TablePreview", dict[str, Any])


class CloudDataset(AbstractDataset[Any, Any]):
    """A table that a machine reads itself, by its URL or by its key on the volume.

    For any other node, under any runner and in a notebook, `load()` returns a DataFrame and `save()` writes one to the volume.

    Args:
        dataset_url: the table's URL, http or https; it is read only.
        dataset_key: the table's path below the volume, instead of a URL.
        volume: the volume of the key: `{path: DIRECTORY}`, or `{id: ID, data_center: DATA_CENTER}` for a network volume.
        file_format: csv, tsv, parquet, xlsx, xls or jsonl; left out, that of the extension.
        load_args: passed to the pandas reader, on this computer and on the machine.
        save_args: passed to the pandas writer.
        credentials: `headers` of a URL, for example a bearer token; `access_key` and `secret_key` of a network volume.
        version: not possible; a machine saves by the key alone.
        metadata: for other plugins; ignored by Kedro.

    Raises:
        SourceError: both or neither of URL and key are given, or the one that is given is not valid.
        ConfigError: the volume or the credentials are not valid, or the entry is versioned.

    Example:
        ```yaml
        penguins:
          type: kedro_cloudtrain.CloudDataset
          dataset_key: datasets/penguins.csv
          volume: {path: data/volume}

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
        if version is not None:
            raise ConfigError(
                "A CloudDataset has no versions: a machine reads and saves it by its key. Leave out `versioned`; or make it an entry such "
                "as pandas.ParquetDataset with a filepath on S3, whose versions a machine loads and saves."
            )
        self.source = make_source(
            dataset_url=dataset_url,
            dataset_key=dataset_key,
            file_format=file_format,
            load_args=load_args,
            headers=_headers(credentials),
        )
        self.metadata = metadata
        self.save_args = dict(save_args or {})
        self._volume: Volume | None = None
        if isinstance(self.source, VolumeSource):
            if volume is None:
                raise SourceError(f"dataset_key {self.source.key!r} needs a volume: add `volume: {{path: data/volume}}` to the entry.")
            self._volume = make_volume(volume, _s3_keys(credentials))

    @property
    def volume(self) -> Volume:
        """The volume of the key.

        Raises:
            SourceError: the table is at a URL.
        """
        if self._volume is None:
            raise SourceError(f"{self.source.redacted} is a URL: it has no volume.")
        return self._volume

    @property
    def filepath(self) -> str | None:
        """The path of the key's file in a directory, by which Kedro-Viz shows its size; None for any other table."""
        if isinstance(self._volume, DirectoryVolume) and isinstance(self.source, VolumeSource):
            return str(self._volume.path(self.source.key))
        return None

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
        if isinstance(self.source, UrlSource):
            raise SourceError(f"{self.source.redacted} is a URL, which is read only. Give the entry a dataset_key and a volume to save to.")
        with self.volume.write(self.source.key) as path:
            try:
                write_table(data, path, self.source.file_format, self.save_args)
            except InputError as error:
                raise SourceError(str(error)) from error

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
            if isinstance(self.source, UrlSource):
                yield self.source.location
            elif all_rows:
                with self.volume.read(self.source.key) as path:
                    yield Location(str(path), self.source.file_format, self.source.load_args)
            else:
                yield table_location(self.source, self.volume)
        except InputError as error:
            raise SourceError(str(error)) from error

    def _exists(self) -> bool:
        if isinstance(self.source, VolumeSource):
            return self.volume.exists(self.source.key)
        try:
            source_identity(self.source, None)
        except SourceError:
            return False
        return True

    def _describe(self) -> dict[str, Any]:
        return {
            "dataset_url": self.source.redacted if isinstance(self.source, UrlSource) else None,
            "dataset_key": self.source.key if isinstance(self.source, VolumeSource) else None,
            "volume": self._volume.name if self._volume is not None else None,
            "file_format": self.source.file_format,
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
