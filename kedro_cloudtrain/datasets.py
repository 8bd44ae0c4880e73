"""Kedro datasets: a table on a volume or a web server, and what a training node gives."""

from __future__ import annotations

import contextlib
import json
import math
import numbers
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NewType

from kedro.io import AbstractDataset

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
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from kedro_cloudtrain.storage.volumes import Volume
    from kedro_cloudtrain.worker.models import TrainedModel

# Kedro-Viz chooses how to show a preview by the name of its type (kedro_viz.models.flowchart.node_metadata).
TablePreview = NewType("TablePreview", dict[str, Any])
PlotlyPreview = NewType("PlotlyPreview", dict[str, Any])
JSONPreview = NewType("JSONPreview", str)


class CloudDataset(AbstractDataset[Any, Any]):
    """A table that a machine reads by itself: a URL, or a key on the volume.

    For an ordinary node, under any runner and in a notebook, `load()` gives a DataFrame and `save()` writes to the volume.

    Args:
        dataset_url: where the table is, http or https; it is read only.
        dataset_key: its path below the volume, instead of a URL.
        volume: where the key is a key of: `{path: DIRECTORY}`, or `{id: ID, data_center: DATA_CENTER}` of a network volume.
        file_format: csv, tsv, parquet, xlsx, xls or jsonl; left out, the extension says it.
        load_args: passed to the pandas reader, here and on the machine.
        save_args: passed to the pandas writer.
        credentials: `headers` for a URL, a bearer token say; `access_key` and `secret_key` for a network volume.
        metadata: for other plugins; ignored by Kedro.

    Raises:
        SourceError: both or neither of URL and key are given, or the one that is given is no such thing.

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
        """The volume of a key.

        Raises:
            SourceError: a URL has none.
        """
        if self._volume is None:
            raise SourceError(f"{self.source.redacted} is on no volume.")
        return self._volume

    @property
    def filepath(self) -> str | None:
        """The file of a key, as Kedro-Viz asks for it to tell its size."""
        if isinstance(self._volume, DirectoryVolume) and isinstance(self.source, VolumeSource):
            return str(self._volume.path(self.source.key))
        return None

    def load(self) -> pd.DataFrame:
        """Read the whole table.

        Raises:
            SourceError: it is not there, or not what it is said to be.
        """
        with self._location() as location:
            return read_table(location).frame

    def save(self, data: pd.DataFrame) -> None:
        """Write a table to the volume, whole or not at all.

        Raises:
            SourceError: a URL is read only.
        """
        if isinstance(self.source, UrlSource):
            raise SourceError(f"{self.source.redacted} is a URL, which is read only. Give the entry a dataset_key and a volume to save to.")
        with self.volume.write(self.source.key) as path:
            try:
                write_table(data, path, self.source.file_format, self.save_args)
            except InputError as error:
                raise SourceError(str(error)) from error

    def preview(self, nrows: int = 5) -> TablePreview:
        """Give the first rows for Kedro-Viz, without reading the rest."""
        frame = self.head(nrows)
        return TablePreview(json.loads(frame.to_json(orient="split", date_format="iso", default_handler=str)))

    def head(self, rows: int = 5) -> pd.DataFrame:
        """Read the first rows, and not much more of the file than they need.

        Raises:
            SourceError: it is not there, or not what it is said to be.
        """
        with self._location(whole=False) as location:
            return read_head(location, rows=rows)

    def column_names(self) -> list[str]:
        """Give the table's columns, and read no more of the file than they need.

        Raises:
            SourceError: it is not there, or not what it is said to be.
        """
        with self._location(whole=False) as location:
            return column_names(location)

    @contextlib.contextmanager
    def _location(self, *, whole: bool = True) -> Iterator[Location]:
        try:
            if isinstance(self.source, UrlSource):
                yield self.source.location
            elif whole:
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
    """A trained model as a folder: the library's own format and `model.json`; never a pickle.

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
        """Give the model: `predict(frame)` and `predict_proba(frame)` work without the machine."""
        from kedro_cloudtrain.worker.models import load_model  # noqa: PLC0415

        if not self._exists():
            raise SourceError(f"There is no model in {self.filepath}. The training node that gives it has not run yet.")
        return load_model(self.filepath)

    def save(self, data: TrainedModel | Path | str) -> None:
        """Copy a model's folder, whole or not at all; the one before stands until then.

        Args:
            data: the model, or the path of its folder.

        Raises:
            SourceError: it is no trained model.
        """
        folder = data if isinstance(data, str | Path) else getattr(data, "folder", None)
        if folder is None or not (Path(folder) / "model.json").is_file():
            what = f"{data} (no model.json is there)" if isinstance(data, str | Path) else type(data).__name__
            raise SourceError(
                f"{what} is no model of a training node. Save a model of your own with a dataset for it, pickle.PickleDataset say."
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
        """Give what `model.json` says, for Kedro-Viz."""
        said = json.loads((self.filepath / "model.json").read_text(encoding="utf-8"))
        return JSONPreview(json.dumps(said))

    def _exists(self) -> bool:
        return (self.filepath / "model.json").is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.filepath)}


