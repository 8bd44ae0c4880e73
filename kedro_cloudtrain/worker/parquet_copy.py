"""A text table as parquet, made once: the text is parsed a single time, however often its rows are read."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .delimited import can_be_read_in_pieces
from .errors import InputError
from .locations import Location
from .pieces import Wanted
from .protocol import TABLES
from .ranges import local_file
from .results import version_of
from .scratch import scratch
from .text_pieces import TextPieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

_DIGITS = 16
_READ_BYTES = 1 << 24
_KEPT_S = 30 * 86_400.0


def unreadable_in_pieces(file_format: str, load_args: Mapping[str, Any]) -> str | None:
    """Return why a table cannot be read in pieces, and what to do, as the end of a sentence; None where it can."""
    if file_format == "parquet":
        return None
    if file_format not in ("csv", "tsv"):
        return f"is {file_format}, which only a reader of all rows understands: save it as parquet or csv, or take `in_pieces` out."
    odd = next((name for name in load_args if not can_be_read_in_pieces({name: load_args[name]})), None)
    if odd is None:
        return None
    return f"has load_args.{odd}, which pandas applies to all rows at once: save the table as parquet, or take `in_pieces` out."


@contextlib.contextmanager
def as_parquet(location: Location, names: Sequence[str], volume: Path) -> Iterator[tuple[Location, int]]:
    """Provide a table as parquet on disk, and the number of bytes that were read for it.

    A text is converted, and kept on the volume by a name that its content gives it: another job that reads the same columns of it finds
    it there. A remote parquet file is downloaded once.

    Args:
        location: the table's place.
        names: the columns that are needed.
        volume: the volume's folder.

    Raises:
        InputError: the table cannot be read.
    """
    if (problem := unreadable_in_pieces(location.format, location.load_args)) is not None:
        raise InputError(f"`in_pieces` is true, and {location.place} {problem}")
    with local_file(location) as (path, count):
        if location.format == "parquet":
            yield dataclasses.replace(location, place=str(path), file_format="parquet", fetch=None), count
            return
        here = Location(str(path), location.format, location.load_args)
        kept = volume / TABLES / _digest(path, here, names)
        if kept.is_dir():
            os.utime(kept)  # it is in use
            yield Location(str(kept), "parquet"), count
            return
        print(f"converts {location.place} to parquet, once")  # noqa: T201  # the job's log
        with _unnamed(kept.parent) as copy:
            _convert(here, location.place, names, copy)
            yield Location(str(_named(copy, kept)), "parquet"), count


def _digest(path: Path, location: Location, names: Sequence[str]) -> str:
    """Return the name of a text's copy: from its content, and from all that decides what is read of it."""
    about = [location.format, sorted(names), location.load_args, version_of("pandas"), version_of("pyarrow")]
    digest = hashlib.sha256(json.dumps(about, default=str, sort_keys=True).encode())
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()[:_DIGITS]


@contextlib.contextmanager
def _unnamed(beside: Path) -> Iterator[Path]:
    """Provide a new folder beside the copies, or on the machine's own disk where the volume cannot be written."""
    with contextlib.ExitStack() as stack:
        try:
            beside.mkdir(parents=True, exist_ok=True)
            _remove_unused(beside)
            folder = Path(tempfile.mkdtemp(prefix=".", dir=beside))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        except OSError:
            folder = stack.enter_context(scratch())
        yield folder


def _remove_unused(folder: Path) -> None:
    """Remove the copies that no job has used for a month, and what a lost machine has left of one."""
    for copy in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - copy.stat().st_mtime > _KEPT_S:
                shutil.rmtree(copy)


def _named(copy: Path, kept: Path) -> Path:
    """Rename a whole copy, and return its place; another job may have been faster, or the disk is not the volume's."""
    with contextlib.suppress(OSError):
        if copy.parent == kept.parent:
            copy.chmod(0o755)
            copy.rename(kept)
            return kept
    return kept if kept.is_dir() else copy


def _convert(location: Location, place: str, names: Sequence[str], folder: Path) -> None:
    """Write a text's columns as parquet, piece by piece, to files that follow one another.

    A later piece may show that a column has decimals, or is not empty: it begins another file, and the reader of the files joins their
    types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from .encoding import Column  # imports pandas, which a plan need not wait for

    wanted = Wanted.of([Column(name, "number") for name in names], ())
    writer, number = None, 0
    try:
        for piece in TextPieces(location, wanted).read():
            if piece.number == 0:  # the table begins anew: its later rows have shown another type
                if writer is not None:
                    writer.close()
                writer, number = None, 0
                for file in folder.iterdir():
                    file.unlink()
            table = pa.table({name: _array(piece.frame[name], place) for name in names})
            if writer is not None:
                try:
                    table = table.cast(writer.schema)
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                    writer.close()
                    writer, number = None, number + 1
            if writer is None:
                writer = pq.ParquetWriter(folder / f"part-{number:05d}.parquet", table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _array(values: pd.Series, place: str) -> Any:
    """Return a piece of a column as pyarrow's array; one without a value has pyarrow's type for that, which goes with any other.

    Raises:
        InputError: it holds what parquet cannot.
    """
    import pandas as pd
    import pyarrow as pa

    if isinstance(values.dtype, pd.CategoricalDtype):
        if not pd.api.types.is_string_dtype(values.cat.categories.dtype):
            raise InputError(
                f"{place}: load_args makes categories of the numbers of `{values.name}`, which a table in pieces does not keep: name it in "
                "categorical_columns instead."
            )
        values = values.astype(values.cat.categories.dtype)
    if not values.notna().any():
        return pa.nulls(len(values))
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{place}: `{values.name}` holds what parquet cannot ({error}): leave it out of feature_columns.") from error
