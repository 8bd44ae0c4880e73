"""What a job says when it is done: its outputs with their sums, the versions, the memory that it took."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write `result.json` by rename: from then on the job is done."""
    temporary = folder / ".result.json"
    temporary.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(folder / "result.json")


def description(folder: Path, path: Path) -> dict[str, Any]:
    """Say an output's place, size in bytes and sha256; a folder's is that of its files' names and sums."""
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
    """Give a file's MD5, which is what an S3 API calls its ETag."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def folder_digest(folder: Path) -> str:
    """Give the sha256 of a folder: of its files' names and sums, in order."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    sums = json.dumps([[str(file.relative_to(folder)), _sha256(file)] for file in files])
    return hashlib.sha256(sums.encode()).hexdigest()


def version_of(name: str) -> str:
    """Give a package's version; one that comes under another name, xgboost as xgboost-cpu say, tells it itself."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(name), "__version__", "unknown"))


def peak_memory_bytes() -> int:
    """Give the most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # kilobytes on Linux, bytes on macOS (getrusage(2) of each)
    return peak if sys.platform == "darwin" else peak * 1024
