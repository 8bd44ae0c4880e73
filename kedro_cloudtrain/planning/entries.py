"""Sort catalog entries by what a machine can do with them: read a source itself, load and save by the entry's own class, or nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

from kedro_cloudtrain.datasets import CloudDataset, MetricsDataset, ModelDataset, ModelsDataset, TrainingHistoryDataset
from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.jobs.references import reference_in
from kedro_cloudtrain.secrecy import is_secret, know, names_a_secret
from kedro_cloudtrain.storage.local_entry import LocalEntry
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from kedro_cloudtrain.storage.remote_entry import RemoteEntry
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, make_source
from kedro_cloudtrain.storage.urls import CONTROL
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.partitions import are_partitions
from kedro_cloudtrain.worker.values import is_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.storage.volumes import Volume

# fsspec's protocols that no other machine can reach; Kedro treats `file` and the like as local.
_NOT_REMOTE = ("file", "local", "memory")
_ALWAYS_LOCAL = (ModelDataset, ModelsDataset, MetricsDataset, TrainingHistoryDataset)
_WEB = ("http", "https")
# Entries of kedro-datasets that load a way to the data, which can follow their files to a machine.
_LAZY = ("partitions.PartitionedDataset", "polars.LazyPolarsDataset", "dask.CSVDataset", "dask.ParquetDataset", "ibis.FileDataset")
# And those that are bound to a database or a cluster of this process.
_BOUND = ("ibis", "spark", "databricks", "snowflake")
_QUERIES = ("pandas.SQL", "pandas.GBQ")
_SAVES_LAZILY = ("partitions.PartitionedDataset", "partitions.IncrementalDataset")
_IN_PIECES = ("chunksize", "iterator")
_PANDAS_FORMATS = {"CSVDataset": "csv", "ParquetDataset": "parquet", "ExcelDataset": "excel", "JSONDataset": "jsonl"}


def dataset_source(dataset: Any) -> UrlSource | VolumeSource | None:
    """Return where a machine can read a dataset by itself, or None if only this process can.

    A `CloudDataset` has a source. A pandas entry of kedro-datasets with an http or https `filepath` is such a source as well, unless it
    has credentials or file-system arguments, which only fsspec in this process can use; so is one with an s3 `filepath` on one of
    RunPod's network volumes.
    """
    if isinstance(dataset, CloudDataset):
        return dataset.source
    kind = type(dataset)
    if not kind.__module__.startswith("kedro_datasets.pandas") or kind.__name__ not in _PANDAS_FORMATS:
        return None
    # The catalog entry, as Kedro keeps it for `catalog.to_config()`: the path that the dataset itself keeps has lost its query.
    entry = configuration(dataset)
    place = _place(entry)
    file_format = _format(kind.__name__, str(entry.get("filepath", "")))
    load_args = _plain_load_args(file_format, dict(entry.get("load_args") or {}))
    if place is None or load_args is None or entry.get("version"):
        return None
    try:
        url, key = place
        return make_source(dataset_url=url, dataset_key=key, file_format=file_format, load_args=load_args)
    except SourceError:
        return None  # An entry that only its own reader understands is loaded by it, in this process.


def table_on_disk(dataset: Any) -> Location | None:
    """Return where the table of a pandas entry is on this computer, to look at its head; None if only its own reader can read it."""
    kind = type(dataset)
    if not kind.__module__.startswith("kedro_datasets.pandas") or kind.__name__ not in _PANDAS_FORMATS:
        return None
    entry = configuration(dataset)
    path = getattr(dataset, "_filepath", None)
    if getattr(dataset, "_protocol", None) != "file" or path is None or entry.get("version"):
        return None
    file_format = _format(kind.__name__, str(path))
    load_args = _plain_load_args(file_format, dict(entry.get("load_args") or {}))
    return None if load_args is None else Location(str(path), file_format, load_args)


def remote_entry(name: str, dataset: Any, *, ambient: bool) -> RemoteEntry | None:
    """Return the entry that a machine can load and save by the entry's own class, or None if only this process can.

    It is an entry of kedro-datasets with a path on one of fsspec's remote stores, and plain arguments.

    Args:
        name: in the catalog.
        dataset: the dataset of this process.
        ambient: whether the machine has what this process has: the store's own configuration and environment. If not, an entry needs
            `credentials`, unless it is on a web server.
    """
    entry: dict[str, Any] = configuration(dataset)
    path = str(entry.get("filepath", ""))
    store = re.fullmatch(r"([a-z][a-z0-9+]*)://[^@]+", path)
    on_fsspec = type(dataset).__module__.startswith("kedro_datasets.") and hasattr(dataset, "_fs") and hasattr(dataset, "_filepath")
    if store is None or not on_fsspec or store[1] in _NOT_REMOTE or "::" in path:
        return None
    credentials, version = entry.pop("credentials", None) or {}, entry.pop("version", None)
    entry = {key: value for key, value in entry.items() if value is not None and key not in ("metadata", "kwargs")}
    _check_credentials(name, credentials)
    reachable = credentials or ambient or store[1] in _WEB
    if not reachable or not is_json(credentials) or not is_json(entry) or _holds_a_secret(entry):
        return None
    module = type(dataset).__module__.removeprefix("kedro_datasets.").partition(".")[0]
    config = {"type": f"{module}.{type(dataset).__name__}", **entry}
    config |= {"versioned": True} if version is not None else {}
    return RemoteEntry(name, config | ({"credentials": name} if credentials else {}), credentials, dataset)


def local_entry(name: str, dataset: Any) -> LocalEntry | None:
    """Return an entry on this computer whose value is not data but a way to its files; None for any other.

    Args:
        name: in the catalog.
        dataset: the dataset of this process.
    """
    dataset = inner(dataset)
    entry: dict[str, Any] = configuration(dataset)
    argument = "path" if "path" in entry else "filepath"
    path = str(entry.pop(argument, ""))
    if dataset_kind(dataset) not in _LAZY and not _loads_in_pieces(entry):
        return None
    store = re.match(r"([a-z][a-z0-9+]*)://", path)
    config = {key: value for key, value in entry.items() if value and key not in ("metadata", "version", "credentials")}
    # The file of an SQL entry is its query.
    on_this_computer = (store is None or store[1] in _NOT_REMOTE) and not is_query(dataset)
    if not on_this_computer or not path or not is_json(config) or _holds_a_secret(config):
        return None
    kind = type(dataset)
    # One of the project's own goes by its whole name, if it has one.
    named = dataset_kind(dataset) or (f"{kind.__module__}.{kind.__qualname__}" if "<" not in kind.__qualname__ else "")
    return LocalEntry(name, argument, {"type": named, **config}, dataset) if named else None


def as_cached(entry: LocalEntry, dataset: Any) -> LocalEntry | None:
    """Return an entry as the cache around it has it by now; None where the cache has the data itself, which is sent then.

    Under Kedro's own runners a cache that was saved to, or loaded from, returns what it has, whatever is in the files by then.

    Args:
        entry: the entry.
        dataset: the dataset in the catalog, which may have a cache.
    """
    cache = getattr(dataset, "_cache", None) if type(dataset).__name__ == "CachedDataset" else None
    if cache is None or not cache.exists():
        return entry
    kept = cache._data  # noqa: SLF001  # a load of it may copy all of it
    reference = reference_in(kept)
    if reference is None or not reference.certain:
        return None
    # A way to the files, as it was loaded or as a machine has returned it: of these parts and no others.
    return dataclasses.replace(entry, parts=frozenset(kept)) if are_partitions(kept) else entry


def reason_not_to_send(dataset: Any) -> str | None:
    """Return why the value of an entry cannot be sent to a machine; None where it can, or only the value itself can tell."""
    dataset = inner(dataset)
    kind, entry = dataset_kind(dataset), configuration(dataset)
    if kind.partition(".")[0] in _BOUND:
        return f"{kind} loads what is bound to a database or a cluster of this process"
    if kind in _LAZY or _loads_in_pieces(entry):
        return f"{kind} loads a way to its files, and those are not where they could be sent from, or read by the machine"
    return None


def is_query(dataset: Any) -> bool:
    """Return whether an entry's file, if it has one, is a query, and its data is in a database."""
    return dataset_kind(inner(dataset)).startswith(_QUERIES)


