"""The readers of tables, one for each format, and their errors in a user's words."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    import pandas as pd

    from .locations import Location

TEXT = ("csv", "tsv", "jsonl")
# Enough rows to guess a column's type; the rest of the file may still differ.
_SNIFFED_ROWS = 10_000
_MAGIC_BYTES = 8
_JSON_LINES = 50_000
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip"}


@contextlib.contextmanager
def explained(location: Location) -> Iterator[None]:
    """Turn a reader's error into one in a user's words."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # each reader raises its own: zipfile's, xlrd's, pyarrow's
        raise reason(location, error) from error


def reason(location: Location, error: Exception) -> InputError:
    """Return what a reader's error means for a user."""
    if isinstance(error, ImportError) and location.format in ("xlsx", "xls"):
        return InputError(f'{location.place} needs a reader that is not installed: pip install "kedro-cloudtrain[excel]"')
    if isinstance(error, TypeError) and "unexpected keyword" in str(error):
        return InputError(f"{location.place}: load_args has an argument that the {location.format} reader does not take: {error}.")
    message = str(error).splitlines()[0] if str(error) else repr(error)
    if isinstance(error, UnicodeDecodeError):
        return InputError(f"{location.place} is not in UTF-8 ({message}). Give its encoding, such as load_args: {{encoding: latin-1}}.")
    return InputError(f"{location.place} cannot be read as {location.format}: {message}. Check the file, file_format and load_args.")


def _require(location: Location, columns: Sequence[str] | None, header: Sequence[Any]) -> None:
    """Raise if a table lacks one of the columns."""
    names = [str(name) for name in header]
    for column in columns or ():
        if column not in names:
            close = nearest(column, names)
            hint = f" Did you mean `{close}`?" if close else ""
            other = next((mark for mark in (";", "\t", "|", ",") if len(names) == 1 and mark in names[0]), None)
            if other is not None and location.format in ("csv", "tsv"):
                hint = f" It seems to be separated by {other!r}: add load_args: {{sep: {json.dumps(other)}}}."
            shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")  # noqa: PLR2004  # a line's worth
            raise InputError(f"{location.place} has no column `{column}`.{hint} Columns: {shown} ({len(names)}).")


def reader_args(location: Location, file: Any) -> dict[str, Any]:
    """Return the arguments of the pandas reader."""
    for name in ("chunksize", "iterator"):
        if location.load_args.get(name):
            raise InputError(f"{location.place}: load_args.{name} asks for a table in pieces, and a node gets it whole: remove it.")
    args = dict(location.load_args)
    if location.format in TEXT:
        if isinstance(file, Path):
            with file.open("rb") as stream:
                args.setdefault("compression", packing(stream.read(_MAGIC_BYTES)))
        if location.format == "jsonl":
            args.pop("lines", None)
        return {**({"sep": "\t"} if location.format == "tsv" else {}), **args}
    if not isinstance(args.get("sheet_name", 0), str | int):
        raise InputError(f"{location.place}: load_args.sheet_name is {args['sheet_name']!r}: give the name or the number of one sheet.")
    return {"engine": "openpyxl" if location.format == "xlsx" else "xlrd", **args}


def packing(beginning: bytes) -> str | None:
    """Return how a text file is packed, in pandas' words: a server may have unpacked a file whose name says that it is packed."""
    return next((name for magic, name in _PACKINGS.items() if beginning.startswith(magic)), None)


def _read_csv(path: Path, location: Location, columns: Sequence[str] | None, float32: Container[str] | None) -> pd.DataFrame:
    import pandas as pd

    args = reader_args(location, path)
    with explained(location):
        head = pd.read_csv(path, **{**args, "nrows": min(_SNIFFED_ROWS, args.get("nrows") or _SNIFFED_ROWS)})
        _require(location, columns, head.columns)
        labels = {str(label): label for label in head.columns}
        if columns is not None:
            _select_columns(args, [labels[name] for name in columns], list(head.columns))
        numbers = [label for name, label in labels.items() if name in (float32 or ()) and is_number(head[label])]
        dtype = args.pop("dtype", {})
        if isinstance(dtype, dict):
            try:
                # Read as float32 at once, which takes half of float64's memory.
                frame = pd.read_csv(path, dtype={**dict.fromkeys(numbers, "float32"), **dtype}, **args)
            except (ValueError, TypeError):
                # A later row is not a number: let the reader guess every column's type, from all rows at once.
                one_guess = {} if "engine" in args or len(str(args.get("sep", args.get("delimiter", ",")))) > 1 else {"low_memory": False}
                frame = pd.read_csv(path, dtype=dtype or None, **{**one_guess, **args})
        else:
            frame = pd.read_csv(path, dtype=dtype, **args)
    if columns is not None:
        frame = frame[[labels[name] for name in columns]]
        frame.columns = list(columns)
    return frame


