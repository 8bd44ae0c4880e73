"""A value as a file: a DataFrame as parquet, plain values as JSON, anything else by cloudpickle."""

from __future__ import annotations

import io
import json
import math
import re
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PARQUET, JSON, PICKLE = ".parquet", ".json", ".pickle"
_SURROGATE = re.compile("[\ud800-\udfff]")
# pyarrow's errors are of these types.
NOT_IN_PARQUET = (ValueError, TypeError, OverflowError, NotImplementedError)


def write_value(value: Any, folder: Path, name: str) -> Path:
    """Write a value, and return its file, whose extension says how to read it.

    A frame is written as parquet if parquet returns it unchanged, down to the type of each column and the kind of each missing value;
    otherwise (column names that are not text, objects of several types, numbers as categories) by cloudpickle.

    Args:
        value: the value.
        folder: the file's folder.
        name: the file's name without its extension.

    Raises:
        InputError: the value cannot be written: an open connection, for example.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_frame(value):
        file = folder / f"{name}{PARQUET}"
        try:
            if _fits_parquet(value):
                value.to_parquet(file)
                return file
        except NOT_IN_PARQUET:
            file.unlink(missing_ok=True)
    elif is_json(value):
        file = folder / f"{name}{JSON}"
        file.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        return file
    file = folder / f"{name}{PICKLE}"
    file.write_bytes(_pickled(value))
    return file


def is_pickle(file: Path) -> bool:
    """Return whether reading a file of `write_value` runs code: it is neither parquet nor JSON."""
    return file.suffix not in (PARQUET, JSON)


def read_value(file: Path, *, unpickle: bool = True) -> Any:
    """Read a value that `write_value` has written.

    Args:
        file: the value's file.
        unpickle: whether a pickle is read, which runs code: only from a trusted source.

    Raises:
        InputError: the value cannot be loaded in this process: its class is in a package that is not installed, for example.
    """
    if is_pickle(file) and not unpickle:
        raise InputError(f"{file.name} is a pickle, and is not read: reading it would run code that is not known to be the job's own.")
    try:
        if file.suffix == PARQUET:
            import pandas as pd

            return pd.read_parquet(file)
        if file.suffix == JSON:
            return json.loads(file.read_text(encoding="utf-8"))
        import pickle

        return pickle.loads(file.read_bytes())  # noqa: S301  # the job's own
    except Exception as error:
        # Mostly a missing package; otherwise whatever a class raises for the state of another release.
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{file.name} cannot be loaded ({reason}). Check that this computer and the machine have the same packages."
        ) from error


def _fits_parquet(frame: Any) -> bool:
    """Return whether parquet returns a frame unchanged. One row shows it, except for objects, each of which may be of any type."""
    import pandas as pd

    index, columns = frame.index, frame.columns
    if (
        frame.attrs
        or not frame.flags.allows_duplicate_labels
        or not frame.shape[1]
        or isinstance(index, pd.MultiIndex)
        or getattr(index, "freq", None) is not None
    ):
        return False
    objects = [values for values in (index, *(column for _, column in frame.items())) if values.dtype == object]
    if any(pd.api.types.infer_dtype(values, skipna=False) not in ("string", "empty") for values in objects):
        return False
    if any(_holds_both_gaps(column) for _, column in frame.items()):
        return False
    row, buffer = frame.head(1), io.BytesIO()
    try:
        row.to_parquet(buffer)
    except NOT_IN_PARQUET:
        return False
    back = pd.read_parquet(buffer)
    return all(
        _have_same_type(before, after)
        for before, after in [
            (index, back.index),
            (columns, back.columns),
            *((row.iloc[:, n], back.iloc[:, n]) for n in range(len(columns))),
        ]
    ) and bool((columns == back.columns).all())


def _holds_both_gaps(column: Any) -> bool:
    """Return whether a column of pandas' own numbers holds NaN, which is not NA: parquet makes one of the two."""
    if type(column.dtype).__name__ not in ("Float32Dtype", "Float64Dtype"):
        return False
    numbers = column.to_numpy(dtype=float, na_value=0.0)
    return bool((numbers != numbers).any())  # noqa: PLR0124  # only NaN is not itself


def _have_same_type(first: Any, second: Any) -> bool:
    """Return whether two columns, or indexes, have the same type and name."""
    categories = [values.dtype.categories.dtype for values in (first, second) if hasattr(values.dtype, "categories")]
    same = type(first) is type(second) and first.dtype == second.dtype and first.name == second.name
    return same and (not categories or categories[0] == categories[-1])


def is_frame(value: object) -> bool:
    """Return whether a value is a pandas DataFrame, without importing pandas."""
    kind = type(value)
    return kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"


def is_json(value: object) -> bool:
    """Return whether JSON returns a value unchanged: tuples, keys that are not text, NaN and infinity do not survive."""
    try:
        return _is_json(value)
    except RecursionError:
        return False  # It contains itself.


def _is_json(value: object) -> bool:
    kind = type(value)
    if value is None or kind in (bool, int):
        return True
    if kind is str:
        # A file cannot hold a lone surrogate.
        return not _SURROGATE.search(str(value))
    if kind is float:
        return math.isfinite(value)  # type: ignore[arg-type]  # it is a float
    if kind is list:
        return all(_is_json(inner) for inner in value)  # type: ignore[attr-defined]
    return kind is dict and all(type(key) is str and _is_json(key) and _is_json(inner) for key, inner in value.items())  # type: ignore[attr-defined]


def write_table(frame: Any, path: Path, file_format: str, args: Mapping[str, Any]) -> None:
    """Write a DataFrame in a table's format.

    Args:
        frame: the table.
        path: the file.
        file_format: csv, tsv, parquet, jsonl or xlsx.
        args: passed to the pandas writer.

    Raises:
        InputError: it is not a DataFrame, or the format has no writer, or one that is not installed.
    """
    if not hasattr(frame, "to_parquet"):
        raise InputError(f"A table is saved from a DataFrame; this is a {type(frame).__name__}.")
    try:
        _write(frame, path, file_format, args)
    except ImportError as error:
        from .readers import missing_package

        raise missing_package(path.name, error) from error


def _write(frame: Any, path: Path, file_format: str, args: Mapping[str, Any]) -> None:
    match file_format:
        case "csv" | "tsv":
            frame.to_csv(path, **{"index": False, "sep": "\t" if file_format == "tsv" else ",", **args})
        case "parquet":
            frame.to_parquet(path, **{"index": False, **args})
        case "jsonl":
            frame.to_json(path, orient="records", lines=True, **args)
        case "xlsx":
            frame.to_excel(path, engine="openpyxl", **{"index": False, **args})
        case _:
            raise InputError(str(without_writer(file_format)))


def without_writer(file_format: str) -> str | None:
    """Return what a user does about a format that is read only; None for one that can be written."""
    return "pandas no longer writes xls: give the entry a dataset_key that ends in .xlsx." if file_format == "xls" else None


def _pickled(value: Any) -> bytes:
    import cloudpickle

    try:
        content: bytes = cloudpickle.dumps(value)
    except Exception as error:
        # A class may raise anything when it is pickled: mostly a TypeError.
        raise InputError(f"A {type(value).__name__} cannot be pickled: {error}") from error
    return content
