"""A table that is written piece by piece, in parts: a part that is whole is not written again after its machine was lost."""

from __future__ import annotations

import contextlib
import os
import shutil
from time import monotonic
from typing import TYPE_CHECKING, Any

from .checkpoints import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FOLDER = "parts"


class TableParts(Checkpoint):
    """The parts of a table, each a parquet file of some pieces, of which each is a row group at least.

    A part is closed when a state is due, and where a piece has columns of other types than the one before it.

    Args:
        unfinished: the file that a part is written to until it is whole.
        part: the stretch of the table that they are of, where several processes write one; empty for the whole.

    Attributes:
        rounds: the number of pieces that are in whole parts.
        pieces: the number of pieces that are written.
    """

    def __init__(self, unfinished: Path, part: str = "") -> None:
        super().__init__(part)
        self._unfinished = unfinished
        self._writer: Any = None
        self.pieces = self.rounds

    def write_piece(self, table: Any) -> None:
        """Write the next piece, pyarrow's table."""
        import pyarrow.parquet as pq

        if self._writer is not None and not self._writer.schema.equals(table.schema):
            self._close()
        if self._writer is None:
            self._unfinished.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._unfinished, table.schema)
        self._writer.write_table(table)
        self.pieces += 1
        if self.due(self.pieces):
            self._close()

    def begin_anew(self) -> None:
        """Drop every piece."""
        self._drop_writer()
        if self._place is not None:
            shutil.rmtree(self._place, ignore_errors=True)
        self.folder, self.rounds, self.pieces = None, 0, 0

    def close(self) -> list[Path]:
        """Close the last part, and return all parts in the order of their rows."""
        self._close()
        return self._files

    def join(self, place: Path) -> None:
        """Close the last part, and write the parts as one table, row group by row group."""
        join_parts(self.close(), place)

    @property
    def _files(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder is not None else []

    def _close(self) -> None:
        """Name the part that was written among the whole ones, once it is on the disk."""
        if self._writer is None or self._place is None:
            return
        began, folder = monotonic(), self._place / _FOLDER
        self._writer.close()
        self._writer = None
        with self._unfinished.open("rb") as stream:
            os.fsync(stream.fileno())
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(self._unfinished, folder / f"{self.pieces:08d}.parquet")
        self.folder, self.rounds = folder, self.pieces
        self._point_to(folder, self.pieces, {file.name: file.stat().st_size for file in self._files})
        self._written_at = monotonic()
        self._cost_s = self._written_at - began

    def _drop_writer(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None
        self._unfinished.unlink(missing_ok=True)


def join_parts(files: Sequence[Path], place: Path) -> None:
    """Write parts of a table as one, row group by row group.

    Args:
        files: the parts, in the order of their rows.
        place: the table's file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = [pq.read_schema(file) for file in files]
    schema = _filled(pa.unify_schemas(schemas, promote_options="permissive"))
    if len(files) == 1 and schema.equals(schemas[0]):
        shutil.move(files[0], place)
        return
    with pq.ParquetWriter(place, schema) as writer:
        for file in files:
            with pq.ParquetFile(file) as part:
                for group in range(part.num_row_groups):
                    writer.write_table(part.read_row_group(group).cast(schema, safe=False))


def _filled(schema: Any) -> Any:
    """Return a schema in which a column without a value has the type of text, which every reader knows."""
    import pyarrow as pa

    return pa.schema([field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in schema])