def _select_columns(args: dict[str, Any], labels: list[Any], header: list[Any]) -> None:
    """Change the arguments for a whole csv file into those for some of its columns."""
    args["usecols"] = labels
    # Columns are selected by name: an index_col would count among those that are read.
    args.pop("index_col", None)
    dates = args.get("parse_dates")
    if isinstance(dates, list):
        named = [header[date] if isinstance(date, int) and date not in header and date < len(header) else date for date in dates]
        args["parse_dates"] = [date for date in named if date in labels]


def parquet_args(location: Location) -> list[str] | None:
    """Return the columns that `load_args` selects; None for all.

    Raises:
        InputError: `load_args` has another argument.
    """
    unknown = [name for name in location.load_args if name not in ("columns", "engine")]
    if unknown:
        raise InputError(f"{location.place}: load_args has {unknown[0]!r}: a parquet file takes `columns` only.")
    columns: list[str] | None = location.load_args.get("columns")
    return columns


def read_parquet(file: Any, location: Location, columns: Sequence[str] | None, float32: Container[str] | None) -> pd.DataFrame:
    """Read a parquet file's columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with explained(location):
        names = parquet_args(location) if columns is None else list(columns)
        parquet = pq.ParquetFile(file, pre_buffer=True)
        _require(location, names, parquet.schema_arrow.names)
        table = parquet.read(columns=names, use_pandas_metadata=columns is None)
        if float32 is not None:
            # pandas would hold decimals as Python objects, not as numbers.
            for index, field in enumerate(table.schema):
                if pa.types.is_decimal(field.type):
                    table = table.set_column(index, field.name, table.column(index).cast(pa.float64()))
        # Column by column, so that Arrow's memory is freed as pandas' is filled.
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True, date_as_object=float32 is None)
    return frame if columns is None else frame[list(columns)]


def _read_jsonl(path: Path, location: Location, columns: Sequence[str] | None, _: object = None) -> pd.DataFrame:
    import pandas as pd

    args = reader_args(location, path)
    with explained(location):
        kept, header = [], {}
        with contextlib.ExitStack() as opened:
            if "nrows" in args:  # pandas 2.1 ignores it together with chunksize
                pieces: Iterable[pd.DataFrame] = [pd.read_json(path, lines=True, **args)]
            else:
                pieces = opened.enter_context(pd.read_json(path, lines=True, chunksize=_JSON_LINES, **args))
            for piece in pieces:
                # A line may lack a key that others have; a column is missing if no line has it.
                header.update(dict.fromkeys(piece.columns))
                kept.append(piece if columns is None else piece[[*piece.columns.intersection(columns)]])
        kinds = [{str(name): is_number(piece[name]) for name in piece.columns if piece[name].notna().any()} for piece in kept]
        if any(kind.get(name, number) != number for kind in kinds for first in kinds[:1] for name, number in first.items()):
            # "007" became 7 in a piece in which all values look like numbers, and stayed text in another piece.
            frame = pd.read_json(path, lines=True, **args)
        else:
            frame = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()
    if not header:
        return frame  # A file without lines has no columns: `read_table` refuses it.
    _require(location, columns, list(header))
    return frame if columns is None else frame[list(columns)]


def _read_excel(path: Path, location: Location, columns: Sequence[str] | None, _: object = None) -> pd.DataFrame:
    args = reader_args(location, path)
    with explained(location):
        frame = excel(path, args)
    _require(location, columns, frame.columns)
    return frame if columns is None else frame[list(columns)]


def excel(file: Any, args: dict[str, Any]) -> pd.DataFrame:
    """Read a sheet, with the columns' names as text."""
    import pandas as pd

    frame: pd.DataFrame = pd.read_excel(file, **args)
    # A header may hold numbers: years, for example.
    frame.columns = [str(name) for name in frame.columns]
    return frame


def is_number(values: pd.Series) -> bool:
    """Return whether a column holds numbers; booleans are not numbers."""
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype))


READERS: dict[str, Callable[..., Any]] = {
    "csv": _read_csv,
    "tsv": _read_csv,
    "parquet": read_parquet,
    "jsonl": _read_jsonl,
    "xlsx": _read_excel,
    "xls": _read_excel,
}
