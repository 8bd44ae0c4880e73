"""Tables from files and URLs, and no more of them than was asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .downloads import TIMEOUT_S, TRIES, describe, downloaded, streamed
from .errors import InputError, nearest
from .urls import extension

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from .downloads import Description

T = TypeVar("T")

FORMATS = {
    "csv": "csv",
    "tsv": "tsv",
    "parquet": "parquet",
    "pq": "parquet",
    "xlsx": "xlsx",
    "xls": "xls",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
}
# What tells a column's type in all likelihood; the rest of the file may still disagree.
_SNIFFED_ROWS = 10_000
_HEAD_BYTES = 64 * 1024
_MAGIC_BYTES = 512
_JSON_LINES = 50_000
_TEXT = ("csv", "tsv", "jsonl")
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip"}
_LARGEST_HEAD_BYTES = 16 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Location:
    """Where a table is, and how it is read.

    Attributes:
        place: a path, or an http(s) URL without secrets.
        file_format: one of `FORMATS`; None goes by the extension.
        load_args: passed to the pandas reader.
        headers: for the URL's own host.
        secret_query: added to the URL's query, for its own host.
        timeout_s: how long connecting, and each read, may take, in seconds.
    """

    place: str
    file_format: str | None = None
    load_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    secret_query: str = dataclasses.field(default="", repr=False)
    timeout_s: float = TIMEOUT_S

    @property
    def is_url(self) -> bool:
        """Whether it is a URL."""
        return self.place.lower().startswith(("http://", "https://"))

    @property
    def format(self) -> str:
        """The format's name.

        Raises:
            InputError: it cannot be told.
        """
        said = (self.file_format or extension(self.place)).lower().lstrip(".")
        if said not in FORMATS:
            raise InputError(
                f"{self.place} has no known format{f' ({said})' if said else ''}. Say which it is by file_format: "
                f"{', '.join(dict.fromkeys(FORMATS.values()))}."
            )
        return FORMATS[said]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table, and how many bytes were taken from its source."""

    frame: pd.DataFrame
    bytes_read: int


def read_table(location: Location, *, columns: Sequence[str] | None = None, float32: Container[str] | None = None) -> Table:
    """Read a table's columns.

    Args:
        location: where it is.
        columns: which columns, in this order; None reads all.
        float32: the columns whose numbers are wanted as float32; None means none of them, as a notebook expects.

    Raises:
        InputError: it is not there, is of another format, is empty, or lacks a column.
    """
    if location.is_url and location.format == "parquet" and columns is not None:
        frame, count = _on_parts(location, lambda file: _read_parquet(file, location, columns, float32))
    else:
        with _local_file(location) as (path, count):
            frame = _READERS[location.format](path, location, columns, float32)
    if not len(frame):
        raise InputError(f"{location.place} has no rows. Check the file.")
    return Table(_narrow(frame, float32), count)


def column_names(location: Location) -> list[str]:
    """Give a table's columns; of the file, no more is read than they need.

    Raises:
        InputError: as for `read_table`.
    """
    if location.format != "parquet":
        return [str(name) for name in read_head(location, rows=1).columns]

    def names(file: Any) -> list[str]:
        import pyarrow.parquet as pq  # noqa: PLC0415  # for who reads parquet

        with _explained(location):
            schema = pq.ParquetFile(file).schema_arrow
            # A pandas index that was written as a column is an index again when it is read.
            index = (schema.pandas_metadata or {}).get("index_columns", [])
            return [str(name) for name in schema.names if name not in index]

    return _on_parts(location, names)[0]


def read_head(location: Location, *, rows: int = 5) -> pd.DataFrame:
    """Read a table's first rows, and not much more of a remote file than they need.

    Raises:
        InputError: as for `read_table`.
    """
    if location.format == "parquet":
        return _on_parts(location, lambda file: _parquet_head(file, location, rows))[0]
    if location.is_url and location.format in _TEXT:
        found = _remote_head(location, rows)
        if found is not None:
            return found
    with _local_file(location) as (path, _), _explained(location):
        return _head_of(path, location, rows)


def _parquet_head(file: Any, location: Location, rows: int) -> pd.DataFrame:
    import pyarrow.parquet as pq  # noqa: PLC0415

    with _explained(location):
        columns = _parquet_args(location)
        parquet = pq.ParquetFile(file)
        first = next(parquet.iter_batches(batch_size=rows, columns=columns), None)
        frame: pd.DataFrame = (first if first is not None else parquet.read(columns=columns)).to_pandas()
        return frame


