"""What a catalog entry is to a machine: a source that it reads by itself, an entry that it loads and saves, or nothing that it knows."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.datasets import CloudDataset
from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from kedro_cloudtrain.storage.remote_entry import RemoteEntry
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, make_source
from kedro_cloudtrain.storage.urls import names_a_secret
from kedro_cloudtrain.worker.values import is_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.storage.volumes import Volume

# Not on a store that another process could reach; Kedro takes `file` and the like for local.
_NOT_REMOTE = ("file", "local", "memory")
_WEB = ("http", "https")
_PANDAS_FORMATS = {"CSVDataset": "csv", "ParquetDataset": "parquet", "ExcelDataset": "excel", "JSONDataset": "jsonl"}


def dataset_source(dataset: Any) -> UrlSource | VolumeSource | None:
    """Give where a machine can read a dataset by itself, or None where only this process can.

    `CloudDataset` says it. A pandas entry of kedro-datasets with an http or https `filepath` is such a source as it stands, unless it
    has credentials or file-system arguments that only fsspec here would know what to do with; so is one with an s3 `filepath` on a
    network volume of RunPod's.
    """
    if isinstance(dataset, CloudDataset):
        return dataset.source
    kind = type(dataset)
    if not kind.__module__.startswith("kedro_datasets.pandas") or kind.__name__ not in _PANDAS_FORMATS:
        return None
    # What its catalog entry says, as Kedro keeps it for `catalog.to_config()`; the path that a dataset keeps has lost its query.
    said: Mapping[str, Any] = getattr(dataset, "_init_args", {})
    place = _place(said)
    file_format = _format(kind.__name__, str(said.get("filepath", "")))
    load_args = _plain_load_args(file_format, dict(said.get("load_args") or {}))
    if place is None or load_args is None or said.get("version"):
        return None
    try:
        url, key = place
        return make_source(dataset_url=url, dataset_key=key, file_format=file_format, load_args=load_args)
    except SourceError:
        return None  # What only its own reader makes sense of is loaded by it, here.


def remote_entry(name: str, dataset: Any, *, ambient: bool) -> RemoteEntry | None:
    """Give what a machine loads and saves by the entry's own class, or None where only this process can.

    It is an entry of kedro-datasets with a path on a store of fsspec's, and plain arguments.

    Args:
        name: in the catalog.
        dataset: the dataset here.
        ambient: whether the machine has what this process has: the store's own configuration and environment. Elsewhere, an entry needs
            `credentials`, unless it is on a web server.
    """
    said: dict[str, Any] = dict(getattr(dataset, "_init_args", {}))
    path = str(said.get("filepath", ""))
    store = re.fullmatch(r"([a-z][a-z0-9+]*)://[^@]+", path)
    fitting = type(dataset).__module__.startswith("kedro_datasets.") and all(hasattr(dataset, one) for one in ("_fs", "_filepath"))
    if store is None or not fitting or store[1] in _NOT_REMOTE or "::" in path:
        return None
    credentials, version = said.pop("credentials", None) or {}, said.pop("version", None)
    said = {key: value for key, value in said.items() if value is not None and key not in ("metadata", "kwargs")}
    reached = credentials or ambient or store[1] in _WEB
    if not reached or not is_json(credentials) or not is_json(said) or _holds_a_secret(said):
        return None
    module = type(dataset).__module__.removeprefix("kedro_datasets.").partition(".")[0]
    config = {"type": f"{module}.{type(dataset).__name__}", **said}
    config |= {"versioned": True} if version is not None else {}
    return RemoteEntry(name, config | ({"credentials": name} if credentials else {}), credentials, dataset)


def is_read_only(dataset: Any) -> bool:
    """Tell whether an entry is on a web server, which nothing is saved to."""
    if isinstance(dataset, CloudDataset):
        return isinstance(dataset.source, UrlSource)
    return getattr(dataset, "_protocol", None) in _WEB


def _holds_a_secret(said: Any) -> bool:
    """Tell whether a secret stands where no credentials are: in `fs_args`, or in a URL's query."""
    if isinstance(said, dict):
        return any(names_a_secret(key) or _holds_a_secret(value) for key, value in said.items())
    return isinstance(said, str) and any(names_a_secret(part.partition("=")[0]) for part in said.partition("?")[2].split("&") if part)


def _place(said: Mapping[str, Any]) -> tuple[str | None, str | None] | None:
    """Give an entry's URL, or its key; None where it has neither."""
    on_volume = _network_volume(said)
    if on_volume is not None:
        return None, on_volume[1]
    url = str(said.get("filepath", ""))
    if not url.lower().startswith(("http://", "https://")) or any(said.get(name) for name in ("credentials", "fs_args")):
        return None
    return url, None


def _format(kind: str, path: str) -> str:
    if _PANDAS_FORMATS[kind] != "excel":
        return _PANDAS_FORMATS[kind]
    return "xls" if path.partition("?")[0].lower().endswith(".xls") else "xlsx"


def _network_volume(said: Mapping[str, Any]) -> tuple[NetworkVolume, str] | None:
    """Give the network volume and the key of an entry with `filepath: s3://VOLUME_ID/KEY` and RunPod's endpoint; None for any other."""
    found = re.fullmatch(r"s3a?://([^/]+)/(.+)", str(said.get("filepath", "")))
    credentials = said.get("credentials") or {}
    client = {**(credentials.get("client_kwargs") or {}), **((said.get("fs_args") or {}).get("client_kwargs") or {})}
    endpoint = str(credentials.get("endpoint_url") or client.get("endpoint_url") or "")
    host = re.fullmatch(r"https://s3api-([a-z0-9-]+)\.runpod\.io/?", endpoint)
    stands_in = endpoint != "" and endpoint.rstrip("/") == os.environ.get("RUNPOD_S3_ENDPOINT_URL", "").rstrip("/")
    if found is None or not (host or stands_in):
        return None
    data_center = str(client.get("region_name") or (host[1].upper() if host else ""))
    keys = {ours: str(credentials[theirs]) for ours, theirs in (("access_key", "key"), ("secret_key", "secret")) if credentials.get(theirs)}
    return NetworkVolume(found[1], data_center, endpoint, keys), found[2]


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
    if isinstance(dataset, CloudDataset):
        return dataset.volume
    found = _network_volume(getattr(dataset, "_init_args", {}))
    if found is None:
        raise SourceError(f"{type(dataset).__name__} is on no volume.")
    return found[0]
