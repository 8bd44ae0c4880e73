"""The row groups of a parquet table among processes: what each reads, and which rows of the table those are."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .parquet import parquet_args, parquet_index, parquet_names, parquet_parts
from .parquet_pieces import common_schema, frame_of, whole_numbers_with_gaps, with_schema
from .pieces import Wanted
from .ranges import on_parts
from .readers import explained, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .locations import Location


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Some rows of a row group.

    Attributes:
        group: the group's number in the table.
        begin: the number of the group's first row in the table.
        rows: the numbers of the rows.
    """

    group: int
    begin: int
    rows: range


@dataclasses.dataclass(frozen=True)
class Outline:
    """What the footer of a table tells.

    Attributes:
        names: the columns.
        groups: how many rows each row group has.
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]

    @classmethod
    def of(cls, location: Location) -> Outline:
        """Read a table's footer."""

        def read(file: Any) -> Outline:
            names = parquet_names(file, location)
            metadata = [part.metadata for part in parquet_parts(file)]
            return cls(tuple(names), tuple(each.row_group(number).num_rows for each in metadata for number in range(each.num_row_groups)))

        return on_parts(location, read)[0]

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return sum(self.groups)

    def among(self, processes: int) -> list[list[Stretch]]:
        """Return the rows that each of some processes reads.

        The row groups are dealt out like cards, so that each process gets some of everywhere in a sorted table. All of them read the groups
        that are left over, fewer than the processes, and each takes every Nth row.
        """
        dealt: list[list[Stretch]] = [[] for _ in range(processes)]
        whole = len(self.groups) // processes * processes
        begin = 0
        for number, count in enumerate(self.groups):
            rows = range(begin, begin + count)
            if number < whole:
                dealt[number % processes].append(Stretch(number, begin, rows))
            else:
                for place, stretches in enumerate(dealt):
                    stretches.append(Stretch(number, begin, rows[place::processes]))
            begin += count
        return dealt


def numbers_of(stretches: Sequence[Stretch]) -> Any:
    """Return the numbers of the rows in some stretches, int64, in their order."""
    return np.concatenate(
        [np.empty(0, dtype=np.int64), *(np.arange(each.rows.start, each.rows.stop, each.rows.step) for each in stretches)]
    )


def read_stretches(location: Location, names: Sequence[str], stretches: Sequence[Stretch]) -> tuple[list[pd.DataFrame], int]:
    """Read columns of some stretches.

    Args:
        location: a parquet table.
        names: the columns.
        stretches: the rows.

    Returns:
        Frames whose indexes have the rows' numbers in the table, in the order of the stretches; and the number of bytes that they took. A
        process without rows has one frame, of the table's types.
    """
    from .encoding import Column

    wanted = Wanted.of([Column(name, "number") for name in names], ())

    def read(file: Any) -> tuple[list[pd.DataFrame], int]:
        with explained(location):
            parts = parquet_parts(file)
            held = dict.fromkeys(name for part in parts for name in part.schema_arrow.names)
            chosen = parquet_args(location)
            require(location, names, [name for name in (held if chosen is None else chosen) if name not in parquet_index(parts[0])])
            schema = common_schema(parts, list(names))
            gaps = whole_numbers_with_gaps(parts, schema, list(names))
            frames = []
            for table, rows in _tables(parts, schema, stretches, wanted.rows):
                frame = frame_of(table, wanted, gaps)
                frame.index = pd.RangeIndex(rows.start, rows.stop, rows.step)
                frames.append(frame)
            return frames or [frame_of(schema.empty_table(), wanted, gaps)], _bytes_of(parts, names, stretches)

    (frames, on_disk), read_bytes = on_parts(location, read)
    return frames, read_bytes if location.in_pieces else on_disk


def _groups(parts: Sequence[Any]) -> list[tuple[Any, int]]:
    return [(part, number) for part in parts for number in range(part.metadata.num_row_groups)]


def _tables(parts: Sequence[Any], schema: Any, stretches: Sequence[Stretch], most: int) -> Iterator[tuple[Any, range]]:
    """Yield the stretches as tables of a limited number of rows, with the rows' numbers."""
    import pyarrow as pa

    groups = _groups(parts)
    for stretch in stretches:
        if not stretch.rows:
            continue
        part, number = groups[stretch.group]
        held = [name for name in schema.names if name in part.schema_arrow.names]
        begin = stretch.begin
        for batch in part.iter_batches(batch_size=most, row_groups=[number], columns=held):
            rows = _within(stretch.rows, begin, begin + len(batch))
            if rows:
                table = pa.Table.from_batches([batch])
                chosen = table if len(rows) == len(batch) else table.take(np.arange(rows.start, rows.stop, rows.step) - begin)
                yield with_schema(chosen, schema), rows
            begin += len(batch)


def _within(rows: range, begin: int, end: int) -> range:
    """Return those of some rows that are in a batch."""
    first = max(0, -(-(begin - rows.start) // rows.step))
    last = max(0, -(-(end - rows.start) // rows.step))
    return rows[first:last]


def _bytes_of(parts: Sequence[Any], names: Sequence[str], stretches: Sequence[Stretch]) -> int:
    """Return how many bytes of files on disk some columns of the stretches' row groups take."""
    groups, count = _groups(parts), 0
    for stretch in stretches:
        part, number = groups[stretch.group]
        group = part.metadata.row_group(number)
        columns = (group.column(place) for place in range(group.num_columns))
        count += sum(column.total_compressed_size for column in columns if column.path_in_schema.partition(".")[0] in names)
    return count
