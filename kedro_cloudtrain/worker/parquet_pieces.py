"""The pieces of a parquet table, row group by row group: of a remote file, no more is fetched at a time than a row group's columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .parquet import parquet_args, parquet_index, parquet_parts
from .ranges import local_file, remote_file
from .readers import explained, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .locations import Location
    from .pieces import Piece, Wanted

_BUFFER_BYTES = 4 * 1024 * 1024


class ParquetPieces:
    """A parquet table in pieces.

    Args:
        location: the table's place.
        wanted: what is read of it.

    Attributes:
        bytes_read: the number of bytes that were read from its source.
    """

    def __init__(self, location: Location, wanted: Wanted) -> None:
        self._location = location
        self._wanted = wanted
        self.bytes_read = 0

    def read(self, begin: int = 0) -> Iterator[Piece]:
        """Yield the pieces, from one of them on."""
        done = begin
        if self._location.in_pieces:
            with remote_file(self._location) as remote:
                if remote is not None:
                    try:
                        for piece in self._pieces(remote, done):
                            self.bytes_read = remote.bytes_read
                            yield piece
                            done += 1
                    except Exception:
                        # A range did not arrive: the download below resumes after a break, and its errors explain more.
                        if not remote.failed:
                            raise
                    else:
                        return
        before = self.bytes_read
        with local_file(self._location) as (path, count):
            self.bytes_read = before + count
            yield from self._pieces(path, done)

    def _pieces(self, file: Any, begin: int) -> Iterator[Piece]:
        import pyarrow as pa

        wanted, location = self._wanted, self._location
        with explained(location):
            # On disk, pages are read one by one: a row group may be the whole file.
            parts = parquet_parts(file, **({"buffer_size": _BUFFER_BYTES} if isinstance(file, Path) else {"pre_buffer": True}))
            index = parquet_index(parts[0])
            chosen = parquet_args(location)
            held = dict.fromkeys(name for part in parts for name in part.schema_arrow.names)
            require(location, chosen, list(held))
            require(location, wanted.names, [name for name in (held if chosen is None else chosen) if name not in index])
            schema = common_schema(parts, wanted.names)
            gaps = whole_numbers_with_gaps(parts, schema, [column.name for column in wanted.features])
        rows = sum(part.metadata.num_rows for part in parts)
        count = max(1, -(-rows // wanted.rows))
        read: list[Any] = []
        number = begin
        with explained(location):
            batches = _batches(parts, schema, wanted.rows, begin * wanted.rows)
        while number < count:
            with explained(location):
                while sum(map(len, read)) < wanted.rows and (batch := next(batches, None)) is not None:
                    read.append(batch)
                together = pa.concat_tables(read) if read else schema.empty_table()
                rest = together.slice(wanted.rows)
                read = [rest] if len(rest) else []
                frame = frame_of(together.slice(0, wanted.rows), wanted, gaps)
                kept = _plain(together.slice(0, wanted.rows).select(list(wanted.keep)))
            del together, rest
            yield wanted.piece(number, frame, count, kept)
            number += 1


def common_schema(parts: list[Any], names: list[str]) -> Any:
    """Return the types of some columns in all parts together, as they are when the parts are read at once."""
    import pyarrow as pa

    schemas = [pa.schema([part.schema_arrow.field(name) for name in names if name in part.schema_arrow.names]) for part in parts]
    unified = schemas[0] if len(schemas) == 1 else pa.unify_schemas(schemas, promote_options="permissive")
    return pa.schema([unified.field(name) for name in names], metadata=parts[0].schema_arrow.metadata)


def whole_numbers_with_gaps(parts: list[Any], schema: Any, names: list[str]) -> list[str]:
    """Return which of some columns have whole numbers and gaps: of all their numbers pandas makes decimals, in whatever piece a gap is."""
    import pyarrow as pa

    whole = [name for name in dict.fromkeys(names) if pa.types.is_integer(schema.field(name).type)]
    return [name for name in whole if any(name not in part.schema_arrow.names or _has_gaps(part, name) for part in parts)]


def _has_gaps(part: Any, name: str) -> bool:
    for group in range(part.metadata.num_row_groups):
        columns = (part.metadata.row_group(group).column(number) for number in range(part.metadata.num_columns))
        column = next(column for column in columns if column.path_in_schema == name)
        counts_nulls = column.statistics is not None and column.statistics.has_null_count
        if column.statistics.null_count if counts_nulls else part.read_row_group(group, columns=[name]).column(0).null_count:
            return True
    return False


def _batches(parts: list[Any], schema: Any, rows: int, skipped: int) -> Iterator[Any]:
    """Yield tables of at most `rows` rows, without the first ones; a row group that is skipped as a whole is not read."""
    import pyarrow as pa

    for part in parts:
        held = [name for name in schema.names if name in part.schema_arrow.names]
        for group in range(part.metadata.num_row_groups):
            count = part.metadata.row_group(group).num_rows
            if skipped >= count:
                skipped -= count
                continue
            for batch in part.iter_batches(batch_size=rows, row_groups=[group], columns=held):
                left = batch.slice(skipped)
                skipped -= len(batch) - len(left)
                if len(left):
                    yield with_schema(pa.Table.from_batches([left]), schema)


def with_schema(table: Any, schema: Any) -> Any:
    """Return a part's rows with the columns and types of the whole table."""
    import pyarrow as pa

    columns = [
        table.column(field.name).cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def frame_of(table: Any, wanted: Wanted, gaps: list[str]) -> Any:
    """Return rows as pandas has them in the whole table."""
    import pyarrow as pa

    features = [column.name for column in wanted.features]
    table = table.select(features)
    for place, column in enumerate(wanted.features):
        # pandas would hold each date as an object of Python's own, and a model counts them anyway.
        if column.kind == "date" and pa.types.is_date(table.schema.field(place).type):
            table = table.set_column(place, column.name, table.column(place).cast(pa.timestamp("us")))
    frame = table.to_pandas()
    for name in gaps:
        if frame[name].dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
            frame[name] = frame[name].astype("float64")
    return frame


def _plain(table: Any) -> Any:
    """Return columns without what pandas has noted of them, and with categories as their values: parts of a table have their own."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
    return table.replace_schema_metadata(None)
