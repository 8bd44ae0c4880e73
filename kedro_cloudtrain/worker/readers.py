"""The readers of tables, one for each format, and their errors in a user's words."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .columns import with_blank_numbers
from .delimited import read_delimited
from .errors import InputError, nearest
from .json_lines import read_lines
from .row_selection import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    import pandas as pd

    from .locations import Location

TEXT = ("csv", "tsv", "jsonl")
READ_WHOLE = ("xlsx", "xls")
_MAGIC_BYTES = 8
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
    if isinstance(error, ImportError):
        return missing_package(location.place, error)
    if isinstance(error, TypeError) and "unexpected keyword" in str(error):
        return InputError(f"{location.place}: load_args has an argument that the {location.format} reader does not take: {error}.")
    message = str(error).splitlines()[0] if str(error) else repr(error)
    if isinstance(error, UnicodeDecodeError):
        return InputError(f"{location.place} is not in UTF-8 ({message}). Give its encoding, such as load_args: {{encoding: latin-1}}.")
    return InputError(f"{location.place} cannot be read as {location.format}: {message}. Check the file, file_format and load_args.")


# How pandas, in its releases, and Python name a package that is not installed.
_NO_PACKAGE = re.compile(
    r"[Mm]issing optional dependency '([\w.-]+)'|`Import ([\w.-]+)` failed|No module named '(\w+)|import of (\w+)",
)
# The packages of this one's extras.
_EXTRAS = {"openpyxl": "kedro-cloudtrain[excel]", "xlrd": "kedro-cloudtrain[excel]"}


def missing_package(place: str, error: ImportError) -> InputError:
    """Return the error of a table that pandas cannot read or write without another package."""
    named = _NO_PACKAGE.search(str(error))
    package = next(filter(None, named.groups()), "") if named else error.name or ""
    if not package:
        return InputError(f"{place} needs a package that is not installed: {error}.")
    return InputError(
        f'{place} needs {package}, which is not installed: pip install "{_EXTRAS.get(package, package)}". On a machine, add it to '
        "requirements in cloudtrain.yml."
    )


def require(location: Location, columns: Sequence[str] | None, header: Sequence[Any]) -> None:
    """Raise if a table lacks one of the columns, or has several of its name."""
    names = [str(name) for name in header]
    for column in columns or ():
        if names.count(column) > 1:
            raise InputError(f"{location.place} has {names.count(column)} columns of the name `{column}`: give each its own.")
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
    args = {name: value for name, value in location.load_args.items() if name != ROWS}
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


def takes_nrows(args: Mapping[str, Any]) -> bool:
    """Return whether a pandas reader with these arguments can read the first rows alone."""
    return not args.get("skipfooter") and args.get("engine") != "pyarrow"


def packing(beginning: bytes) -> str | None:
    """Return how a text file is packed, in pandas' words: a server may have unpacked a file whose name says that it is packed."""
    return next((name for magic, name in _PACKINGS.items() if beginning.startswith(magic)), None)


def _read_csv(path: Path, location: Location, columns: Sequence[str] | None, float32: Container[str] | None) -> pd.DataFrame:
    def choose(header: Sequence[Any]) -> list[Any]:
        require(location, columns, header)
        labels = {str(label): label for label in header}
        return list(header) if columns is None else [labels[name] for name in columns]

    with explained(location):
        frame = read_delimited(path, reader_args(location, path), choose, float32 or ())
    if columns is not None:
        frame.columns = list(columns)
    return frame


def _read_jsonl(path: Path, location: Location, columns: Sequence[str] | None, _: object = None) -> pd.DataFrame:
    args = reader_args(location, path)
    with explained(location):
        frame, header = read_lines(path, args, columns)
        if not header:
            return frame  # A file without lines has no columns: `read_table` refuses it.
        require(location, columns, header)
        frame = with_blank_numbers(frame, args.get("dtype"))
    return frame if columns is None else frame[list(columns)]


def _read_excel(path: Path, location: Location, columns: Sequence[str] | None, _: object = None) -> pd.DataFrame:
    args = reader_args(location, path)
    with explained(location):
        frame = excel(path, args)
        # A cell of text that looks like a number is text by its author's choice.
        frame = with_blank_numbers(frame, args.get("dtype"), texts=False)
    require(location, columns, frame.columns)
    return frame if columns is None else frame[list(columns)]


def excel(file: Any, args: dict[str, Any]) -> pd.DataFrame:
    """Read a sheet, with the columns' names as text."""
    import pandas as pd

    frame: pd.DataFrame = pd.read_excel(file, **args)
    # A header may hold numbers: years, for example.
    frame.columns = [str(name) for name in frame.columns]
    return frame


READERS: dict[str, Callable[..., Any]] = {
    "csv": _read_csv,
    "tsv": _read_csv,
    "jsonl": _read_jsonl,
    "xlsx": _read_excel,
    "xls": _read_excel,
}
