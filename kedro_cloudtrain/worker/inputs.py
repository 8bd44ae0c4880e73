"""The places of a job's inputs: on the volume, behind a URL, or in the job's own folder."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .protocol import JOBS, READ_TIMEOUT_VARIABLE, SENT, SPEC, URL_SECRETS_VARIABLE, VOLUME_VARIABLE
from .scratch import scratch_of_process

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .locations import Location


def input_location(
    folder: Path,
    key: str | None,
    url: str | None,
    file: str | None,
    file_format: str | None,
    load_args: Mapping[str, Any] | None,
) -> Location:
    """Return the location of the one source that is given; a URL's secrets are in the environment."""
    from .locations import Location  # a job without a table needs no location
    from .urls import READ_TIMEOUT_S

    args = dict(load_args or {})
    if url is not None:
        secrets = json.loads(os.environ.get(URL_SECRETS_VARIABLE) or "{}").get(url, {})
        timeout_s = float(os.environ.get(READ_TIMEOUT_VARIABLE) or READ_TIMEOUT_S)
        return Location(url, file_format, args, secrets.get("headers", {}), secrets.get("query", ""), timeout_s)
    if file is not None:
        return Location(str(sent_file(folder, file)), file_format, args)
    return Location(str(volume_of(folder) / str(key)), file_format, args)


def sent_file(folder: Path, file: str) -> Path:
    """Return the path of a sent input: beside the script, or in the folder that the jobs of a volume share."""
    beside = folder / file
    return beside if beside.exists() else folder.parents[1] / file


def laid_out(folder: Path, contents: str) -> tuple[Path, int]:
    """Lay out sent files at their places, for as long as this process lives, and return their folder and their size in bytes.

    Args:
        folder: the job's.
        contents: the sent list of the files.
    """
    place = scratch_of_process()
    return place, lay_out(folder, contents, place)


def lay_out(folder: Path, contents: str, place: Path) -> int:
    """Lay out sent files at their places in a folder, and return their size in bytes.

    Args:
        folder: the job's.
        contents: the sent list of the files.
        place: the folder to fill.
    """
    size = 0
    for name, sent in json.loads(sent_file(folder, contents).read_text(encoding="utf-8")).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        file = sent_file(folder, f"{SENT}/{sent}")
        (place / name).symlink_to(file)
        size += file.stat().st_size
    return size


def volume_of(folder: Path) -> Path:
    """Return the volume's path: from the environment, from the job folder's place, or from the job's spec."""
    named = os.environ.get(VOLUME_VARIABLE)
    if named:
        return Path(named)
    if folder.parent.parts[-2:] == PurePosixPath(JOBS).parts:
        return folder.parents[2]
    with contextlib.suppress(OSError, ValueError, KeyError):
        return Path(json.loads((folder / SPEC).read_text(encoding="utf-8"))["volume_path"])
    return folder
