"""The pieces of a table that can be read as a whole alone: a sheet, or a text whose arguments concern all its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ranges import local_file
from .readers import READERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from .locations import Location
    from .pieces import Piece, Wanted


class WholePieces:
    """A table that is read as a whole.

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
        with local_file(self._location) as (path, self.bytes_read):
            frame = read_whole(path, self._location, self._wanted)
        yield from self._wanted.pieces_of(frame, begin)


def read_whole(path: Path, location: Location, wanted: Wanted) -> pd.DataFrame:
    """Read the wanted columns of all rows; a file without lines has them, too."""
    frame: pd.DataFrame = READERS[location.format](path, location, wanted.names, None)
    return frame if len(frame) else frame.reindex(columns=wanted.names)
