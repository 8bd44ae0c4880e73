"""Tables of JSON lines, read in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .columns import one_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

PIECE_LINES = 50_000
# The arguments by which a table that is read in pieces is the one that is read at once; pandas takes no others together with pieces.
_IN_PIECES = frozenset(
    ("dtype", "convert_dates", "keep_default_dates", "precise_float", "date_unit", "encoding", "encoding_errors", "compression")
)
# A gap makes no other type of these.
_WITH_GAPS = ("int64", "float64", "str", "object")


def read_lines(path: Path, args: Mapping[str, Any], columns: Sequence[str] | None) -> tuple[pd.DataFrame, list[str]]:
    """Read some columns of a file, as far as it has them, and keep no others in memory.

    Args:
        path: the file.
        args: the arguments of `pandas.read_json`.
        columns: the columns; None reads all.

    Returns:
        The columns, and the names of all.
    """
    if not can_be_read_in_pieces(args):
        whole = read_json_lines(path, args)
        return whole, list(whole.columns)
    pieces: list[pd.DataFrame] = []
    header: dict[str, None] = {}
    for piece in json_pieces(path, args, PIECE_LINES):
        # A line may lack a key that others have; a column is missing if no line has it.
        header.update(dict.fromkeys(piece.columns))
        pieces.append(piece if columns is None else piece[[*piece.columns.intersection(columns)]].copy())
    names = [name for name in header if columns is None or name in columns]
    doubtful = [
        name
        for name in names
        if not _is_certain([piece[name] for piece in pieces if name in piece], len(pieces)) or (len(pieces) > 1 and _is_cast(name, args))
    ]
    import pandas as pd

    frame = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame()
    if doubtful:
        # "007" became 7 in a piece in which all values look like numbers, and stayed text in another piece.
        whole = read_json_lines(path, args)
        for name in doubtful:
            frame[name] = whole[name]
    return frame[names], list(header)


def json_pieces(file: Any, args: Mapping[str, Any], lines: int) -> Iterator[pd.DataFrame]:
    """Yield a file in pieces of equally many lines, each with the types that it shows itself."""
    import pandas as pd

    with pd.read_json(file, lines=True, chunksize=lines, convert_axes=False, **args) as reader:
        yield from reader


def read_json_lines(file: Any, args: Mapping[str, Any]) -> pd.DataFrame:
    """Read a whole file, with the columns' names as text: pandas makes numbers of names that look like numbers, if all of them do."""
    import pandas as pd

    frame: pd.DataFrame = pd.read_json(file, lines=True, **{"convert_axes": False, **args})
    frame.columns = [str(name) for name in frame.columns]
    return frame


def can_be_read_in_pieces(args: Mapping[str, Any]) -> bool:
    """Return whether a table that is read in pieces is the one that is read at once, but for the types that pandas guesses."""
    return set(args) <= _IN_PIECES


def _is_cast(name: str, args: Mapping[str, Any]) -> bool:
    """Return whether `dtype` makes another type of what a column looks like, which a piece shows otherwise than the whole: 7 or 7.0."""
    dtype = args.get("dtype", True)
    return name in dtype if isinstance(dtype, dict) else not isinstance(dtype, bool | None)


def _is_certain(parts: list[pd.Series], pieces: int) -> bool:
    """Return whether the parts of a column are of one type, which the pieces without it do not change."""
    return one_type(parts) and (len(parts) == pieces or str(parts[0].dtype) in _WITH_GAPS)
