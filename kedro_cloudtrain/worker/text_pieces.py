"""The pieces of a table of text (csv, tsv, JSON lines), with the types that its columns have in the whole table.

Text has no types: pandas guesses them, and a piece does not show what a later one holds. The first rows of a column may be numbers, and
a later one shows that it is text ("007"). The pieces are read with the types that they show themselves; where one shows a type with which
others should have been read, the rest of the table is read for its types, and the pieces begin anew.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from . import delimited, json_lines
from .column_types import ColumnTypes
from .ranges import local_file
from .readers import explained, reader_args, require
from .whole_pieces import read_whole

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from pathlib import Path

    import pandas as pd

    from .locations import Location
    from .pieces import Piece, Wanted


class TextPieces:
    """A table of text in pieces.

    Args:
        location: the table's place.
        wanted: what is read of it.

    Attributes:
        bytes_read: the number of bytes that were read from its source.
    """

    def __init__(self, location: Location, wanted: Wanted) -> None:
        self._location = location
        self._wanted = wanted
        self._labels: dict[str, Any] = {}
        # What the rows have shown: types to read columns with, and the blanks among the numbers of others.
        self._dtypes: dict[str, str] = {}
        self._blanks: dict[str, list[str]] = {}
        self.bytes_read = 0

    def read(self, begin: int = 0) -> Iterator[Piece]:
        """Yield the pieces, from one of them on; they begin anew where a column proves to be of another type."""
        location, wanted = self._location, self._wanted
        module = json_lines if location.format == "jsonl" else delimited
        with local_file(location) as (path, self.bytes_read):
            with explained(location):
                args = reader_args(location, path)
            in_pieces = module.can_be_read_in_pieces(args)
            while in_pieces:
                types = yield from self._guessed(path, self._with_types(args), begin)
                if not types.wrong:
                    return
                # JSON has types of its own beside pandas' guesses: only the whole shows them.
                begin, in_pieces = 0, location.format != "jsonl" and self._learn(types)
            yield from wanted.pieces_of(read_whole(path, location, wanted), begin)

    def _guessed(self, path: Path, args: Mapping[str, Any], begin: int) -> Generator[Piece, None, ColumnTypes]:
        """Yield the pieces as pandas guesses them, and return the columns' types; none any more once one was guessed wrong."""
        location, wanted = self._location, self._wanted
        types = ColumnTypes(wanted.category_names, lambda name, values: delimited.blanks_of(self._labels[name], values, args), self._blanks)
        header: dict[str, None] = {}
        frames = self._frames(path, args)
        number = 0
        while True:
            with explained(location):
                frame, share = next(frames, (None, 1.0))
            if frame is None and number:
                break
            if frame is None:
                frame = read_whole(path, location, wanted)
            self._labels |= {str(label): label for label in frame.columns}
            frame.columns = [str(label) for label in frame.columns]
            header.update(dict.fromkeys(frame.columns))
            if location.format != "jsonl":  # A line may lack a key that others have.
                require(location, wanted.names, list(frame.columns))
            for name in wanted.names:
                types.add(name, frame.get(name))
            if number >= begin and not types.wrong:
                # Without the columns that are not read, which a view of the frame would keep in memory.
                yield wanted.piece(number, frame.reindex(columns=wanted.names), round((number + 1) / max(share, 1e-9)))
            number += 1
        if header:
            require(location, wanted.names, list(header))
        return types

    def _frames(self, path: Path, args: Mapping[str, Any]) -> Iterator[tuple[pd.DataFrame, float]]:
        """Yield the pieces' frames, and the share of the file that has been read by then."""
        import pandas as pd

        size = max(1, path.stat().st_size)
        with path.open("rb") as file:
            if self._location.format != "jsonl":
                with pd.read_csv(file, **{**args, "iterator": True, "low_memory": False}) as reader:
                    while True:
                        try:
                            frame = reader.get_chunk(self._wanted.rows)
                        except StopIteration:
                            return
                        yield frame, file.tell() / size
            packed = args.get("compression") is not None
            text = path if packed else io.TextIOWrapper(file, args.get("encoding") or "utf-8", args.get("encoding_errors") or "strict")
            for frame in json_lines.json_pieces(text, args, self._wanted.rows):
                yield frame, 1.0 if packed else file.tell() / size

    def _learn(self, types: ColumnTypes) -> bool:
        """Take over what the rows have shown, and return whether that is anything new."""
        before = (dict(self._dtypes), dict(self._blanks))
        for name, kind in types.wrong.items():
            if kind == "blanks":
                self._blanks[name] = sorted({*self._blanks.get(name, ()), *types.blanks[name]})
            elif kind == "decimal":
                self._dtypes[name] = "float64"
            else:
                self._blanks.pop(name, None)
                self._dtypes[name] = "str"
        return before != (self._dtypes, self._blanks)

    def _with_types(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of pandas' reader with what the rows have shown."""
        changed, given = dict(args), args.get("na_values")
        if self._blanks:
            values = [given] if isinstance(given, str | int | float) else given or []
            others = values if isinstance(values, dict) else {self._labels[name]: values for name in self._wanted.names}
            blanks = {self._labels[name]: texts for name, texts in self._blanks.items()}
            changed["na_values"] = {**others, **delimited.with_blanks(given, blanks)}
        if self._dtypes and isinstance(args.get("dtype"), dict | None):
            changed["dtype"] = {**(args.get("dtype") or {}), **{self._labels[name]: dtype for name, dtype in self._dtypes.items()}}
        return changed
