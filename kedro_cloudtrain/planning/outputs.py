"""What keeps a node's outputs from being saved: better known before the work than after it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.datasets import CloudDataset, MetricsDataset, ModelDataset, ModelsDataset, TrainingHistoryDataset
from kedro_cloudtrain.planning.entries import dataset_kind, is_read_only
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import VolumeSource
from kedro_cloudtrain.storage.volumes import same_volume
from kedro_cloudtrain.worker.values import is_json, without_writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro.io import CatalogProtocol
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.jobs.parameters import NodeOutput
    from kedro_cloudtrain.planning.plan import MachinePlan

# The outputs of a training that each dataset can save.
_TABLES: tuple[NodeOutput, ...] = ("history", "importance", "predictions", "trials", "leaderboard")
_SAVES: Mapping[type, tuple[NodeOutput, ...]] = {
    ModelDataset: ("model",),
    ModelsDataset: ("model",),
    MetricsDataset: ("metrics",),
    TrainingHistoryDataset: ("history",),
    CloudDataset: _TABLES,
}
_NOUNS: Mapping[str, str] = {
    "model": "a model, which kedro_cloudtrain.ModelDataset saves",
    "metrics": "metrics, which kedro_cloudtrain.MetricsDataset saves",
}
# The datasets of kedro-datasets that write one file, whatever they are given; others make a folder of their files.
_OF_ONE_FILE = (
    *(
        "pandas.CSVDataset",
        "pandas.ExcelDataset",
        "pandas.FeatherDataset",
        "pandas.JSONDataset",
        "pandas.ParquetDataset",
        "pandas.XMLDataset",
        "pandas.GenericDataset",
    ),
    *("pandas.HDFDataset", "pickle.PickleDataset", "json.JSONDataset", "yaml.YAMLDataset", "text.TextDataset", "pillow.ImageDataset"),
    *("plotly.PlotlyDataset", "plotly.JSONDataset", "networkx.JSONDataset", "networkx.GMLDataset", "networkx.GraphMLDataset"),
    *(
        "polars.CSVDataset",
        "geopandas.GenericDataset",
        "biosequence.BioSequenceDataset",
        "svmlight.SVMLightDataset",
        "email.EmailMessageDataset",
    ),
)
_OURS = (CloudDataset, MetricsDataset, TrainingHistoryDataset)


def output_problems(node: Node, catalog: CatalogProtocol[Any, Any], kinds: Sequence[NodeOutput] = ()) -> Iterator[str]:
    """Yield why each of a node's outputs could not be saved.

    Args:
        node: the node.
        catalog: has its outputs, each of which can be made.
        kinds: the kinds of a training's outputs, in their order.
    """
    for index, name in enumerate(node.outputs):
        dataset = catalog.get(name)
        if dataset is None:
            continue
        if index < len(kinds) and not _saves(dataset, kinds[index]):
            noun = _NOUNS.get(kinds[index], f"a table ({kinds[index]}), which pandas.ParquetDataset saves")
            yield f"its output `{name}` is {type(dataset).__name__}, and the node makes {noun}. Change the entry's `type`."
        if is_read_only(dataset):
            yield f"its output `{name}` is a URL, which is read only. Give the entry a dataset_key."
        if isinstance(dataset, CloudDataset) and isinstance(dataset.source, VolumeSource):
            yield from (f"its output `{name}`: {reason}" for reason in _writer_problems(dataset.source.file_format))
            for other in node.inputs:
                if _is_same_file(dataset, catalog.get(other)):
                    yield (
                        f"its output `{name}` and its input `{other}` are one file, {dataset.source.key}: what it reads would be replaced. "
                        "Give the output a dataset_key of its own."
                    )
        path = _local_path(dataset)
        reason = _reason_against(path, is_file=_is_file(dataset), replaces=isinstance(dataset, _OURS)) if path is not None else None
        if reason is not None:
            yield f"its output `{name}` cannot be saved at {path}: {reason}"


def saved_on_volume(plan: MachinePlan, dataset: Any) -> VolumeSource | None:
    """Return where a machine saves an output itself, a key on its volume; None where the output comes back to the client.

    Args:
        plan: the node that makes it.
        dataset: the output's.
    """
    if not isinstance(dataset, CloudDataset) or not isinstance(dataset.source, VolumeSource):
        return None
    reachable = plan.volume.mounted and same_volume(dataset.volume, plan.volume)
    return dataset.source if reachable and is_json(dataset.save_args) else None


def _saves(dataset: Any, kind: NodeOutput) -> bool:
    """Return whether a dataset can save an output of a training; one that is not known is taken to."""
    saved_kinds = next((kinds for each, kinds in _SAVES.items() if isinstance(dataset, each)), None)
    if saved_kinds is None and type(dataset).__module__.startswith("kedro_datasets.pandas"):
        saved_kinds = _TABLES
    return saved_kinds is None or kind in saved_kinds


def _is_same_file(output: CloudDataset, entry: Any) -> bool:
    """Return whether an entry is the very file that an output is saved to; a versioned output adds to what is there."""
    if not isinstance(entry, CloudDataset) or not isinstance(output.source, VolumeSource) or not isinstance(entry.source, VolumeSource):
        return False
    return output.source.key == entry.source.key and getattr(output, "_version", None) is None and same_volume(output.volume, entry.volume)


def _writer_problems(file_format: str) -> Iterator[str]:
    reason = without_writer(file_format)
    if reason is not None:
        yield reason
    elif file_format == "xlsx" and importlib.util.find_spec("openpyxl") is None:
        yield 'its format needs openpyxl, which is not installed: pip install "kedro-cloudtrain[excel]"'


def _local_path(dataset: Any) -> Path | None:
    """Return the path of a dataset's file or folder on this computer; None for any other."""
    if isinstance(dataset, CloudDataset):
        local = isinstance(dataset.source, VolumeSource) and isinstance(dataset.volume, DirectoryVolume)
        # Below the key of a versioned entry there is a folder for each version.
        return (dataset.place / "version" / dataset.place.name if dataset.has_versions else dataset.place) if local else None
    if isinstance(dataset, ModelDataset | ModelsDataset | MetricsDataset | TrainingHistoryDataset):
        # Below the path of a versioned entry there is a folder for each version.
        return dataset.filepath / "version" if dataset._version is not None else dataset.filepath  # noqa: SLF001  # as below
    if getattr(dataset, "_protocol", None) == "file" and getattr(dataset, "_filepath", None) is not None:
        return Path(str(dataset._filepath))  # noqa: SLF001  # Kedro's datasets have no public name for it
    return None


def _is_file(dataset: Any) -> bool:
    """Return whether a dataset saves one file, as far as that is certain: others may save a folder of files."""
    if isinstance(dataset, _OURS):
        return True
    versioned = getattr(dataset, "_version", None) is not None
    return not versioned and dataset_kind(dataset) in _OF_ONE_FILE


def _reason_against(path: Path, *, is_file: bool, replaces: bool) -> str | None:
    """Return why nothing can be written at a path.

    Args:
        path: the path.
        is_file: whether it will be a file.
        replaces: whether a file that is there is replaced by another, and not written to.
    """
    if is_file and path.is_dir():
        return "it is a folder. Name a file in the entry."
    if is_file and not replaces and path.exists():
        # It is written to where it is, and its folder may be anyone's.
        return (
            None
            if os.access(path, os.W_OK)
            else f"it cannot be written to. Change the entry's path, or the file's permissions: chmod u+w {path}"
        )
    existing = next(place for place in path.absolute().parents if place.exists())
    if not existing.is_dir():
        return f"{existing} is a file, not a folder. Change the entry's path, or move that file."
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written to. Change the entry's path, or its permissions: chmod u+wx {existing}"
    return None