class MetricsDataset(AbstractDataset[Any, Any]):
    """A model's metrics: one JSON object of names and numbers, and the confusion matrix beside them.

    Args:
        filepath: the JSON file.
        metadata: for other plugins; ignored by Kedro.

    Example:
        ```yaml
        species_metrics: {type: kedro_cloudtrain.MetricsDataset, filepath: data/08_reporting/species.json}
        ```
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self.filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, Any]:
        """Give the metrics by name."""
        said: dict[str, Any] = json.loads(self.filepath.read_text(encoding="utf-8"))
        return said

    def save(self, data: Mapping[str, Any]) -> None:
        """Write the metrics, whole or not at all.

        Raises:
            SourceError: it is no mapping of names, or something in it is no number.
        """
        if not hasattr(data, "items") or not all(isinstance(name, str) for name in data):
            raise SourceError(f"Metrics are a mapping of names and numbers; this is a {type(data).__name__}.")
        _write_json(self.filepath, {name: _metric(name, value) for name, value in data.items()})

    def preview(self) -> JSONPreview:
        """Give the metrics, for Kedro-Viz."""
        return JSONPreview(json.dumps(self.load()))

    def _exists(self) -> bool:
        return self.filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.filepath)}


class TrainingHistoryDataset(AbstractDataset[Any, Any]):
    """What each round measured: a row a round, shown by Kedro-Viz as a chart.

    Args:
        filepath: the JSON file.
        metadata: for other plugins; ignored by Kedro.

    Example:
        ```yaml
        species_history: {type: kedro_cloudtrain.TrainingHistoryDataset, filepath: data/08_reporting/species_history.json}
        ```
    """

    def __init__(self, *, filepath: str, metadata: Mapping[str, Any] | None = None) -> None:
        self.filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """Give a row a round: `round`, and a column a metric, `train_rmse` and `validation_rmse` say."""
        import pandas as pd  # noqa: PLC0415  # half a second that `kedro --help` need not wait

        return pd.DataFrame(json.loads(self.filepath.read_text(encoding="utf-8")))

    def save(self, data: pd.DataFrame | Sequence[Mapping[str, Any]]) -> None:
        """Write the rows, whole or not at all.

        Args:
            data: a DataFrame, or a mapping a round.

        Raises:
            SourceError: they are no table with a `round`.
        """
        if isinstance(data, list) and all(hasattr(row, "keys") for row in data):
            import pandas as pd  # noqa: PLC0415

            data = pd.DataFrame(data)
        if "round" not in getattr(data, "columns", ()):
            raise SourceError(f"A training history is a DataFrame with a column `round`; this is a {type(data).__name__} without.")
        _write_json(self.filepath, json.loads(data.to_json(orient="records", double_precision=15)))  # type: ignore[union-attr]

    def preview(self) -> PlotlyPreview:
        """Draw each metric over the rounds, for Kedro-Viz; train and validation side by side.

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

    def _exists(self) -> bool:
        return self.filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.filepath)}


# The rows and columns of a classification, beside its numbers.
_BESIDE_METRICS = ("confusion_matrix", "test_confusion_matrix", "classes")


def _headers(credentials: Mapping[str, Any] | None) -> dict[str, str]:
    if credentials is not None and not hasattr(credentials, "keys"):
        raise ConfigError("credentials is no mapping, {headers: {Authorization: Bearer …}} say.")
    headers = (credentials or {}).get("headers") or {}
    if not hasattr(headers, "items"):
        raise ConfigError("credentials.headers is no mapping of names and values, {Authorization: Bearer …} say.")
    return {str(name): str(value) for name, value in headers.items()}


def _s3_keys(credentials: Mapping[str, Any] | None) -> dict[str, str]:
    """Give the keys of a network volume, where an entry has its own."""
    return {name: str(credentials[name]) for name in ("access_key", "secret_key") if credentials and credentials.get(name)}


def _metric(name: str, value: Any) -> Any:
    """Give a metric as JSON has it; what is no finite number is null there."""
    if value is None or name in _BESIDE_METRICS:
        return value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise SourceError(f"The metric {name!r} is {value!r} ({type(value).__name__}): a number is wanted there.")
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _write_json(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{uuid.uuid4().hex[:12]}.{file.name}")
    try:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
