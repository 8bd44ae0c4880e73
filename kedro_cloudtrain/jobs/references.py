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

from kedro_cloudtrain.worker.values import is_frame

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
    sources: set[str] = set()

    class Scanner(cloudpickle.Pickler):
        def persistent_id(self, part: Any) -> None:
            if isinstance(part, types.CodeType):
                sources.add(part.co_filename)  # the code itself goes along
            reference = _reference(part)
            if reference is not None and not (isinstance(part, str) and part in sources):
                found.append(reference)
                if reference.certain:
                    raise _FoundError

    if is_frame(value):
        from pandas.api.types import infer_dtype  # noqa: PLC0415  # a table comes with pandas

        # Of a table's columns, those of objects may hold more than texts and numbers.
        objects = [column for _, column in value.items() if column.dtype == object]
        value = [list(column) for column in objects if infer_dtype(column) not in ("string", "empty", "boolean", "integer", "floating")]
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
    if isinstance(part, str):
        return Reference(f"the path {part}, which is on this computer", certain=False) if _is_a_path(part) else None
    if isinstance(part, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        name = getattr(part, "__name__", "")
        return Reference(f"the loader {name}(), whose data is elsewhere", certain=False, elsewhere=True) if _LOADER.match(name) else None
    what = _not_data(part)
    return Reference(what, certain=True) if what is not None else None


def _not_data(part: Any) -> str | None:
    """Return what an object is that is surely no data."""
    kind = type(part)
    names = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
    if isinstance(part, PurePath):
        return f"the path {part}"
    if isinstance(part, Iterator) and not isinstance(part, io.IOBase):
        return f"a {kind.__name__}, which can be read once and only here"
    if "kedro.io.core.AbstractDataset" in names:
        return f"a {kind.__name__}, a dataset"
    if any(name.startswith(tuple(f"{module}." for module in _LAZY_MODULES)) or name.startswith(_LAZY_KINDS) for name in names):
        return f"a {kind.__name__} of {kind.__module__.partition('.')[0]}"
    if kind.__name__ == "LazyFrame" and kind.__module__.startswith("polars") and "SCAN" in part.explain(optimized=False):
        return "a LazyFrame over files"
    return None


def _is_a_path(text: str) -> bool:
    """Return whether a text is the path of something on this computer: `/` alone, or a word, is none."""
    if len(text) > _LONGEST_PATH or text.strip("/\\").count("/") + text.strip("/\\").count("\\") == 0 or "\n" in text or "\0" in text:
        return False
    return "://" not in text and os.path.exists(text)  # noqa: PTH110  # Path.exists raises for a name that is too long
