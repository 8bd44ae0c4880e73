"""What a value refers to instead of holding it: a file, a loader, a connection, the code of a class. Its file says nothing of it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import types
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.jobs.paths import Paths, columns_of, texts_of_array, texts_of_column, texts_of_json
from kedro_cloudtrain.worker.values import is_frame, is_json

if TYPE_CHECKING:
    from collections.abc import Iterable

# Functions of these names return what is behind their arguments, whatever library they belong to.
_LOADER = re.compile(r"(load|read|open|scan|fetch|connect|download)(_|$)", re.IGNORECASE)
# By module and name, since they may not be installed: frames and tables that are computed when they are asked for.
_LAZY_MODULES = ("dask", "ibis", "pyspark", "snowflake", "duckdb", "sqlalchemy", "fsspec", "s3fs", "gcsfs", "adlfs", "xarray.backends")
_LAZY_KINDS = ("pyarrow._dataset", "h5py", "zarr.core", "zarr.storage")


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


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What a value needs besides what its file holds.

    Attributes:
        reference: the first thing that it refers to instead of holding it, one that is surely no data before any other; None for data.
        modules: those of its classes and functions, which the file has by name alone: without their code, it could not be read.
    """

    reference: Reference | None = None
    modules: frozenset[str] = frozenset()


def reference_in(value: Any) -> Reference | None:
    """Return the first thing that a value refers to instead of holding, one that is certainly not data before others; None for data."""
    return surroundings_of(value).reference


def surroundings_of(value: Any) -> Surroundings:
    """Return what a value needs besides what its file holds."""
    search = _Search()
    if is_json(value):
        search.texts(texts_of_json(value))
    elif is_frame(value):
        search.frame(value)
    else:
        search.objects(value)
    return Surroundings(min(search.references, key=lambda reference: not reference.certain, default=None), frozenset(search.modules))


class _Search:
    """A search through the parts of a value.

    Attributes:
        references: what it refers to.
        modules: those of its classes and functions.
    """

    def __init__(self) -> None:
        self.references: list[Reference] = []
        self.modules: set[str] = set()
        self._paths = Paths()
        self._sources: set[str] = set()
        self._kinds: dict[type, str | None] = {}

    def texts(self, texts: Iterable[Any]) -> None:
        """Search texts for a path."""
        path = self._paths.first(texts)
        if path is not None and path not in self._sources:
            self.references.append(Reference(f"the path {path}, which is on this computer", certain=False))

    def frame(self, frame: Any) -> None:
        """Search a table: of its columns, those of objects may hold more than texts and numbers."""
        more = []
        for column in columns_of(frame):
            texts = texts_of_column(column)
            if texts is None:
                more += list(column)
            else:
                self.texts(texts)
        self.objects([more, frame.attrs, [column.dtype for column in columns_of(frame)]])

    def objects(self, value: Any) -> None:
        """Search what a pickle of a value would have."""
        import cloudpickle  # noqa: PLC0415  # only for values that are neither a table nor JSON

        search = self

        class Scanner(cloudpickle.Pickler):
            def persistent_id(self, part: Any) -> None:
                search.part(part)

        # What cannot be pickled is refused where it is written, with the reason.
        with contextlib.suppress(Exception):
            Scanner(_Nowhere()).dump(value)

    def part(self, part: Any) -> None:
        """Look at one part of a value."""
        kind = type(part)
        if kind is str:
            self.texts((part,))
            return
        self.modules.add(str(kind.__module__))
        if isinstance(part, type | types.FunctionType):
            self.modules.add(str(part.__module__))
        elif isinstance(part, types.ModuleType):
            self.modules.add(part.__name__)
        elif isinstance(part, types.CodeType):
            self._sources.add(part.co_filename)  # the code itself goes along
        if kind not in self._kinds:
            self._kinds[kind] = _not_data(kind)
        reference = _reference(part, self._kinds[kind])
        if reference is not None:
            self.references.append(reference)
        self.texts(texts_of_array(part))


class _Nowhere(io.RawIOBase):
    """A file that keeps nothing of what is written to it."""

    def write(self, content: Any) -> int:
        return len(content)


def _reference(part: Any, what: str | None) -> Reference | None:
    """Return what one part of a value is, if it is not data.

    Args:
        part: the part.
        what: what is known of its type.
    """
    if isinstance(part, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        name = getattr(part, "__name__", "")
        return Reference(f"the loader {name}(), whose data is elsewhere", certain=False, elsewhere=True) if _LOADER.match(name) else None
    if isinstance(part, PurePath):
        return Reference(f"the path {part}", certain=True)
    if type(part).__name__ == "LazyFrame" and type(part).__module__.startswith("polars") and "SCAN" in part.explain(optimized=False):
        return Reference("a LazyFrame over files", certain=True)
    return Reference(what, certain=True) if what is not None else None


def _not_data(kind: type) -> str | None:
    """Return what the objects of a type are, if they are surely no data."""
    names = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
    if issubclass(kind, Iterator) and not issubclass(kind, io.IOBase):
        return f"a {kind.__name__}, which can be read once and only here"
    if "kedro.io.core.AbstractDataset" in names:
        return f"a {kind.__name__}, a dataset"
    if any(name.startswith(tuple(f"{module}." for module in _LAZY_MODULES)) or name.startswith(_LAZY_KINDS) for name in names):
        return f"a {kind.__name__} of {kind.__module__.partition('.')[0]}"
    return None
