"""A table in pieces of equal size, each as a part of the whole table's frame: what is in memory does not grow with the table."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .readers import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from .encoding import Column
    from .locations import Location
    from .parquet_pieces import ParquetPieces
    from .text_pieces import TextPieces
    from .whole_pieces import WholePieces

# The cells of a piece: few enough for any machine's memory, and enough to make the libraries' own work for a piece negligible.
_CELLS = 2**21
# Powers of two: a network predicts in batches of 4,096, which are those of the whole table then.
_FEWEST_ROWS, _MOST_ROWS = 2**14, 2**18


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a table.

    Attributes:
        number: how many pieces come before it. One that comes again, 0, begins the table anew: its later rows have shown that a column
            is of another type than its first ones.
        frame: the columns that the model needs, without an index.
        kept: the columns to keep, as pyarrow's table.
        of: how many pieces there are, or will probably be.
    """

    number: int
    frame: pd.DataFrame
    kept: Any
    of: int


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is read of a table.

    Attributes:
        features: the columns that the model needs.
        keep: the columns to keep.
        rows: how many rows a piece has; the last one may have fewer.
    """

    features: tuple[Column, ...]
    keep: tuple[str, ...]
    rows: int

    @classmethod
    def of(cls, features: Sequence[Column], keep: Sequence[str]) -> Wanted:
        """Return what is read for some features, with the number of rows that their number allows."""
        names = {*(column.name for column in features), *keep}
        fitting = 2 ** ((_CELLS // max(1, len(names))).bit_length() - 1)
        return cls(tuple(features), tuple(keep), min(_MOST_ROWS, max(_FEWEST_ROWS, fitting)))

    @property
    def names(self) -> list[str]:
        """The columns to read, each once."""
        return list(dict.fromkeys([*(column.name for column in self.features), *self.keep]))

    @property
    def category_names(self) -> list[str]:
        """The features whose values are texts to the model: 7 is another one than 7.0."""
        return [column.name for column in self.features if column.kind == "category" and not column.codes]

    def piece(self, number: int, frame: pd.DataFrame, of: int, kept: Any = None) -> Piece:
        """Return a piece of a frame.

        Args:
            number: how many pieces come before it.
            frame: the columns that are read.
            of: how many pieces there are.
            kept: the columns to keep; left out, those of the frame.
        """
        frame = frame.reset_index(drop=True)
        features = frame[[column.name for column in self.features]]
        return Piece(number, features, as_arrow(frame[list(self.keep)]) if kept is None else kept, max(of, number + 1))

    def pieces_of(self, frame: pd.DataFrame, begin: int = 0) -> Iterator[Piece]:
        """Yield the pieces of a whole table, from one of them on; an empty table has one."""
        count = max(1, -(-len(frame) // self.rows))
        for number in range(begin, count):
            yield self.piece(number, frame.iloc[number * self.rows : (number + 1) * self.rows], count)


def as_arrow(frame: pd.DataFrame) -> Any:
    """Return a frame as pyarrow's table; a column without a value has pyarrow's type for that, which goes with any other.

    Raises:
        InputError: a column holds what parquet cannot.
    """
    import pyarrow as pa

    columns = {}
    for name, values in frame.items():
        try:
            array = pa.array(values, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InputError(f"Column `{name}` holds what parquet cannot ({error}): take it out of `keep`.") from error
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        columns[name] = pa.nulls(len(array)) if 0 < len(array) == array.null_count else array
    return pa.table(columns)


def beside(first: Any, second: Any) -> Any:
    """Return two of pyarrow's tables of the same rows as one; one without columns has no number of rows either."""
    import pyarrow as pa

    return pa.table({name: table.column(name) for table in (first, second) for name in table.column_names})


def pieces_of(location: Location, wanted: Wanted) -> ParquetPieces | TextPieces | WholePieces:
    """Return a table in pieces."""
    from .parquet_pieces import ParquetPieces
    from .text_pieces import TextPieces
    from .whole_pieces import WholePieces

    if location.format == "parquet":
        return ParquetPieces(location, wanted)
    return TextPieces(location, wanted) if location.format in TEXT else WholePieces(location, wanted)
