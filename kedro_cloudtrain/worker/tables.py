"""Tables from files and URLs, and no more of them than was asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .downloads import TIMEOUT_S, downloaded
from .errors import InputError, nearest
from .urls import ascii_url, extension, with_query

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    import pandas as pd

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
    wide = location.is_url and location.format == "parquet" and columns is not None
    if wide:
        with _remote_file(location) as remote:
            if remote is not None:
                frame = _read_parquet(remote, location, columns)
                return Table(_narrow(frame, float32), remote.bytes_read)
    with _local_file(location) as (path, count):
        frame = _READERS[location.format](path, location, columns, float32)
        if frame.empty and not len(frame):
            raise InputError(f"{location.place} has no rows.")
        return Table(_narrow(frame, float32), count)


def column_names(location: Location) -> list[str]:
    """Give a table's columns; of the file, no more is read than they need.

    Raises:
        InputError: as for `read_table`.
    """
    if location.format == "parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415  # for who reads parquet

        with _parts(location) as file, _explained(location):
            return [str(name) for name in pq.ParquetFile(file).schema_arrow.names]
    return [str(name) for name in read_head(location, rows=1).columns]


def read_head(location: Location, *, rows: int = 5) -> pd.DataFrame:
    """Read a table's first rows; from a server that has ranges, not much more of the file than they need.

    Raises:
        InputError: as for `read_table`.
    """
    if location.format == "parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415  # for who reads parquet

        with _parts(location) as file, _explained(location):
            batches = pq.ParquetFile(file).iter_batches(batch_size=rows)
            first = next(batches, None)
            return first.to_pandas() if first is not None else pq.ParquetFile(file).schema_arrow.empty_table().to_pandas()
    if location.format in ("csv", "tsv", "jsonl") and location.is_url:
        return _remote_head(location, rows)
    with _local_file(location) as (path, _), _explained(location):
        return _head_of(path, location, rows)


def _head_of(file: Any, location: Location, rows: int) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415  # half a second that whoever only imports this need not wait

    match location.format:
        case "csv" | "tsv":
            return pd.read_csv(file, nrows=rows, **_csv_args(location))
        case "jsonl":
            return pd.read_json(file, lines=True, nrows=rows, **location.load_args)
        case _:
            return _excel(file, location, nrows=rows)


def _remote_head(location: Location, rows: int) -> pd.DataFrame:
    """Read ever more of a text file until its first rows are whole."""
    size = _HEAD_BYTES
    with _remote_file(location) as remote:
        if remote is not None:
            while size < min(remote.size, _LARGEST_HEAD_BYTES):
                remote.seek(0)
                piece = remote.read(size)
                # The last line is likely cut; a quoted field may hold line breaks, so rows are counted by the reader.
                whole = piece[: piece.rfind(b"\n") + 1]
                with contextlib.suppress(ValueError, InputError):
                    frame = _head_of(io.BytesIO(whole), location, rows)
                    if len(frame) >= rows:
                        return frame
                size *= 4
    with _local_file(location) as (path, _), _explained(location):
        return _head_of(path, location, rows)


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
        yield download.path, download.bytes_read


class _RemoteFile(io.RawIOBase):
    """A file behind fsspec's http filesystem, read by exactly the ranges that are asked for, and counting them."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.size: int = file.size
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._file.read(size)
        self.bytes_read += len(content)
        return content

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def _remote_file(location: Location) -> Iterator[_RemoteFile | None]:
    """Open a URL for reading in pieces; None where its server has no ranges, or says no size."""
    import aiohttp  # noqa: PLC0415
    import fsspec  # noqa: PLC0415

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=location.timeout_s, sock_read=location.timeout_s)
    filesystem = fsspec.filesystem(
        "http",
        # The escapes of a signed URL are part of what was signed.
        encoded=True,
        headers={"Accept-Encoding": "identity", **location.headers},
        client_kwargs={"timeout": timeout},
        skip_instance_cache=True,
    )
    url = ascii_url(with_query(location.place, location.secret_query))
    remote = None
    # What fails here is told by the download that comes instead: it knows how to say it without the secret.
    with contextlib.suppress(Exception):
        size = filesystem.info(url)["size"]
        if size > 1:
            # No read-ahead: the default cache takes 5 MB where a footer of 8 kB is wanted.
            opened = _RemoteFile(filesystem.open(url, cache_type="none", size=size))
            # Not every server that has ranges says so, and not every one that says so has them.
            opened.seek(1)
            opened.read(1)
            opened.seek(0)
            remote = opened
    try:
        yield remote
    finally:
        if remote is not None:
            remote.close()


