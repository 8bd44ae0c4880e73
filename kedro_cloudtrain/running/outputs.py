"""What a finished job has left, as the values that a node returns."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import JobLostError, SourceError
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.remote_entry import RemoteEntry
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.models import load_model
from kedro_cloudtrain.worker.results import folder_digest
from kedro_cloudtrain.worker.values import read_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.parameters import OutputKind
    from kedro_cloudtrain.jobs.result import JobOutput, JobResult
    from kedro_cloudtrain.storage.sources import VolumeSource
    from kedro_cloudtrain.storage.volumes import Volume


def read_outputs(folder: JobFolder, result: JobResult, kinds: tuple[OutputKind, ...]) -> dict[str, Any]:
    """Give each kind's value: a `TrainedModel`, a dict of metrics, or a DataFrame.

    Raises:
        JobLostError: an output is not there, or is not what the result says of it.
    """
    values: dict[str, Any] = {}
    for kind in kinds:
        said = result.outputs.get(kind)
        if said is None:
            raise JobLostError(f"{folder.name} is done and has left no {kind}. Does its script save it? {folder.script}")
        path = folder.path / said.path
        _compare(folder, kind, path, said)
        values[kind] = _READERS[kind](path)
    return values


def read_values(
    folder: JobFolder,
    result: JobResult,
    names: Iterable[str],
    saved: Mapping[str, VolumeSource | RemoteEntry],
    volume: Volume,
    *,
    earlier: bool = False,
) -> dict[str, Any]:
    """Give what a function has returned, by dataset; what the machine has saved itself is there as its source or its entry.

    Raises:
        JobLostError: an output is not there, or is not what the result says of it.
    """
    values: dict[str, Any] = {}
    for name in names:
        said = result.outputs.get(name)
        if said is None:
            raise JobLostError(f"{folder.name} is done and has left no `{name}`. Does its script save it? {folder.script}")
        if said.key is not None:
            _compare_on_volume(folder, name, said, volume)
            values[name] = saved[name]
            continue
        entry = saved.get(name)
        if isinstance(entry, RemoteEntry):
            _compare_on_store(folder, entry, said, latest=earlier)
            values[name] = entry
            continue
        path = folder.path / said.path
        _compare(folder, name, path, said)
        try:
            values[name] = read_value(path)
        except InputError as error:
            raise JobLostError(f"`{name}` of {folder.name} cannot be read here: {error}") from error
    return values


def _compare_on_volume(folder: JobFolder, name: str, said: JobOutput, volume: Volume) -> None:
    """Make sure that what a machine has saved on the volume is there still: by its size and time, or by the ETag that was seen first."""
    key = str(said.key)
    try:
        identity = volume.identity(key)
    except SourceError as error:
        raise JobLostError(f"{folder.name} has saved `{name}` as {key}, which is not there: {error.message}") from error
    if isinstance(volume, DirectoryVolume):
        same = volume.path(key).stat().st_mtime_ns == said.modified_ns
    else:
        seen: dict[str, Any] = folder.read_json(folder.saved) or {}
        # A later run of the same job has saved it anew, and may have left a file of the same size.
        mark = [said.modified_ns, identity.etag]
        if name in seen:
            same = seen[name] == mark
        else:
            # Not seen from here before. An ETag is the content's MD5, but for a file that came in parts.
            same = said.md5 in (None, identity.etag) or not re.fullmatch("[0-9a-f]{32}", identity.etag or "")
        if name not in seen:
            folder.write_json(folder.saved, {**seen, name: mark})
    if not same or identity.size != said.size:
        raise JobLostError(f"{key} on the volume {volume.name} is not what {folder.name} has saved there: it was changed since.")


def _compare_on_store(folder: JobFolder, entry: RemoteEntry, said: JobOutput, *, latest: bool) -> None:
    """Make sure that what a machine has saved by an entry is there, and, where that is asked, that a load gives it: not a later version."""
    stored = said.stored or {}
    version = None if stored.get("version") is None else str(stored["version"])
    try:
        loaded = entry.load_version()
        identity = dataclasses.asdict(entry.identity(version))
    except SourceError as error:
        raise JobLostError(f"{folder.name} has saved `{entry.name}`, and now: {error.message}") from error
    if {**identity, "version": version} != stored:
        raise JobLostError(f"{entry.redacted} is not what {folder.name} has saved there: it was changed since.")
    if latest and loaded != version:
        raise JobLostError(f"{entry.redacted} has another version, {loaded}, than the one that {folder.name} has saved.")


def _compare(folder: JobFolder, kind: str, path: Path, said: JobOutput) -> None:
    if not path.exists():
        raise JobLostError(f"{folder.name} says that it has left its {kind} in {path}, where there is nothing.")
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else folder_digest(path)
    if found != said.sha256:
        raise JobLostError(f"{path} is not what {folder.name} has written: its sha256 differs from the one in {folder.result}.")


def _read_json(path: Path) -> Any:
    import json  # noqa: PLC0415

    return json.loads(path.read_text(encoding="utf-8"))


def _read_rows(path: Path) -> Any:
    import pandas as pd  # noqa: PLC0415  # half a second that `kedro --help` need not wait

    return pd.DataFrame(_read_json(path))


def _read_parquet(path: Path) -> Any:
    import pandas as pd  # noqa: PLC0415

    return pd.read_parquet(path)


_READERS: dict[str, Callable[[Path], Any]] = {
    "model": load_model,
    "metrics": _read_json,
    "history": _read_rows,
    "importance": _read_rows,
    "predictions": _read_parquet,
}
