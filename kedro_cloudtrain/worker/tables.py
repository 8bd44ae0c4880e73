"""Tables from files and URLs, of which no more is read than is needed."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from typing import TYPE_CHECKING, Any

from .columns import is_number, with_blank_numbers
from .delimited import read_first_rows
from .downloads import streamed
from .errors import InputError
from .json_lines import read_json_lines
from .locations import Location
from .memory import release_memory
from .parquet import parquet_head, parquet_names, parquet_nested, parquet_shape, read_parquet
from .ranges import local_file, on_parts, refuse_web_page, remote_file
from .readers import READERS, TEXT, excel, explained, packing, reader_args, reason, takes_nrows
from .row_selection import Exact, selected, selection_of, with_selecting

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    import pandas as pd


# The arguments of pandas' reader by which the first row is found and taken apart.
_OF_A_HEADER = frozenset(
    ("sep", "delimiter", "quotechar", "quoting", "escapechar", "doublequote", "skiprows", "comment", "encoding", "compression", "engine")
)
_HEAD_BYTES = 64 * 1024
_LARGEST_HEAD_BYTES = 16 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        frame: its rows.
        bytes_read: the number of bytes that were read from its source.
        notes: what is doubtful about its columns, a sentence each.
    """

    frame: pd.DataFrame
    bytes_read: int
    notes: tuple[str, ...] = ()


def read_table(location: Location, *, columns: Sequence[str] | None = None, float32: Container[str] | None = None) -> Table:
    """Read a table's columns.

    Args:
        location: the table's place.
        columns: the columns, in this order; None reads all.
        float32: the columns whose numbers become float32; None leaves all as they are, as a notebook expects.

    Raises:
        InputError: the table does not exist, has another format, is empty, or lacks a column.
    """
    notes: tuple[str, ...] = ()
    selection = selection_of(location)
    wanted = with_selecting(columns, selection)
    if selection and float32 is not None:
        float32 = Exact(float32, selection)
    if location.in_pieces and location.format == "parquet" and wanted is not None:
        frame, count = on_parts(location, lambda file: read_parquet(file, location, wanted, float32))
    else:
        with local_file(location) as (path, count):
            frame = {**READERS, "parquet": read_parquet}[location.format](path, location, wanted, float32)
            notes = tuple(repeated_columns(Location(str(path), location.format, location.load_args)))
    if selection:
        frame = selected(frame, selection, columns, location.place)
    if not len(frame):
        raise InputError(f"{location.place} has no rows. Check the file.")
    frame = _narrow(frame, float32)
    release_memory()
    return Table(frame, count, notes)


def repeated_columns(location: Location) -> Iterator[str]:
    """Yield a sentence for each name that several columns of a text have: pandas adds numbers to all but the first."""
    args = location.load_args
    if location.format not in ("csv", "tsv") or args.get("header", 0) not in (0, "infer") or args.get("names") is not None:
        return
    plain = {name: value for name, value in args.items() if name in _OF_A_HEADER}
    try:
        row = read_head(dataclasses.replace(location, load_args={**plain, "header": None, "dtype": "str"}), rows=1).iloc[0]
    except (InputError, ValueError, IndexError):
        return  # The table itself is read with more arguments, and its reader tells what is wrong.
    for name, count in row.value_counts().items():
        if count > 1:
            others = ", ".join(f"`{name}.{number}`" for number in range(1, count))
            yield f"{count} columns are named `{name}`, and are read as `{name}`, {others}: give each a name of its own."


def column_names(location: Location) -> list[str]:
    """Return the names of a table's columns, reading no more of the file than they need.

    Raises:
        InputError: as for `read_table`.
    """
    if location.format != "parquet":
        return [str(name) for name in read_head(location, rows=1).columns]

    return on_parts(location, lambda file: parquet_names(file, location))[0]


def table_shape(location: Location, size_bytes: int | None = None) -> tuple[int, int] | None:
    """Return how many rows and columns a parquet table has, of which only the footer is read; None for another format, which says neither.

    Args:
        location: the table's place, or that of its largest part.
        size_bytes: the size of all its parts.

    Raises:
        InputError: as for `read_table`.
    """
    if location.format != "parquet":
        return None
    rows, columns = on_parts(location, lambda file: parquet_shape(file, location))[0]
    parts = max(1.0, size_bytes / location.size) if size_bytes and location.size else 1.0
    return round(rows * parts), columns


