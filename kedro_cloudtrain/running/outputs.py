"""Read what a finished job has left, as the values that a node returns."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
import stat
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import JobLostError, SourceError, UnsignedError
from kedro_cloudtrain.jobs.signing import is_signed
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.remote_entry import RemoteEntry
from kedro_cloudtrain.storage.sources import VersionedSource, VolumeSource
from kedro_cloudtrain.storage.table_versions import is_version_of
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.models import load_model
from kedro_cloudtrain.worker.partitions import holds_pickle, read_partitions
from kedro_cloudtrain.worker.protocol import MASTER_KEY_VARIABLE
from kedro_cloudtrain.worker.results import folder_digest
from kedro_cloudtrain.worker.values import read_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.parameters import OutputKind
    from kedro_cloudtrain.jobs.result import JobOutput, JobResult
    from kedro_cloudtrain.storage.volumes import Volume


def read_outputs(folder: JobFolder, result: JobResult, kinds: tuple[OutputKind, ...]) -> dict[str, Any]:
    """Return each kind's value: a `TrainedModel`, a dict of metrics, or a DataFrame.

    Raises:
        JobLostError: an output is missing, or is not what the result says of it.
    """
    values: dict[str, Any] = {}
    for kind in kinds:
        output = result.outputs.get(kind)
        if output is None:
            raise JobLostError(f"{folder.name} is done but has left no {kind}. Does its script save it? {folder.script}")
        path = _place(folder, kind, output)
        _compare(folder, kind, path, output)
        try:
            values[kind] = _READERS[kind](path)
        except Exception as error:
            # Whatever a library raises for a file that the machine has left broken.
            raise JobLostError(f"The {kind} of {folder.name} cannot be read, although it is as its machine has left it: {path}") from error
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
    """Return what a function has returned, by dataset.

    Args:
        folder: the job's.
        result: the job's.
        names: of the datasets.
        saved: what the machine has saved itself: such a value is its source, or its entry.
        volume: holds what was saved by key.
        earlier: whether an earlier run did the job, so that what an entry loads must still be the version that it saved.

    Raises:
        JobLostError: an output is missing, or is not what the result says of it.
    """
    values: dict[str, Any] = {}
    for name in names:
        output = result.outputs.get(name)
        if output is None:
            raise JobLostError(f"{folder.name} is done but has left no `{name}`. Does its script save it? {folder.script}")
        entry = saved.get(name)
        if isinstance(entry, VersionedSource):
            values[name] = _version_on_volume(folder, name, output, volume, entry, latest=earlier)
            continue
        if isinstance(entry, VolumeSource):
            if output.key != entry.key:
                raise JobLostError(f"{folder.name} has not saved `{name}` as {entry.key}, according to its result.")
            _compare_on_volume(folder, name, output, volume)
            values[name] = entry
            continue
        if isinstance(entry, RemoteEntry):
            _compare_on_store(folder, entry, output, latest=earlier)
            values[name] = entry
            continue
        path = _place(folder, name, output)
        _compare(folder, name, path, output)
        doubt = _doubt_about(folder, path, volume) if isinstance(volume, DirectoryVolume) else "It was on a volume that others may share."
        # The file's extension is the machine's word: it may select any reader but the one that runs code.
        unpickle = holds_pickle(path)
        if unpickle and doubt and not is_signed(folder.name, result, name, output):
            raise UnsignedError(
                f"`{name}` of {folder.name} is a pickle that this client's key has not signed, and reading it would run its code. {doubt} "
                f"Clients that share finished work need the same {MASTER_KEY_VARIABLE}."
            )
        try:
            values[name] = read_partitions(path, unpickle=unpickle) if path.is_dir() else read_value(path, unpickle=unpickle)
        except InputError as error:
            raise JobLostError(f"`{name}` of {folder.name} cannot be read on this computer: {error}") from error
    return values


def _version_on_volume(
    folder: JobFolder, name: str, output: JobOutput, volume: Volume, source: VersionedSource, *, latest: bool
) -> VolumeSource:
    """Return the version of a table that a machine has saved; if `latest`, a load of its entry has to find that one still.

    Raises:
        JobLostError: it is not there as it was saved, or is not what a load finds.
    """
    key = str(output.key)
    if not is_version_of(key, source.key):
        raise JobLostError(f"{folder.name} has not saved `{name}` as a version of {source.key}, according to its result.")
    _compare_on_volume(folder, name, output, volume)
    if latest and (latest_key := source.versions.latest_key()) != key:
        raise JobLostError(f"`{name}` has another version, {latest_key}, than {key}, which {folder.name} has saved.")
    source.versions.saved(key)
    return source.at(key)


def _compare_on_volume(folder: JobFolder, name: str, output: JobOutput, volume: Volume) -> None:
    """Check that the volume still has what a machine has saved: by its size and time, or by the ETag at the first check."""
    key = str(output.key)
    try:
        identity = volume.identity(key)
    except SourceError as error:
        raise JobLostError(f"{folder.name} has saved `{name}` as {key}, which no longer exists: {error.message}") from error
    if isinstance(volume, DirectoryVolume):
        same = volume.path(key).stat().st_mtime_ns == output.modified_ns
    else:
        marks: dict[str, Any] = folder.read_json(folder.saved) or {}
        # The time is part of the mark: a later run of the same job may have saved another file of the same size.
        mark = [output.modified_ns, identity.etag]
        if name in marks:
            same = marks[name] == mark
        else:
            # The first check from this computer. An ETag is the content's MD5, unless the file was uploaded in parts.
            same = output.md5 in (None, identity.etag) or not re.fullmatch("[0-9a-f]{32}", identity.etag or "")
            folder.write_json(folder.saved, {**marks, name: mark})
    if not same or identity.size != output.size:
        raise JobLostError(f"{key} on the volume {volume.name} is not what {folder.name} has saved: it was changed since.")


def _compare_on_store(folder: JobFolder, entry: RemoteEntry, output: JobOutput, *, latest: bool) -> None:
    """Check that the store still has what a machine has saved by an entry; if `latest`, also that no later version would be loaded."""
    stored = output.stored or {}
    version = None if stored.get("version") is None else str(stored["version"])
    try:
        latest_version = entry.load_version()
        identity = entry.identity(version).content
    except SourceError as error:
        raise JobLostError(f"{folder.name} has saved `{entry.name}`, but now: {error.message}") from error
    if {**identity, "version": version} != stored:
        raise JobLostError(f"{entry.redacted} is not what {folder.name} has saved: it was changed since.")
    if latest and latest_version != version:
        raise JobLostError(f"{entry.redacted} has another version, {latest_version}, than the one that {folder.name} has saved.")


def _place(folder: JobFolder, name: str, output: JobOutput) -> Path:
    """Return where an output is in the job folder.

    Raises:
        JobLostError: the result does not say it, or a link leads out of the folder.
    """
    path = folder.path / output.path
    if not output.path:
        raise JobLostError(f"{folder.name} is done, but its result does not name the file of `{name}`.")
    above = [parent for parent in path.parents if folder.path in parent.parents]
    if any(part.is_symlink() for part in (path, *above, *(path.rglob("*") if path.is_dir() else ()))):
        raise JobLostError(f"{folder.name} has left `{name}` as a link, which no machine makes: {path}")
    return path


def _doubt_about(folder: JobFolder, path: Path, volume: DirectoryVolume) -> str:
    """Return why an output on this computer's disk may be another user's; empty where only this user can have written it.

    With it, a script that was run by hand needs no signature. The volume's own folder is not checked: it may be shared.
    """
    above = (parent for parent in path.parents if volume.root in parent.parents)
    for place in (folder.result, path, *(path.rglob("*") if path.is_dir() else ()), *above):
        state = place.stat()
        if state.st_uid != os.geteuid():
            return f"{place} belongs to another user."
        shared = state.st_mode & stat.S_IWGRP and not _is_group_of_one(state.st_gid)
        if shared or state.st_mode & stat.S_IWOTH:
            return f"Others may write to {place}; if nobody has: chmod go-w."
    return ""


def _is_group_of_one(group: int) -> bool:
    """Return whether a group is this user's alone, which many systems make for each user and let write to all of the user's files."""
    try:
        user, entry = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return entry.gr_name == user and set(entry.gr_mem) <= {user}


def _compare(folder: JobFolder, kind: str, path: Path, output: JobOutput) -> None:
    if not path.exists():
        raise JobLostError(f"{folder.name} has left its {kind} in {path}, according to its result, but there is no such file.")
    if path.is_file():
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    else:
        digest = folder_digest(path)
    if digest != output.sha256:
        raise JobLostError(f"{path} is not what {folder.name} has written: its sha256 differs from the one in {folder.result}.")


def _read_json(path: Path) -> Any:
    import json  # noqa: PLC0415

    return json.loads(path.read_text(encoding="utf-8"))


def _read_metrics(path: Path) -> Any:
    metrics = _read_json(path)
    if not isinstance(metrics, dict):
        raise TypeError("metrics are numbers by name")
    return metrics


def _read_rows(path: Path) -> Any:
    import pandas as pd  # noqa: PLC0415  # takes half a second, which `kedro --help` should not wait for

    rows = _read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TypeError("a table has rows")
    return pd.DataFrame(rows)


def _read_parquet(path: Path) -> Any:
    import pandas as pd  # noqa: PLC0415

    return pd.read_parquet(path)


_READERS: dict[str, Callable[[Path], Any]] = {
    "model": load_model,
    "metrics": _read_metrics,
    "history": _read_rows,
    "importance": _read_rows,
    "predictions": _read_parquet,
}
