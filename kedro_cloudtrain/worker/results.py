"""A job's result: its outputs with their checksums, the packages' versions, the memory that it took."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from typing import TYPE_CHECKING, Any

from .protocol import RESULT

if TYPE_CHECKING:
    from pathlib import Path


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write `result.json` by rename: once it exists, the job is done."""
    temporary = folder / f".{RESULT}"
    # A message may hold half a character, which no file can.
    temporary.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", errors="replace")
    temporary.replace(folder / RESULT)


def describe_output(folder: Path, path: Path) -> dict[str, Any]:
    """Return an output's path, size in bytes and sha256; a folder's sha256 is that of its files' names and checksums."""
    if path.is_file():
        return {"path": str(path.relative_to(folder)), "size": path.stat().st_size, "sha256": _sha256(path)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {
        "path": str(path.relative_to(folder)),
        "size": sum(file.stat().st_size for file in files),
        "sha256": folder_digest(path),
        "files": [str(file.relative_to(folder)) for file in files],
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def md5_of(file: Path) -> str:
    """Return a file's MD5, which an S3 API has as its ETag."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the sha256 of a folder: of its files' names and checksums, in order."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    checksums = json.dumps([[str(file.relative_to(folder)), _sha256(file)] for file in files])
    return hashlib.sha256(checksums.encode()).hexdigest()


def version_of(name: str) -> str:
    """Return a package's version, from the module itself if it is installed under another name (xgboost as xgboost-cpu)."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(name), "__version__", "unknown"))


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In kilobytes on Linux, in bytes on macOS (getrusage(2) of each).
    return peak if sys.platform == "darwin" else peak * 1024