def saves_lazily(dataset: Any) -> bool:
    """Return whether an entry calls what is saved to it: a dict of callables is saved by calling one after another."""
    dataset = inner(dataset)
    return dataset_kind(dataset) in _SAVES_LAZILY and bool(getattr(dataset, "_save_lazily", True))


def configuration(dataset: Any) -> dict[str, Any]:
    """Return a dataset's arguments, as its catalog entry has them; empty where Kedro has not kept them."""
    arguments = dict(getattr(dataset, "_init_args", {}))
    # Kedro keeps the arguments of an inherited constructor this way.
    return {**arguments.pop("kwargs"), **arguments} if arguments.pop("args", None) == () and "kwargs" in arguments else arguments


def inner(dataset: Any) -> Any:
    """Return the dataset that a cache is around, or the dataset itself."""
    return getattr(dataset, "_dataset", dataset) if type(dataset).__name__ == "CachedDataset" else dataset


def dataset_kind(dataset: Any) -> str:
    """Return the type of an entry of kedro-datasets, as a catalog has it: `partitions.PartitionedDataset`; empty for any other."""
    package, _, module = type(dataset).__module__.partition(".")
    return f"{module.partition('.')[0]}.{type(dataset).__name__}" if package == "kedro_datasets" else ""


def _loads_in_pieces(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry loads an iterator over its rows."""
    load_args = entry.get("load_args") or {}
    return hasattr(load_args, "get") and any(load_args.get(name) for name in _IN_PIECES)


def place_of(dataset: Any) -> str:
    """Return where a dataset's file is, as a user finds it; its class where it has no file."""
    place = next((value for name in ("filepath", "_filepath", "_path") if (value := getattr(dataset, name, None)) is not None), None)
    return type(dataset).__name__ if place is None else str(place)


def place_within(dataset: Any, project: Path) -> str:
    """Return where a dataset's file is, relative to the project's folder if it is below it; its class where it has no file."""
    place = Path(place_of(dataset))
    return str(place.relative_to(project)) if place.is_relative_to(project) else str(place_of(dataset))


def bytes_on_disk(dataset: Any) -> int | None:
    """Return the size of the file, or of all files, of a dataset on this computer; None if there is nothing."""
    place = Path(place_of(dataset))
    if getattr(dataset, "_protocol", None) != "file" or not place.exists():
        return None
    return sum(file.stat().st_size for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file())


def can_tell_existence(dataset: Any) -> bool:
    """Return whether a dataset knows if its data exists: one without a check of its own answers that it does not."""
    return type(dataset)._exists is not AbstractDataset._exists  # noqa: SLF001  # Kedro's base class has no public name for it


def is_on_this_computer(dataset: Any) -> bool:
    """Return whether a load of an entry asks no other computer, as far as that is certain."""
    dataset = inner(dataset)
    in_memory = type(dataset).__name__ == "MemoryDataset"
    return in_memory or isinstance(dataset, _ALWAYS_LOCAL) or getattr(dataset, "_protocol", None) in ("file", "local")


def is_read_only(dataset: Any) -> bool:
    """Return whether an entry is on a web server, where nothing can be saved."""
    if isinstance(dataset, CloudDataset):
        return isinstance(dataset.source, UrlSource)
    return getattr(dataset, "_protocol", None) in _WEB


def _check_credentials(name: str, value: Any, path: str = "credentials") -> None:
    """Check an entry's credentials: a file-system client that is given a broken key shows it in a stack trace.

    Raises:
        SourceError: a secret has a control character, and is not a multi-line key or document; the message names only its place.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_credentials(name, inner, f"{path}.{key}")
    elif isinstance(value, str) and names_a_secret(path.rpartition(".")[2]):
        know(value.strip())
        if CONTROL.search(value.strip()) and not value.lstrip().startswith(("-----BEGIN", "{")):
            raise SourceError(f"`{path}` of `{name}` has a line break or a control character within it, which no key has: copy it again.")


def _holds_a_secret(value: Any) -> bool:
    """Return whether an entry holds a secret outside its credentials: in `fs_args`, or in a URL's query."""
    if isinstance(value, dict):
        return any(names_a_secret(key) or _holds_a_secret(inner) for key, inner in value.items())
    return isinstance(value, str) and any(map(is_secret, re.split("[?&#;]", value)[1:]))


def _place(entry: Mapping[str, Any]) -> tuple[str | None, str | None] | None:
    """Return an entry's URL and its key, one of which is None; None if it has neither."""
    on_volume = _network_volume(entry)
    if on_volume is not None:
        return None, on_volume[1]
    url = str(entry.get("filepath", ""))
    if not url.lower().startswith(("http://", "https://")) or any(entry.get(name) for name in ("credentials", "fs_args")):
        return None
    return url, None


def _format(kind: str, path: str) -> str:
    if _PANDAS_FORMATS[kind] != "excel":
        return _PANDAS_FORMATS[kind]
    return "xls" if path.partition("?")[0].lower().endswith(".xls") else "xlsx"


def _network_volume(entry: Mapping[str, Any]) -> tuple[NetworkVolume, str] | None:
    """Return the network volume and the key of an entry with `filepath: s3://VOLUME_ID/KEY` and RunPod's endpoint; None for any other."""
    path = re.fullmatch(r"s3a?://([^/]+)/(.+)", str(entry.get("filepath", "")))
    credentials = entry.get("credentials") or {}
    client = {**(credentials.get("client_kwargs") or {}), **((entry.get("fs_args") or {}).get("client_kwargs") or {})}
    endpoint = str(credentials.get("endpoint_url") or client.get("endpoint_url") or "")
    host = re.fullmatch(r"https://s3api-([a-z0-9-]+)\.runpod\.io/?", endpoint)
    stands_in = endpoint != "" and endpoint.rstrip("/") == os.environ.get("RUNPOD_S3_ENDPOINT_URL", "").rstrip("/")
    if path is None or not (host or stands_in):
        return None
    data_center = str(client.get("region_name") or (host[1].upper() if host else ""))
    keys = {ours: str(credentials[theirs]) for ours, theirs in (("access_key", "key"), ("secret_key", "secret")) if credentials.get(theirs)}
    return NetworkVolume(path[1], data_center, endpoint, keys), path[2]


def _plain_load_args(file_format: str, load_args: dict[str, Any]) -> dict[str, Any] | None:
    """Return a pandas entry's arguments in the form that a machine takes; None if only this process can use them."""
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
    """Return the volume of a dataset whose source is a key.

    Raises:
        SourceError: the dataset is not on a volume.
    """
    if isinstance(dataset, CloudDataset):
        return dataset.volume
    on_volume = _network_volume(configuration(dataset))
    if on_volume is None:
        raise SourceError(f"{type(dataset).__name__} is not on a volume.")
    return on_volume[0]
