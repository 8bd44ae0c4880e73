"""Parquet tables: one file, or the folder of parts that Spark writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .parts import table_parts
from .readers import explained, require
from .row_selection import ROWS, holding_groups, selection_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    import pandas as pd

    from .locations import Location

# IEEE 754: float64 has 53 binary digits.
_WHOLE_64 = 2**53


def parquet_args(location: Location) -> list[str] | None:
    """Return the columns that `load_args` selects; None for all.

    Raises:
        InputError: `load_args` has another argument.
    """
    unknown = [name for name in location.load_args if name not in ("columns", "engine", ROWS)]
    if unknown:
        raise InputError(f"{location.place}: load_args has {unknown[0]!r}: a parquet file takes `columns` only.")
    columns: list[str] | None = location.load_args.get("columns")
    return columns


def read_parquet(file: Any, location: Location, columns: Sequence[str] | None, float32: Container[str] | None) -> pd.DataFrame:
    """Read a parquet table's columns."""
    import pyarrow as pa

    with explained(location):
        parts = parquet_parts(file)
        chosen = parquet_args(location)
        names = dict.fromkeys(name for part in parts for name in part.schema_arrow.names) if len(parts) > 1 else parts[0].schema_arrow.names
        require(location, chosen, list(names))
        # pandas makes an index of some columns: the table does not have them.
        require(location, columns, [name for name in (names if chosen is None else chosen) if name not in parquet_index(parts[0])])
        wanted = chosen if columns is None else list(columns)
        tables = [_read_part(part, _held(part, wanted), selection_of(location)) for part in parts]
        table = tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive")
        if float32 is not None:
            # pandas would hold decimals as Python objects, not as numbers.
            for index, field in enumerate(table.schema):
                if pa.types.is_decimal(field.type):
                    table = table.set_column(index, field.name, table.column(index).cast(pa.float64()))
        exact = {} if float32 is None else _long_numbers(table)
        del tables
        # Column by column, so that Arrow's memory is freed as pandas' is filled.
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True, date_as_object=float32 is None)
        for name, column in exact.items():
            frame[name] = column
    return frame if columns is None else frame[list(columns)]


def _long_numbers(table: Any) -> dict[str, pd.Series]:
    """Return the columns of whole numbers with gaps that pandas would make decimals of, with fewer digits than they have."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    types = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
    long: dict[str, pd.Series] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.type in types and column.null_count:
            limits = pc.min_max(column).as_py()
            if max(abs(limits["min"] or 0), abs(limits["max"] or 0)) > _WHOLE_64:
                long[name] = column.to_pandas(types_mapper=types.get)
    return long


def parquet_names(file: Any, location: Location) -> list[str]:
    """Return the names of a parquet table's columns."""
    with explained(location):
        chosen = parquet_args(location)
        parts = parquet_parts(file)
        held = dict.fromkeys(str(name) for part in parts for name in part.schema_arrow.names)
        require(location, chosen, list(held))
        names = held if chosen is None else chosen
        # pandas makes an index again of one that was written as a column.
        return [name for name in names if name not in parquet_index(parts[0])]


def parquet_shape(file: Any, location: Location) -> tuple[int, int]:
    """Return how many rows and columns a table has, by its footer."""
    with explained(location):
        parts = parquet_parts(file)
    return sum(part.metadata.num_rows for part in parts), len(parts[0].schema_arrow.names)


def parquet_nested(file: Any, location: Location) -> list[str]:
    """Return the names of the columns that hold lists, structures or bytes, from the schema alone."""
    import pyarrow as pa

    types = pa.types
    nested = (types.is_nested, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    with explained(location):
        schema = parquet_parts(file)[0].schema_arrow
        return [field.name for field in schema if any(is_kind(field.type) for is_kind in nested)]


def parquet_head(file: Any, location: Location, rows: int) -> pd.DataFrame:
    """Read a parquet table's first rows."""
    with explained(location):
        columns = parquet_args(location)
        parts = parquet_parts(file)
        # The first part of a table may be an empty one.
        part = next((part for part in parts if part.metadata.num_rows), parts[0])
        # Without a choice of row groups, pyarrow fetches all of them before it returns the first rows.
        groups = _first_groups(part.metadata, rows)
        first = next(part.iter_batches(batch_size=rows, row_groups=groups, columns=columns), None) if groups else None
        frame: pd.DataFrame = (first if first is not None else part.read(columns=columns)).to_pandas()
        return frame


def parquet_parts(file: Any, **options: Any) -> list[Any]:
    """Open the files of a table.

    Args:
        file: its file, or the folder of its parts.
        **options: of pyarrow's `ParquetFile`; left out, the columns that are read are fetched at once.
    """
    import pyarrow.parquet as pq

    options = options or {"pre_buffer": True}
    if isinstance(file, Path) and file.is_dir():
        return [pq.ParquetFile(file / name, **options) for name in table_parts(str(file), file.iterdir())]
    return [pq.ParquetFile(file, **options)]


def _read_part(part: Any, columns: list[str] | None, selection: Mapping[str, Any]) -> Any:
    """Read a part's columns; where rows are selected, only the row groups that may hold some of them."""
    if not selection:
        return part.read(columns=columns, use_pandas_metadata=True)
    return part.read_row_groups(holding_groups(part.metadata, selection), columns=columns, use_pandas_metadata=True)


def _held(part: Any, names: Iterable[str] | None) -> list[str] | None:
    """Return the columns that a part has, of those that are wanted: a later part may have a new one."""
    return None if names is None else [name for name in names if name in part.schema_arrow.names]


def parquet_index(part: Any) -> list[str]:
    """Return the columns of which pandas makes an index."""
    return [name for name in (part.schema_arrow.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)]


def _first_groups(metadata: Any, rows: int) -> list[int]:
    """Return the numbers of the row groups that hold the first rows."""
    groups, held = [], 0
    for number in range(metadata.num_row_groups):
        if held >= rows:
            break
        groups.append(number)
        held += metadata.row_group(number).num_rows
    return groups
