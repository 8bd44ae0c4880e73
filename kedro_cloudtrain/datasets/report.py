"""What a training reports: its metrics, and its history round by round."""

from __future__ import annotations

import contextlib
import json
import math
import numbers
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NewType

from kedro.io import AbstractVersionedDataset, Version
from kedro.io.core import VersionNotFoundError

from kedro_cloudtrain.errors import ConfigError, SourceError
from kedro_cloudtrain.runs.scores import best_round
from kedro_cloudtrain.storage.files import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd


JSONPreview = NewType("JSONPreview", str)
PlotlyPreview = NewType("PlotlyPreview", dict[str, Any])


class _JsonFile:
    """The JSON file of a dataset, written whole or not at all."""

    # Not a dataset itself: Kedro wraps each dataset class's constructor, and one wrapped twice loses the names of its arguments.

    _filepath: PurePosixPath
    _version: Version | None
    _get_load_path: Callable[[], PurePosixPath]
    _get_save_path: Callable[[], PurePosixPath]

    @property
    def filepath(self) -> Path:
        """The file; of a versioned entry, the folder that holds the versions."""
        return Path(self._filepath)

    def _read(self) -> Any:
        return json.loads(Path(self._get_load_path()).read_text(encoding="utf-8"))

    def _write(self, value: Any) -> None:
        with whole(Path(self._get_save_path())) as temporary:
            temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")

    def _exists(self) -> bool:
        with contextlib.suppress(VersionNotFoundError):
            return Path(self._get_load_path()).is_file()
        return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.filepath), "version": self._version}


class MetricsDataset(_JsonFile, AbstractVersionedDataset[Any, Any]):
    """A model's metrics: a JSON object of names and numbers, of a classification's confusion matrix, and those of each fold or group.

    Args:
        filepath: the JSON file.
        version: the version to load and the one to save, which Kedro gives to an entry with `versioned: true`.
        metadata: for other plugins; ignored by Kedro.

    Example:
        ```yaml
        species_metrics: {type: kedro_cloudtrain.MetricsDataset, filepath: data/08_reporting/species.json}
        ```
    """

    def __init__(self, *, filepath: str, version: Version | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

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


class TrainingHistoryDataset(_JsonFile, AbstractVersionedDataset[Any, Any]):
    """The metrics of each round of a training, which Kedro-Viz shows as a chart.

    Args:
        filepath: the JSON file.
        version: the version to load and the one to save, which Kedro gives to an entry with `versioned: true`.
        metadata: for other plugins; ignored by Kedro.

    Example:
        ```yaml
        species_history: {type: kedro_cloudtrain.TrainingHistoryDataset, filepath: data/08_reporting/species_history.json}
        ```
    """

    def __init__(self, *, filepath: str, version: Version | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

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
            import pandas as pd  # noqa: PLC0415  # as in `load`

            data = pd.DataFrame(data)
        if "round" not in getattr(data, "columns", ()):
            raise SourceError(f"A training history is a DataFrame with a column `round`; this is a {type(data).__name__} without one.")
        self._write(json.loads(data.to_json(orient="records", double_precision=15)))  # type: ignore[union-attr]  # it has columns

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
        if rows["round"].duplicated().any():
            # Several fits, whose names stand before the rounds, are shown by their mean.
            rows = rows.iloc[:, list(rows.columns).index("round") :].groupby("round", as_index=False).mean(numeric_only=True)
        metrics = rows.columns.drop("round")
        names = dict.fromkeys(name.partition("_")[2] or name for name in metrics)
        axes = {"xaxis": {"title": {"text": "round"}}, "yaxis": {"title": {"text": ", ".join(names)}}}
        figure = go.Figure(layout={**axes, "template": "plotly_white", "hovermode": "x unified"})
        for name in metrics:
            dash = "dot" if name.startswith("train_") else "solid"
            figure.add_scatter(x=rows["round"].tolist(), y=rows[name].tolist(), name=name.replace("_", " ", 1), line={"dash": dash})
        best = best_round({name: dict(zip(rows["round"].tolist(), rows[name].tolist(), strict=True)) for name in metrics})
        if best is not None:
            figure.add_vline(x=best, line={"color": "#e8a13a", "dash": "dash"}, annotation={"text": f"best round {best}"})
        return PlotlyPreview(json.loads(figure.to_json()))


# The metrics of each fold of a cross-validation, in a list, and of each group of a partitioned node, by name.
_FOLDS = "folds"
_GROUPS = ("groups", "partitions")
# What the metrics of a classification have besides numbers.
_NOT_NUMBERS = ("confusion_matrix", "test_confusion_matrix", "classes")


def _metric(name: str, value: Any) -> Any:
    """Return a metric as JSON has it; NaN and infinity become null."""
    if name == _FOLDS and isinstance(value, list) and all(isinstance(fold, dict) for fold in value):
        return [{inner: _metric(inner, each) for inner, each in fold.items()} for fold in value]
    if name in _GROUPS and isinstance(value, dict) and all(isinstance(group, dict) for group in value.values()):
        return {group: {inner: _metric(inner, each) for inner, each in metrics.items()} for group, metrics in value.items()}
    if value is None or name in _NOT_NUMBERS:
        return value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise SourceError(f"The metric {name!r} is {value!r} ({type(value).__name__}), not a number.")
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None