def first_look(location: Location, *, rows: int, by_pandas: bool = False) -> tuple[list[str], list[str], pd.DataFrame | None]:
    """Look at a table as cheaply as its format allows.

    Args:
        location: the table's place.
        rows: the number of rows to look at.
        by_pandas: as for `read_head`.

    Returns:
        The columns' names, those of the columns that hold lists, structures or bytes, and the first rows; None for parquet, whose schema
        says the rest.

    Raises:
        InputError: as for `read_table`.
    """
    if location.format == "parquet":
        names, nested = on_parts(location, lambda file: (parquet_names(file, location), parquet_nested(file, location)))[0]
        return names, nested, None
    from .doubts import nested_columns

    head = read_head(location, rows=rows, by_pandas=by_pandas)
    return [str(name) for name in head.columns], nested_columns(head), head


def read_head(location: Location, *, rows: int = 5, by_pandas: bool = False) -> pd.DataFrame:
    """Read a table's first rows as `read_table` reads them, and not much more of a remote file than they need.

    Args:
        location: the table's place.
        rows: their number.
        by_pandas: whether the table will be read by pandas alone, to which numbers and blanks are texts.

    Raises:
        InputError: as for `read_table`.
    """
    if location.format == "parquet":
        return on_parts(location, lambda file: parquet_head(file, location, rows))[0]
    if location.in_pieces and location.format in TEXT and takes_nrows(location.load_args):
        head = _remote_head(location, rows)
        if head is not None:
            return head
    with local_file(location) as (path, _), explained(location):
        return _head_of(path, location, rows, by_pandas=by_pandas)


def _head_of(file: Any, location: Location, rows: int, *, by_pandas: bool = False) -> pd.DataFrame:
    import pandas as pd  # takes half a second, which an import of this module need not wait for

    args = reader_args(location, file)
    # Arguments that exclude `nrows` need the whole table, of which the first rows are kept.
    if takes_nrows(args):
        args["nrows"] = min(rows, args.get("nrows") or rows)
    match location.format:
        case "csv" | "tsv":
            return (pd.read_csv(file, **args) if by_pandas else read_first_rows(file, args)).head(rows)
        case "jsonl":
            frame, texts = read_json_lines(file, args), True
        case _:
            frame, texts = excel(file, args), False
    return frame.head(rows) if by_pandas else with_blank_numbers(frame.head(rows), args.get("dtype"), texts=texts)


def _remote_head(location: Location, rows: int) -> pd.DataFrame | None:
    """Read more and more of a text file until its first rows are whole; return None if they cannot be had that way."""
    with remote_file(location) as remote:
        if remote is not None:
            # After a broken connection, the caller downloads the file, which resumes where it broke off.
            with contextlib.suppress(OSError):
                return _first_rows(remote.read, location, rows)
    if not location.is_url:
        return None
    with (
        contextlib.suppress(OSError),
        streamed(location.place, headers=location.headers, secret_query=location.secret_query, timeout_s=location.timeout_s) as read,
    ):
        return _first_rows(read, location, rows) if read is not None else None
    return None


def _first_rows(read: Callable[[int], bytes], location: Location, rows: int) -> pd.DataFrame | None:
    piece, size = b"", _HEAD_BYTES
    while size <= _LARGEST_HEAD_BYTES:
        piece += read(size - len(piece))
        refuse_web_page(piece, location)
        if len(piece) < size or packing(piece) is not None:
            return None  # The file is small, or can only be unpacked as a whole.
        try:
            # The last line is probably cut. A quoted field may hold line breaks, so the reader counts the rows.
            frame = _head_of(io.BytesIO(piece[: piece.rfind(b"\n") + 1]), location, rows)
        except (TypeError, UnicodeDecodeError) as error:
            raise reason(location, error) from error
        except ValueError:
            frame = None
        if frame is not None and len(frame) >= min(rows, location.load_args.get("nrows") or rows):
            return frame
        size *= 4
    return None


def _narrow(frame: pd.DataFrame, float32: Container[str] | None) -> pd.DataFrame:
    """Convert numbers of some columns to float32 where it tells them apart, one by one: memory never holds the table twice."""
    from .digits import narrowed

    for name in frame.columns:
        if str(name) in (float32 or ()) and is_number(frame[name]) and str(frame[name].dtype) != "float32":
            frame[name] = narrowed(frame[name])
    return frame
