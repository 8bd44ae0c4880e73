"""A value as a file: a DataFrame as parquet, what JSON has words for as JSON, anything else by cloudpickle."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PARQUET, JSON, PICKLE = ".parquet", ".json", ".pickle"


def write_value(value: Any, folder: Path, name: str) -> Path:
    """Write a value, and give its file, whose ending says how it is read.

    A frame that parquet cannot hold as it is (columns that are no text, objects of several types) goes by cloudpickle. What parquet holds
    comes back with the same index and types, but for a missing text, which is None then, whatever it was.

    Args:
        value: what it is.
        folder: where.
        name: the file's name without its ending.

    Raises:
        InputError: nothing can write it: an open connection, say.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_frame(value):
        file = folder / f"{name}{PARQUET}"
        try:
            if all(isinstance(column, str) for column in value.columns):
                value.to_parquet(file)
                return file
        except (ValueError, TypeError, OverflowError, NotImplementedError):
            # pyarrow's errors are of these types: a column of objects of several types, say.
            file.unlink(missing_ok=True)
    elif is_json(value):
        file = folder / f"{name}{JSON}"
        file.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        return file
    file = folder / f"{name}{PICKLE}"
    file.write_bytes(_pickled(value))
    return file


def read_value(file: Path) -> Any:
    """Read what `write_value` has written.

    A pickle runs code: it is read from the job's own folder alone.

    Raises:
        InputError: it holds what cannot be made here: a class of a package that is not installed, say.
    """
    if file.suffix == PARQUET:
        import pandas as pd

        return pd.read_parquet(file)
    if file.suffix == JSON:
        return json.loads(file.read_text(encoding="utf-8"))
    import pickle

    try:
        return pickle.loads(file.read_bytes())  # noqa: S301  # of the job itself
    except (ImportError, AttributeError) as error:
        raise InputError(f"{file.name} holds what cannot be made here: {error}. The package must be installed on both sides.") from error


def is_frame(value: object) -> bool:
    """Tell whether a value is a pandas DataFrame, without importing pandas."""
    kind = type(value)
    return kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"


def is_json(value: object) -> bool:
    """Tell whether JSON gives a value back as it was: no tuples, no keys but text, no numbers that it has no word for."""
    kind = type(value)
    if value is None or kind in (str, bool, int):
        return True
    if kind is float:
        return math.isfinite(value)  # type: ignore[arg-type]  # it is a float
    if kind is list:
        return all(is_json(inner) for inner in value)  # type: ignore[attr-defined]
    return kind is dict and all(type(key) is str and is_json(inner) for key, inner in value.items())  # type: ignore[attr-defined]


def write_table(frame: Any, path: Path, file_format: str, args: Mapping[str, Any]) -> None:
    """Write a DataFrame in a table's format.

    Args:
        frame: the table.
        path: where.
        file_format: csv, tsv, parquet, jsonl or xlsx.
        args: passed to the pandas writer.

    Raises:
        InputError: it is no DataFrame, or nobody writes the format.
    """
    if not hasattr(frame, "to_parquet"):
        raise InputError(f"A table is saved from a DataFrame; this is a {type(frame).__name__}.")
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
            raise InputError(f"No writer for {file_format} is maintained any more: give the dataset a key that ends in .xlsx.")


def _pickled(value: Any) -> bytes:
    import cloudpickle

    try:
        content: bytes = cloudpickle.dumps(value)
    except Exception as error:
        # Whatever an object of somebody's says when it is pickled: a TypeError, mostly.
        raise InputError(f"A {type(value).__name__} cannot travel: {error}") from error
    return content
