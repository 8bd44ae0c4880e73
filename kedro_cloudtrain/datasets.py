"""Kedro datasets: a table on a volume or a web server, and the outputs of a training node."""

from __future__ import annotations

import contextlib
import json
import math
import numbers
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NewType

from kedro.io import AbstractDataset

from kedro_cloudtrain.errors import ConfigError, SourceError
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.files import whole
from kedro_cloudtrain.storage.identity import source_identity
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, make_source
from kedro_cloudtrain.storage.volumes import make_volume, table_location
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.tables import column_names, read_head, read_table
from kedro_cloudtrain.worker.values import write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from kedro_cloudtrain.storage.volumes import Volume
    from kedro_cloudtrain.worker.models import TrainedModel

# Kedro-Viz chooses how to show a preview by the name of its type (kedro_viz.models.flowchart.node_metadata).
TablePreview = NewType("TablePreview", dict[str, Any])
PlotlyPreview = NewType("PlotlyPreview", dict[str, Any])
JSONPreview = NewType("JSONPreview", str)


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
        metadata: for other plugins; ignored by Kedro.

    Raises:
        SourceError: both or neither of URL and key are given, or the one that is given is not valid.
        ConfigError: the volume or the credentials are not valid.

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
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
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


class ModelDataset(AbstractDataset[Any, Any]):
    """A trained model as a folder: a file in the library's own format, never a pickle, and `model.json`.

    Args:
        filepath: the folder.
        metadata: for other plugins; ignored by Kedro.

    Example:
        ```yaml
        species_model: {type: kedro_cloudtrain.ModelDataset, filepath: data/06_models/species}
        ```
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self.filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> TrainedModel:
        """Load the model: `predict(frame)` and `predict_proba(frame)` work without the machine that trained it.

        Raises:
            SourceError: no model has been saved yet.
        """
        from kedro_cloudtrain.worker.models import load_model  # noqa: PLC0415

        if not self._exists():
            raise SourceError(f"There is no model in {self.filepath}. The training node that saves it has not run yet.")
        return load_model(self.filepath)

    def save(self, data: TrainedModel | Path | str) -> None:
        """Copy a model's folder, whole or not at all; an older model stays until then.

        Args:
            data: the model, or the path of its folder.

        Raises:
            SourceError: `data` is not the model of a training node.
        """
        folder = data if isinstance(data, str | Path) else getattr(data, "folder", None)
        if folder is None or not (Path(folder) / "model.json").is_file():
            subject = f"{data}, which has no model.json," if isinstance(data, str | Path) else f"This {type(data).__name__}"
            raise SourceError(
                f"{subject} is not the model of a training node. For a model of your own, use a dataset such as pickle.PickleDataset."
            )
        if Path(folder).resolve() == self.filepath.resolve():
            return
        self.filepath.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.filepath.parent, prefix=f".{self.filepath.name}.") as scratch:
            shutil.copytree(folder, Path(scratch) / "new")
            old = Path(scratch) / "old"
            if self.filepath.exists():
                self.filepath.rename(old)
            try:
                (Path(scratch) / "new").rename(self.filepath)
            except OSError:
                if old.exists():
                    old.rename(self.filepath)
                raise

    def preview(self) -> JSONPreview:
        """Return the content of `model.json` for Kedro-Viz."""
        return JSONPreview(json.dumps(json.loads((self.filepath / "model.json").read_text(encoding="utf-8"))))

    def _exists(self) -> bool:
        return (self.filepath / "model.json").is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.filepath)}


class _JsonFile:
    """The JSON file of a dataset, written whole or not at all."""

    # Not a dataset itself: Kedro wraps each dataset class's constructor, and one wrapped twice loses the names of its arguments.

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self.filepath = Path(filepath)
        self.metadata = metadata

    def _read(self) -> Any:
        return json.loads(self.filepath.read_text(encoding="utf-8"))

    def _write(self, value: Any) -> None:
        with whole(self.filepath) as temporary:
            temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")

    def _exists(self) -> bool:
        return self.filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.filepath)}


class MetricsDataset(_JsonFile, AbstractDataset[Any, Any]):
    """A model's metrics: a JSON object of names and numbers, and of the confusion matrix of a classification.

    Args:
        filepath: the JSON file.
        metadata: for other plugins; ignored by Kedro.

    Example:
        ```yaml
        species_metrics: {type: kedro_cloudtrain.MetricsDataset, filepath: data/08_reporting/species.json}
        ```
    """

    def load(self) -> dict[str, Any]:
        """Return the metrics by name."""
        return dict(self._read())

    def save(self, data: Mapping[str, Any]) -> None:
        """Write the metrics, whole or not at all.

        Raises:
            SourceError: `data` is not a mapping of names, or one of its values is not a number.
        """
        if not hasattr(data, "items") or not all(isinstance(name, str) for name in data):
            raise SourceError(f"Metrics are a mapping of names to numbers; this is a {type(data).__name__}.")
        self._write({name: _metric(name, value) for name, value in data.items()})

    def preview(self) -> JSONPreview:
        """Return the metrics for Kedro-Viz."""
        return JSONPreview(json.dumps(self.load()))


class TrainingHistoryDataset(_JsonFile, AbstractDataset[Any, Any]):
    """The metrics of each round of a training, which Kedro-Viz shows as a chart.

    Args:
        filepath: the JSON file.
        metadata: for other plugins; ignored by Kedro.

    Example:
        ```yaml
        species_history: {type: kedro_cloudtrain.TrainingHistoryDataset, filepath: data/08_reporting/species_history.json}
        ```
    """

    def load(self) -> pd.DataFrame:
        """Return a row for each round: `round`, and a column for each metric, for example `train_rmse` and `validation_rmse`."""
        import pandas as pd  # noqa: PLC0415  # half a second that `kedro --help` need not wait

        return pd.DataFrame(self._read())

    def save(self, data: pd.DataFrame | Sequence[Mapping[str, Any]]) -> None:
        """Write the rows, whole or not at all.

        Args:
            data: a DataFrame, or a list with a mapping for each round.

        Raises:
            SourceError: `data` is not a table with a column `round`.
        """
        if isinstance(data, list) and all(hasattr(row, "keys") for row in data):
            import pandas as pd  # noqa: PLC0415

            data = pd.DataFrame(data)
        if "round" not in getattr(data, "columns", ()):
            raise SourceError(f"A training history is a DataFrame with a column `round`; this is a {type(data).__name__} without one.")
        self._write(json.loads(data.to_json(orient="records", double_precision=15)))  # type: ignore[union-attr]

    def preview(self) -> PlotlyPreview:
        """Draw each metric over the rounds for Kedro-Viz, training rows dotted and validation rows solid.

        Raises:
            ConfigError: plotly is not installed.
        """
        try:
            import plotly.graph_objects as go  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError('The chart of a training history needs plotly: pip install "kedro-cloudtrain[viz]"') from error
        rows = self.load()
        figure = go.Figure(layout={"xaxis": {"title": {"text": "round"}}, "template": "plotly_white", "hovermode": "x unified"})
        for name in rows.columns.drop("round"):
            dash = "dot" if name.startswith("train_") else "solid"
            figure.add_scatter(x=rows["round"].tolist(), y=rows[name].tolist(), name=name.replace("_", " ", 1), line={"dash": dash})
        return PlotlyPreview(json.loads(figure.to_json()))


# What the metrics of a classification have besides numbers.
_NOT_NUMBERS = ("confusion_matrix", "test_confusion_matrix", "classes")


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


def _metric(name: str, value: Any) -> Any:
    """Return a metric as JSON has it; NaN and infinity become null."""
    if value is None or name in _NOT_NUMBERS:
        return value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise SourceError(f"The metric {name!r} is {value!r} ({type(value).__name__}), not a number.")
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None