def _head_of(file: Any, location: Location, rows: int) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415  # half a second that whoever only imports this need not wait

    args = _reader_args(location, file)
    args["nrows"] = min(rows, args.get("nrows") or rows)
    match location.format:
        case "csv" | "tsv":
            return pd.read_csv(file, **args)
        case "jsonl":
            return pd.read_json(file, lines=True, **args)
        case _:
            return _excel(file, args)


def _remote_head(location: Location, rows: int) -> pd.DataFrame | None:
    """Read ever more of a text file until its first rows are whole; None where that does not lead to them."""
    with _remote_file(location) as remote:
        if remote is not None:
            # A broken connection: the download that comes instead goes on where it broke.
            with contextlib.suppress(OSError):
                return _first_rows(remote.read, location, rows)
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
        _refuse_web_page(piece, location)
        if len(piece) < size or _packing(piece) is not None:
            return None  # The file is small, or cannot be unpacked before it is all here.
        try:
            # The last line is likely cut; a quoted field may hold line breaks, so rows are counted by the reader.
            frame = _head_of(io.BytesIO(piece[: piece.rfind(b"\n") + 1]), location, rows)
        except (TypeError, UnicodeDecodeError) as error:
            raise _reason(location, error) from error
        except ValueError:
            frame = None
        if frame is not None and len(frame) >= min(rows, location.load_args.get("nrows") or rows):
            return frame
        size *= 4
    return None


@contextlib.contextmanager
def _local_file(location: Location) -> Iterator[tuple[Path, int]]:
    """Give the table as a file here, and the bytes that it took."""
    if not location.is_url:
        path = Path(location.place)
        if not path.is_file():
            raise InputError(f"{path} is not there. Check dataset_key and the volume's path.")
        yield path, path.stat().st_size
        return
    with downloaded(location.place, headers=location.headers, secret_query=location.secret_query, timeout_s=location.timeout_s) as download:
        with download.path.open("rb") as file:
            _refuse_web_page(file.read(_MAGIC_BYTES), location)
        yield download.path, download.bytes_read


def _refuse_web_page(beginning: bytes, location: Location) -> None:
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)", beginning[:_MAGIC_BYTES], re.IGNORECASE):
        raise InputError(
            f"{location.place} answered with a web page, where {location.format} was expected: a page to sign in, or one that shows the "
            "file. Give the address of the file itself (the raw file, on GitHub), and `credentials` with `headers` if it needs them."
        )


def _packing(beginning: bytes) -> str | None:
    """Tell how a text file is packed, in pandas' words: a server may have unpacked what its name says is packed."""
    return next((name for magic, name in _PACKINGS.items() if beginning.startswith(magic)), None)


class _RemoteFile(io.RawIOBase):
    """A file behind fsspec's http filesystem, read by exactly the ranges that are asked for, and counting them.

    A range that breaks is asked for again; when that does not help, `failed` says so.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.size: int = file.size
        self.bytes_read = 0
        self.failed = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def read(self, size: int = -1) -> bytes:
        start = self.tell()
        wanted = max(0, self.size - start if size < 0 else min(size, self.size - start))
        for number in range(TRIES):
            with contextlib.suppress(Exception):  # aiohttp's own, whose words hold the whole URL
                content: bytes = self._file.read(wanted) if wanted else b""
                self.bytes_read += len(content)
                if len(content) == wanted:
                    return content
            self._file.seek(start)
            if number < TRIES - 1:
                time.sleep(0.1 * 2**number)
        self.failed = True
        raise OSError("a part of the file did not come")

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def _remote_file(location: Location) -> Iterator[_RemoteFile | None]:
    """Open a URL for reading in pieces; None where its server has no ranges, or says no size.

    Raises:
        InputError: the server refuses or cannot be reached.
    """
    said = describe(location.place, headers=location.headers, secret_query=location.secret_query, timeout_s=location.timeout_s)
    remote = _opened(said, location) if (said.size or 0) > 1 and said.headers.get("accept-ranges", "").lower() != "none" else None
    try:
        yield remote
    finally:
        if remote is not None:
            remote.close()


def _opened(said: Description, location: Location) -> _RemoteFile | None:
    import aiohttp  # noqa: PLC0415  # with fsspec's http filesystem, a third of a second
    import fsspec  # noqa: PLC0415

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=location.timeout_s, sock_read=location.timeout_s)
    filesystem = fsspec.filesystem(
        "http",
        # The escapes of a signed URL are part of what was signed.
        encoded=True,
        # Redirects have been followed: aiohttp would take headers along to another host, all but Authorization.
        headers={"Accept-Encoding": "identity", **(location.headers if said.own else {})},
        allow_redirects=False,
        client_kwargs={"timeout": timeout, "trust_env": True},
        skip_instance_cache=True,
    )
    # No read-ahead: the default cache takes 5 MB where a footer of 8 kB is wanted.
    with contextlib.suppress(Exception):
        file = filesystem.open(said.url, cache_type="none", size=said.size)
        # Not every server that has ranges says so, and not every one that says so has them.
        file.seek(1)
        if len(file.read(1)) == 1:
            file.seek(0)
            return _RemoteFile(file)
    return None


def _on_parts(location: Location, use: Callable[[Any], T]) -> tuple[T, int]:
    """Do something with a table that is read in pieces, wherever it is; give the bytes that it took, too."""
    spent = 0
    if location.is_url:
        with _remote_file(location) as remote:
            if remote is not None:
                try:
                    return use(remote), remote.bytes_read
                except Exception:
                    # A range that does not come: the download that comes instead knows to go on, and to say what is wrong.
                    if not remote.failed:
                        raise
                    spent = remote.bytes_read
    with _local_file(location) as (path, count):
        return use(path), spent + count


@contextlib.contextmanager
def _explained(location: Location) -> Iterator[None]:
    """Say what a reader found wrong with a file in a user's words."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # each reader has errors of its own: zipfile's, xlrd's, pyarrow's
        raise _reason(location, error) from error


