"""What a value refers to instead of holding it: a file, a loader, a connection. Its pickle would say nothing of the data behind it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import types
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

# Functions of these names return what is behind their arguments, whatever library they belong to.
_LOADER = re.compile(r"(load|read|open|scan|fetch|connect|download)(_|$)", re.IGNORECASE)
# By module and name, since they may not be installed: frames and tables that are computed when they are asked for.
_LAZY_MODULES = ("dask", "ibis", "pyspark", "snowflake", "duckdb", "sqlalchemy", "fsspec", "s3fs", "gcsfs", "adlfs", "xarray.backends")
_LAZY_KINDS = ("pyarrow._dataset", "h5py", "zarr.core", "zarr.storage")
_LONGEST_PATH = 1024


@dataclasses.dataclass(frozen=True)
class Reference:
    """One thing that a value refers to.

    Attributes:
        what: what it is, as the end of a sentence: "a path, /data/a.csv".
        certain: whether it is surely no data; a text that happens to be the path of a file may be both.
        elsewhere: whether another machine can reach it as well.
    """

    what: str
    certain: bool
    elsewhere: bool = False


def reference_in(value: Any) -> Reference | None:
    """Return the first thing that a value refers to instead of holding it, one that is surely no data before any other; None for data."""
    import cloudpickle  # noqa: PLC0415  # only for values that are neither a table nor JSON

    found: list[Reference] = []

    class Scanner(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def persistent_id(self, part: Any) -> None:
            reference = _reference(part)
            if reference is not None:
                found.append(reference)
                if reference.certain:
                    raise _FoundError

    # What cannot be pickled is refused where it is written, with the reason.
    with contextlib.suppress(Exception):
        Scanner(_Nowhere()).dump(value)
    return min(found, key=lambda reference: not reference.certain, default=None)


class _FoundError(Exception):
    """Ends a scan."""


class _Nowhere(io.RawIOBase):
    """A file that keeps nothing of what is written to it."""

    def write(self, content: Any) -> int:
        return len(content)


def _reference(part: Any) -> Reference | None:
    """Return what one part of a value is, if it is no data."""
    kind = type(part)
    if kind is str:
        return Reference(f"the path {part}, which is on this computer", certain=False) if _is_a_path(part) else None
    if isinstance(part, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        name = getattr(part, "__name__", "")
        return Reference(f"the loader {name}(), whose data is elsewhere", certain=False, elsewhere=True) if _LOADER.match(name) else None
    if isinstance(part, PurePath):
        return Reference(f"the path {part}", certain=True)
    if isinstance(part, Iterator) and not isinstance(part, io.IOBase):
        return Reference(f"a {kind.__name__}, which can be read once and only here", certain=True)
    names = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
    if "kedro.io.core.AbstractDataset" in names:
        return Reference(f"a {kind.__name__}, a dataset", certain=True)
    if any(name.startswith(tuple(f"{module}." for module in _LAZY_MODULES)) or name.startswith(_LAZY_KINDS) for name in names):
        return Reference(f"a {kind.__name__} of {kind.__module__.partition('.')[0]}", certain=True)
    if kind.__name__ == "LazyFrame" and kind.__module__.startswith("polars") and "SCAN" in part.explain(optimized=False):
        return Reference("a LazyFrame over files", certain=True)
    return None


def _is_a_path(text: str) -> bool:
    """Return whether a text is the path of something on this computer: `/` alone, or a word, is none."""
    if len(text) > _LONGEST_PATH or text.strip("/\\").count("/") + text.strip("/\\").count("\\") == 0 or "\n" in text or "\0" in text:
        return False
    return "://" not in text and os.path.exists(text)  # noqa: PTH110  # a text, which a Path would normalise
