"""The readers of tables, one for each format, and what they find wrong in a user's words."""

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
# What tells a column's type in all likelihood; the rest of the file may still disagree.
_SNIFFED_ROWS = 10_000
_MAGIC_BYTES = 8
_JSON_LINES = 50_000
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip"}


@contextlib.contextmanager
def explained(location: Location) -> Iterator[None]:
    """Say what a reader found wrong with a file in a user's words."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # each reader has errors of its own: zipfile's, xlrd's, pyarrow's
        raise reason(location, error) from error


def reason(location: Location, error: Exception) -> InputError:
    """Say what a reader's error means for a user."""
    if isinstance(error, ImportError) and location.format in ("xlsx", "xls"):
        return InputError(f'{location.place} needs a reader that is not installed: pip install "kedro-cloudtrain[excel]"')
    if isinstance(error, TypeError) and "unexpected keyword" in str(error):
        return InputError(f"{location.place}: load_args has what the {location.format} reader does not take: {error}.")
    said = str(error).splitlines()[0] if str(error) else repr(error)
    if isinstance(error, UnicodeDecodeError):
        return InputError(f"{location.place} is not in UTF-8 ({said}). Say what it is in: load_args: {{encoding: latin-1}}, for one.")
    return InputError(f"{location.place} cannot be read as {location.format}: {said}. Check the file, file_format and load_args.")


def _require(location: Location, columns: Sequence[str] | None, known: Sequence[Any]) -> None:
    """Refuse a column that a table does not have."""
    names = [str(name) for name in known]
    for column in columns or ():
        if column not in names:
            close = nearest(column, names)
            hint = f" Closest: {close}." if close else ""
            other = next((mark for mark in (";", "\t", "|", ",") if len(names) == 1 and mark in names[0]), None)
            if other is not None and location.format in ("csv", "tsv"):
                hint = f" It seems to be separated by {other!r}: give load_args: {{sep: {json.dumps(other)}}}."
            shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")  # noqa: PLR2004  # a line's worth
            raise InputError(f"{location.place} has no column `{column}`.{hint} Columns: {shown} ({len(names)}).")


def reader_args(location: Location, file: Any) -> dict[str, Any]:
    """Give the arguments of the pandas reader."""
    for name in ("chunksize", "iterator"):
        if location.load_args.get(name):
            raise InputError(f"{location.place}: load_args.{name} asks for pieces of a table, where the table is wanted: take it out.")
    args = dict(location.load_args)
    if location.format in TEXT:
        if isinstance(file, Path):
            with file.open("rb") as stream:
                args.setdefault("compression", packing(stream.read(_MAGIC_BYTES)))
        if location.format == "jsonl":
            args.pop("lines", None)
        return {**({"sep": "\t"} if location.format == "tsv" else {}), **args}
    if not isinstance(args.get("sheet_name", 0), str | int):
        raise InputError(f"{location.place}: load_args.sheet_name is {args['sheet_name']!r}: name one sheet, or give its number.")
    return {"engine": "openpyxl" if location.format == "xlsx" else "xlrd", **args}


def packing(beginning: bytes) -> str | None:
    """Tell how a text file is packed, in pandas' words: a server may have unpacked what its name says is packed."""
    return next((name for magic, name in _PACKINGS.items() if beginning.startswith(magic)), None)


def _read_csv(path: Path, location: Location, columns: Sequence[str] | None, float32: Container[str] | None) -> pd.DataFrame:
    import pandas as pd

    args = reader_args(location, path)
    with explained(location):
        head = pd.read_csv(path, **{**args, "nrows": min(_SNIFFED_ROWS, args.get("nrows") or _SNIFFED_ROWS)})
        _require(location, columns, head.columns)
        labels = {str(label): label for label in head.columns}
        if columns is not None:
            _leave_out_the_rest(args, [labels[name] for name in columns], list(head.columns))
        numbers = [label for name, label in labels.items() if name in (float32 or ()) and is_number(head[label])]
        dtype = args.pop("dtype", {})
        if isinstance(dtype, dict):
            try:
                # Straight into float32: half of what float64 takes while the file is read.
                frame = pd.read_csv(path, dtype={**dict.fromkeys(numbers, "float32"), **dtype}, **args)
            except (ValueError, TypeError):
                # A later row is no number: the reader's own guess for every column, made from all rows at once.
                one_guess = {} if "engine" in args or len(str(args.get("sep", args.get("delimiter", ",")))) > 1 else {"low_memory": False}
                frame = pd.read_csv(path, dtype=dtype or None, **{**one_guess, **args})
        else:
            frame = pd.read_csv(path, dtype=dtype, **args)
    if columns is not None:
        frame = frame[[labels[name] for name in columns]]
        frame.columns = list(columns)
    return frame


