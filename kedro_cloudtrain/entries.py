"""What a catalog entry is to a machine: a source that it reads by itself, or nothing that it knows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.datasets import CloudDataset
from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.sources import UrlSource, VolumeSource, make_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.volumes import Volume

_PANDAS_FORMATS = {"CSVDataset": "csv", "ParquetDataset": "parquet", "ExcelDataset": "excel", "JSONDataset": "jsonl"}


def dataset_source(dataset: Any) -> UrlSource | VolumeSource | None:
    """Give where a machine can read a dataset by itself, or None where only this process can.

    `CloudDataset` says it. A pandas entry of kedro-datasets with an http or https `filepath` is such a source as it stands, unless it
    has credentials or file-system arguments that only fsspec here would know what to do with.
    """
    if isinstance(dataset, CloudDataset):
        return dataset.source
    kind = type(dataset)
    if not kind.__module__.startswith("kedro_datasets.pandas") or kind.__name__ not in _PANDAS_FORMATS:
        return None
    # What its catalog entry says, as Kedro keeps it for `catalog.to_config()`; the path that a dataset keeps has lost its query.
    said: Mapping[str, Any] = getattr(dataset, "_init_args", {})
    url = str(said.get("filepath", ""))
    if not url.lower().startswith(("http://", "https://")) or any(said.get(name) for name in ("credentials", "fs_args", "version")):
        return None
    file_format = _PANDAS_FORMATS[kind.__name__]
    if file_format == "excel":
        file_format = "xls" if url.partition("?")[0].lower().endswith(".xls") else "xlsx"
    load_args = _plain_load_args(file_format, dict(said.get("load_args") or {}))
    if load_args is None:
        return None
    try:
        source = make_source(dataset_url=url, file_format=file_format, load_args=load_args)
    except SourceError:
        return None  # What only its own reader makes sense of is loaded by it, here.
    return source if isinstance(source, UrlSource) else None


def _plain_load_args(file_format: str, load_args: dict[str, Any]) -> dict[str, Any] | None:
    """Give a pandas entry's arguments as a machine can have them; None where only this process can."""
    if file_format == "jsonl" and not load_args.pop("lines", False):
        return None
    if file_format in ("xls", "xlsx"):
        load_args.pop("engine", None)
    pieces = any(name in load_args for name in ("chunksize", "iterator", "storage_options"))
    sheets = not isinstance(load_args.get("sheet_name", 0), str | int)
    if pieces or sheets or (file_format == "parquet" and set(load_args) - {"columns", "engine"}):
        return None
    try:
        json.dumps(load_args)
    except TypeError:
        return None
    return load_args


def dataset_volume(dataset: Any) -> Volume:
    """Give the volume of a dataset whose source is a key."""
    if not isinstance(dataset, CloudDataset):
        raise SourceError(f"{type(dataset).__name__} is on no volume.")
    return dataset.volume