@contextlib.contextmanager
def _parts(location: Location) -> Iterator[Any]:
    """Open a table for reading in pieces, wherever it is."""
    if location.is_url:
        with _remote_file(location) as remote:
            if remote is not None:
                yield remote
                return
    with _local_file(location) as (path, _):
        yield path


@contextlib.contextmanager
def _explained(location: Location) -> Iterator[None]:
    """Say what a reader found wrong with a file in a user's words."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f'{location.place} needs a reader that is not installed: pip install "kedro-cloudtrain[excel]"') from error
    except TypeError as error:
        if "unexpected keyword" in str(error):
            raise InputError(f"{location.place}: load_args has what the {location.format} reader does not take: {error}.") from error
        raise
    except MemoryError:
        raise
    except Exception as error:  # each reader has errors of its own: zipfile's, xlrd's, pyarrow's
        raise InputError(
            f"{location.place} cannot be read as {location.format}: {str(error).splitlines()[0] if str(error) else error!r}. "
            "Check the file, file_format and load_args."
        ) from error


def _require(location: Location, columns: Sequence[str] | None, known: Sequence[Any]) -> None:
    """Refuse a column that a table does not have."""
    names = [str(name) for name in known]
    for column in columns or ():
        if column not in names:
            close = nearest(column, names)
            hint = f" Closest: {close}." if close else ""
            shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")  # noqa: PLR2004  # a line's worth
            raise InputError(f"{location.place} has no column `{column}`.{hint} Columns: {shown} ({len(names)}).")


def _csv_args(location: Location) -> dict[str, Any]:
    return {**({"sep": "\t"} if location.format == "tsv" else {}), **location.load_args}


def _read_csv(path: Path, location: Location, columns: Sequence[str] | None, float32: Container[str] | None) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    args = _csv_args(location)
    with _explained(location):
        head = pd.read_csv(path, **{**args, "nrows": _SNIFFED_ROWS})
        _require(location, columns, head.columns)
        if columns is not None:
            args["usecols"] = list(columns)
        numbers = [name for name in head.columns if name in (float32 or ()) and _is_number(head[name])]
        dtype = args.pop("dtype", {})
        if isinstance(dtype, dict):
            try:
                # Straight into float32: half of what float64 takes while the file is read.
                frame = pd.read_csv(path, dtype={**dict.fromkeys(numbers, "float32"), **dtype}, **args)
            except (ValueError, TypeError):
                # A later row is no number: the reader's own guess for every column.
                frame = pd.read_csv(path, dtype=dtype or None, low_memory=False, **args)
        else:
            frame = pd.read_csv(path, dtype=dtype, **args)
    return frame if columns is None else frame[list(columns)]


def _read_parquet(file: Any, location: Location, columns: Sequence[str] | None, _: object = None) -> pd.DataFrame:
    import pyarrow.parquet as pq  # noqa: PLC0415

    with _explained(location):
        parquet = pq.ParquetFile(file, pre_buffer=True)
        _require(location, columns, parquet.schema_arrow.names)
        table = parquet.read(columns=None if columns is None else list(columns), use_pandas_metadata=False)
        # Arrow's memory goes column by column as pandas' comes.
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True, **location.load_args)
    return frame if columns is None else frame[list(columns)]


def _read_jsonl(path: Path, location: Location, columns: Sequence[str] | None, _: object = None) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    with _explained(location):
        pieces = pd.read_json(path, lines=True, **{"chunksize": 50_000, **location.load_args})
        if isinstance(pieces, pd.DataFrame):
            pieces = [pieces]
        # A line may lack a key that others have; a column that no line has is missing.
        kept = [piece if columns is None else piece[[*piece.columns.intersection(columns)]] for piece in pieces]
        frame = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()
    _require(location, columns, frame.columns)
    return frame if columns is None else frame[list(columns)]


def _read_excel(path: Path, location: Location, columns: Sequence[str] | None, _: object = None) -> pd.DataFrame:
    with _explained(location):
        frame = _excel(path, location)
    _require(location, columns, frame.columns)
    return frame if columns is None else frame[list(columns)]


def _excel(file: Any, location: Location, **args: Any) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    engine = "openpyxl" if location.format == "xlsx" else "xlrd"
    frame = pd.read_excel(file, engine=engine, **{**args, **location.load_args})
    if isinstance(frame, pd.DataFrame):
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