def _leave_out_the_rest(args: dict[str, Any], labels: list[Any], known: list[Any]) -> None:
    """Turn the arguments for a whole csv into those for some of its columns."""
    args["usecols"] = labels
    # Columns are asked for by name: none of them is an index, whose number would count among those that are read.
    args.pop("index_col", None)
    dates = args.get("parse_dates")
    if isinstance(dates, list):
        named = [known[date] if isinstance(date, int) and date not in known and date < len(known) else date for date in dates]
        args["parse_dates"] = [date for date in named if date in labels]


def parquet_args(location: Location) -> list[str] | None:
    """Give the columns that `load_args` asks for; None for all.

    Raises:
        InputError: they ask for something else, too.
    """
    unknown = [name for name in location.load_args if name not in ("columns", "engine")]
    if unknown:
        raise InputError(f"{location.place}: load_args has {unknown[0]!r}, which is not taken for parquet. Known here: columns.")
    columns: list[str] | None = location.load_args.get("columns")
    return columns


def read_parquet(file: Any, location: Location, columns: Sequence[str] | None, float32: Container[str] | None) -> pd.DataFrame:
    """Read a parquet file's columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with explained(location):
        wanted = parquet_args(location) if columns is None else list(columns)
        parquet = pq.ParquetFile(file, pre_buffer=True)
        _require(location, wanted, parquet.schema_arrow.names)
        table = parquet.read(columns=wanted, use_pandas_metadata=columns is None)
        if float32 is not None:
            # What pandas would hold as Python objects is a number, too.
            for index, field in enumerate(table.schema):
                if pa.types.is_decimal(field.type):
                    table = table.set_column(index, field.name, table.column(index).cast(pa.float64()))
        # Arrow's memory goes column by column as pandas' comes.
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True, date_as_object=float32 is None)
    return frame if columns is None else frame[list(columns)]


def _read_jsonl(path: Path, location: Location, columns: Sequence[str] | None, _: object = None) -> pd.DataFrame:
    import pandas as pd

    args = reader_args(location, path)
    with explained(location):
        kept, known = [], {}
        with contextlib.ExitStack() as opened:
            if "nrows" in args:  # pandas 2.1 forgets it where pieces are asked for
                pieces: Iterable[pd.DataFrame] = [pd.read_json(path, lines=True, **args)]
            else:
                pieces = opened.enter_context(pd.read_json(path, lines=True, chunksize=_JSON_LINES, **args))
            for piece in pieces:
                # A line may lack a key that others have; a column that no line has is missing.
                known.update(dict.fromkeys(piece.columns))
                kept.append(piece if columns is None else piece[[*piece.columns.intersection(columns)]])
        kinds = [{str(name): is_number(piece[name]) for name in piece.columns if piece[name].notna().any()} for piece in kept]
        if any(one.get(name, number) != number for one in kinds for other in kinds[:1] for name, number in other.items()):
            # "007" became 7 where all of a piece looks like numbers, and stayed text in another.
            frame = pd.read_json(path, lines=True, **args)
        else:
            frame = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()
    if not known:
        return frame  # No line, no columns: `read_table` says so.
    _require(location, columns, list(known))
    return frame if columns is None else frame[list(columns)]


def _read_excel(path: Path, location: Location, columns: Sequence[str] | None, _: object = None) -> pd.DataFrame:
    args = reader_args(location, path)
    with explained(location):
        frame = excel(path, args)
    _require(location, columns, frame.columns)
    return frame if columns is None else frame[list(columns)]


def excel(file: Any, args: dict[str, Any]) -> pd.DataFrame:
    """Read a sheet, with its columns' names as text."""
    import pandas as pd

    frame: pd.DataFrame = pd.read_excel(file, **args)
    # A header may hold numbers, a year say.
    frame.columns = [str(name) for name in frame.columns]
    return frame


def is_number(values: pd.Series) -> bool:
    """Tell whether a column holds numbers; booleans are none."""
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
