"""Texts that are paths of this computer, and the texts that a value holds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_PATH = 1024
# When this many texts of a column all look like paths, they are keys: the rest is not looked at.
_MOST_CANDIDATES = 1_000_000
# Where a pattern of paths begins to be one: `data/*.csv`, `data/{year}.csv`.
_PATTERN = re.compile(r"[*?\[{]")
_PLAIN_KINDS = ("string", "empty", "boolean", "integer", "floating")


class Paths:
    """Knows which texts are paths of this computer: each text, and each folder, is looked up once."""

    def __init__(self) -> None:
        self._folders: dict[str, bool] = {}
        self._looked_up: set[str] = set()

    def first(self, texts: Iterable[Any]) -> str | None:
        """Return the first text that is a path on this computer; values other than text are skipped."""
        return next((text for text in texts if isinstance(text, str) and self._is_one(text)), None)

    def _is_one(self, text: str) -> bool:
        place = text.removeprefix("file://")
        inner = place.strip("/\\")
        alone = "/" not in inner and "\\" not in inner
        if len(text) > _LONGEST_PATH or "://" in place or "\n" in text or "\0" in text or (alone and "." not in inner.strip(".")):
            return False
        if text in self._looked_up or len(self._looked_up) >= _MOST_CANDIDATES:
            return False
        self._looked_up.add(text)
        # By os.path throughout: a Path raises for a name that is too long, and takes ten times as long for each of many texts.
        if alone:
            # A word is not a path, even if it names a folder beside the project's; one with an ending may be the name of a file.
            return os.path.isfile(place)  # noqa: PTH113
        pattern = _PATTERN.search(place)
        place = os.path.expanduser(place if pattern is None else place[: pattern.start()])  # noqa: PTH111
        folder = os.path.dirname(place)  # noqa: PTH120
        if folder not in self._folders:
            self._folders[folder] = os.path.isdir(folder or ".")  # noqa: PTH112
        return self._folders[folder] and (pattern is not None or os.path.exists(place))  # noqa: PTH110


def texts_of_json(value: Any) -> Iterator[str]:
    """Yield each text of a JSON value, the keys of its objects as well."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, list | tuple):
            waiting += part
        elif isinstance(part, Mapping):
            waiting += [*part, *part.values()]


def columns_of(frame: Any) -> Iterator[Any]:
    """Yield a frame's columns, its index and the index of its columns, those of several levels by their levels."""
    for index in (frame.index, frame.columns):
        yield from getattr(index, "levels", [index])
    yield from (column for _, column in frame.items())


def texts_of_column(column: Any) -> Iterable[Any] | None:
    """Return the different values of a column that holds texts; none for one of numbers or dates, and None for one of objects."""
    from pandas.api.types import infer_dtype  # noqa: PLC0415  # a table comes with pandas

    kind = getattr(column.dtype, "categories", column)  # those of a category are all its values
    if kind.dtype == object:
        plain = infer_dtype(kind)
        return None if plain not in _PLAIN_KINDS else kind.unique() if plain == "string" else ()
    return kind.unique() if "str" in str(kind.dtype) else ()


def texts_of_array(array: Any) -> Iterable[Any]:
    """Return the different texts of an array or a table whose pickle holds them as one piece: of numpy, pandas, pyarrow or polars."""
    read = _ARRAYS.get(type(array).__module__.partition(".")[0])
    return () if read is None or isinstance(array, type) else read(array)


def _of_numpy(array: Any) -> Iterable[Any]:
    import numpy as np  # noqa: PLC0415  # it is there, since the array is

    return list(np.unique(array)) if getattr(array, "ndim", 0) and array.dtype.kind in "UT" else ()


def _of_pandas(array: Any) -> Iterable[Any]:
    # The objects of an array of objects are looked at one by one.
    return list(array.unique()) if hasattr(array, "unique") and "str" in str(getattr(array, "dtype", "")) else ()


def _of_pyarrow(array: Any) -> Iterable[Any]:
    if hasattr(array, "columns"):
        return [text for column in array.columns for text in _of_pyarrow(column)]
    if "string" not in str(getattr(array, "type", "")) or not hasattr(array, "unique"):
        return ()
    try:
        return list(array.unique().to_pylist())
    except NotImplementedError:  # of lists or structures
        return list(texts_of_json(array.to_pylist()))


def _of_polars(array: Any) -> Iterable[Any]:
    if hasattr(array, "get_columns"):
        return [text for column in array.get_columns() for text in _of_polars(column)]
    kind = str(getattr(array, "dtype", ""))
    if kind.startswith(("String", "Categorical", "Enum")):
        return list(array.unique())
    return list(texts_of_json(array.to_list())) if "String" in kind and hasattr(array, "to_list") else ()


_ARRAYS: dict[str, Callable[[Any], Iterable[Any]]] = {
    "numpy": _of_numpy,
    "pandas": _of_pandas,
    "pyarrow": _of_pyarrow,
    "polars": _of_polars,
}
