"""Where a job's tables are: on the volume, behind a URL, or in its own folder."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Give the place of the one source that is named; a URL's secrets are in the environment."""
    from .locations import Location  # a job without a table needs none
    from .urls import READ_TIMEOUT_S

    args = dict(load_args or {})
    if url is not None:
        secrets = json.loads(os.environ.get("CLOUDTRAIN_URL_SECRETS") or "{}").get(url, {})
        timeout_s = float(os.environ.get("CLOUDTRAIN_READ_TIMEOUT_S") or READ_TIMEOUT_S)
        return Location(url, file_format, args, secrets.get("headers", {}), secrets.get("query", ""), timeout_s)
    if file is not None:
        return Location(str(sent_file(folder, file)), file_format, args)
    return Location(str(volume_of(folder) / str(key)), file_format, args)


def sent_file(folder: Path, file: str) -> Path:
    """Find a file that was sent along: beside the script, or where the jobs of a volume share them."""
    beside = folder / file
    return beside if beside.exists() else folder.parents[1] / file


def volume_of(folder: Path) -> Path:
    """Find the volume: named by the environment, above the job folder, or where the job's client had it."""
    named = os.environ.get("CLOUDTRAIN_VOLUME")
    if named:
        return Path(named)
    if folder.parent.name == "jobs" and folder.parent.parent.name == ".cloudtrain":
        return folder.parents[2]
    with contextlib.suppress(OSError, ValueError, KeyError):
        return Path(json.loads((folder / "job.json").read_text(encoding="utf-8"))["volume_path"])
    return folder