def _reason(location: Location, error: Exception) -> InputError:
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


def _reader_args(location: Location, file: Any) -> dict[str, Any]:
    """Give the arguments of the pandas reader."""
    for name in ("chunksize", "iterator"):
        if location.load_args.get(name):
            raise InputError(f"{location.place}: load_args.{name} asks for pieces of a table, where the table is wanted: take it out.")
    args = dict(location.load_args)
    if location.format in _TEXT:
        if isinstance(file, Path):
            with file.open("rb") as stream:
                args.setdefault("compression", _packing(stream.read(_MAGIC_BYTES)))
        if location.format == "jsonl":
            args.pop("lines", None)
        return {**({"sep": "\t"} if location.format == "tsv" else {}), **args}
    if not isinstance(args.get("sheet_name", 0), str | int):
        raise InputError(f"{location.place}: load_args.sheet_name is {args['sheet_name']!r}: name one sheet, or give its number.")
    return {"engine": "openpyxl" if location.format == "xlsx" else "xlrd", **args}


def _read_csv(path: Path, location: Location, columns: Sequence[str] | None, float32: Container[str] | None) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    args = _reader_args(location, path)
    with _explained(location):
        head = pd.read_csv(path, **{**args, "nrows": min(_SNIFFED_ROWS, args.get("nrows") or _SNIFFED_ROWS)})
        _require(location, columns, head.columns)
        labels = {str(label): label for label in head.columns}
        if columns is not None:
            _leave_out_the_rest(args, [labels[name] for name in columns], list(head.columns))
        numbers = [label for name, label in labels.items() if name in (float32 or ()) and _is_number(head[label])]
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


def _parquet_args(location: Location) -> list[str] | None:
    unknown = [name for name in location.load_args if name not in ("columns", "engine")]
    if unknown:
        raise InputError(f"{location.place}: load_args has {unknown[0]!r}, which is not taken for parquet. Known here: columns.")
    columns: list[str] | None = location.load_args.get("columns")
    return columns


def _read_parquet(file: Any, location: Location, columns: Sequence[str] | None, float32: Container[str] | None) -> pd.DataFrame:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    with _explained(location):
        wanted = _parquet_args(location) if columns is None else list(columns)
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
    import pandas as pd  # noqa: PLC0415

    args = _reader_args(location, path)
    with _explained(location):
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
        kinds = [{str(name): _is_number(piece[name]) for name in piece.columns if piece[name].notna().any()} for piece in kept]
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
    args = _reader_args(location, path)
    with _explained(location):
        frame = _excel(path, args)
    _require(location, columns, frame.columns)
    return frame if columns is None else frame[list(columns)]


def _excel(file: Any, args: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    frame: pd.DataFrame = pd.read_excel(file, **args)
    # A header may hold numbers, a year say.
    frame.columns = [str(name) for name in frame.columns]
    return frame


def _narrow(frame: pd.DataFrame, float32: Container[str] | None) -> pd.DataFrame:
    """Hold the numbers of some columns as float32, column by column, so that never two whole tables are held."""
    for name in frame.columns:
        if name in (float32 or ()) and _is_number(frame[name]) and str(frame[name].dtype) != "float32":
            frame[name] = frame[name].astype("float32")
    return frame


def _is_number(values: pd.Series) -> bool:
    import pandas as pd  # noqa: PLC0415

    return bool(pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype))


_READERS: dict[str, Callable[..., Any]] = {
    "csv": _read_csv,
    "tsv": _read_csv,
    "parquet": _read_parquet,
    "jsonl": _read_jsonl,
    "xlsx": _read_excel,
    "xls": _read_excel,
}
