"""Tables of delimited text: read whole whatever columns are wanted, so that each argument means what it means to pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .columns import blanks_among_numbers, is_number, one_type

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

# The cells of a piece: few enough for any machine's memory, and enough to make pandas' own work for a piece negligible.
PIECE_CELLS = 2**21
FIRST_ROWS = 1000
# The arguments by which a table that is read in pieces is the one that is read at once. With others, pandas leaves its C parser, or decides
# something, such as the format of dates, once for all rows.
_IN_PIECES_TEXT = """
    sep delimiter header names index_col usecols dtype true_values false_values skipinitialspace skiprows nrows na_values keep_default_na
    na_filter skip_blank_lines compression thousands decimal lineterminator quotechar quoting doublequote escapechar comment encoding
    encoding_errors on_bad_lines low_memory memory_map float_precision engine
"""
_IN_PIECES = frozenset(_IN_PIECES_TEXT.split())


def read_delimited(
    path: Path, args: Mapping[str, Any], choose: Callable[[Sequence[Any]], list[Any]], float32: Container[str] = ()
) -> pd.DataFrame:
    """Read some columns of a file, and keep no others in memory.

    All are parsed: `usecols` would change what other arguments mean. With it `index_col: false` shifts the columns of lines that end in a
    delimiter, and a line with too many fields is taken without a word.

    Args:
        path: the file.
        args: the arguments of `pandas.read_csv`.
        choose: returns the labels of the columns to keep, given all; may raise.
        float32: the columns whose numbers become float32.
    """
    frame = _read(path, args, choose, float32)
    blanks = {label: blanks_of(label, frame[label], args) for label in frame.columns}
    suspects = [label for label, texts in blanks.items() if texts]
    if suspects:
        again = _read(path, {**args, "na_values": with_blanks(args.get("na_values"), blanks)}, lambda _: suspects, float32)
        for label in suspects:
            if is_number(again[label]):
                frame[label] = again[label]
    return frame


def read_first_rows(file: Any, args: Mapping[str, Any]) -> pd.DataFrame:
    """Read the rows that the arguments ask for, each column as `read_delimited` would.

    Args:
        file: a path, or a binary file, which is read from its beginning.
        args: the arguments of `pandas.read_csv`.
    """
    import pandas as pd

    def read(more: Mapping[str, Any]) -> pd.DataFrame:
        if hasattr(file, "seek"):
            file.seek(0)
        return pd.read_csv(file, **{**args, **more})

    frame = read({})
    blanks = {label: texts for label in dict.fromkeys(frame.columns) if (texts := blanks_of(label, frame[label], args))}
    again = read({"na_values": with_blanks(args.get("na_values"), blanks)}) if blanks else frame
    for label in blanks:
        if is_number(again[label]):
            frame[label] = again[label]
    return frame


def _read(path: Path, args: Mapping[str, Any], choose: Callable[[Sequence[Any]], list[Any]], float32: Container[str] = ()) -> pd.DataFrame:
    import pandas as pd

    from .digits import narrowed

    # With low_memory, pandas guesses types in pieces, and leaves numbers and texts in one column.
    at_once = {**args, "low_memory": False} if _is_read_by_c(args) else args
    if not can_be_read_in_pieces(args):
        whole = pd.read_csv(path, **at_once)
        return whole[choose(list(whole.columns))]
    kept: dict[Any, list[pd.Series]] = {}
    indexes: list[pd.Index] = []
    for piece in _pieces(path, args):
        header = piece.columns
        kept = kept or {label: [] for label in choose(list(header))}
        for label, parts in kept.items():
            column = piece[label]
            part = narrowed(column) if str(label) in float32 and is_number(column) else column
            # A column of the piece would keep the rest of it in memory.
            parts.append(part.copy() if part is column else part)
        indexes.append(piece.index)
    doubtful = [label for label, parts in kept.items() if not one_type(parts)]
    if doubtful or not one_type(indexes):
        # A type is guessed from all rows at once: "007" is a number among numbers, and a text if a later row has a text.
        whole = pd.read_csv(path, **at_once)
        if not one_type(indexes):
            return whole[list(kept)]
        kept.update({label: [whole[label]] for label in doubtful})
    # The columns of each label are joined and freed one by one, so that memory never holds the table twice.
    columns = {label: pd.concat(kept.pop(label), ignore_index=True) for label in list(kept)}
    frame = pd.DataFrame(columns, columns=None if columns else header[:0], copy=False)
    frame.index = indexes[0].append(indexes[1:])
    return frame


def can_be_read_in_pieces(args: Mapping[str, Any]) -> bool:
    """Return whether a table that is read in pieces is the one that is read at once, but for the types that pandas guesses."""
    return _is_read_by_c(args) and set(args) <= _IN_PIECES


def _is_read_by_c(args: Mapping[str, Any]) -> bool:
    """Return whether pandas reads with its C parser, as far as that is certain."""
    separator = args.get("sep", args.get("delimiter", ","))
    return (
        args.get("engine") in (None, "c")
        and not args.get("skipfooter")
        and isinstance(separator, str)
        and (separator == r"\s+" or (len(separator) == 1 and separator.isascii()))
        and not isinstance(args.get("header"), list | tuple)
        and isinstance(args.get("on_bad_lines", "error"), str)
    )


def _pieces(path: Path, args: Mapping[str, Any]) -> Iterator[pd.DataFrame]:
    import pandas as pd

    with pd.read_csv(path, **{**args, "iterator": True, "low_memory": False}) as reader:
        rows = FIRST_ROWS
        while True:
            try:
                piece = reader.get_chunk(rows)
            except StopIteration:
                return
            rows = max(FIRST_ROWS, PIECE_CELLS // max(1, len(piece.columns)))
            yield piece


def blanks_of(label: Any, values: pd.Series, args: Mapping[str, Any]) -> list[str]:
    """Return the blanks by which a column of numbers looks like text to pandas; none if what it holds is the user's choice."""
    dtype = args.get("dtype")
    chosen = label in dtype if isinstance(dtype, dict) else dtype is not None
    chosen = chosen or False in (args.get("na_filter"), args.get("keep_default_na"))
    # pyarrow takes no values of one column, and pandas no label of a header of two rows.
    if (
        chosen
        or False in (args.get("na_filter"), args.get("keep_default_na"))
        or args.get("engine") == "pyarrow"
        or isinstance(label, tuple)
    ):
        return []
    return blanks_among_numbers(values)


def with_blanks(given: Any, blanks: Mapping[Any, Sequence[str]]) -> dict[Any, list[Any]]:
    """Return `na_values` for each column with its blanks, beside those that are given."""

    def given_for(label: Any) -> list[Any]:
        values = given.get(label, []) if isinstance(given, dict) else given
        return [] if values is None else [values] if isinstance(values, str | int | float) else list(values)

    return {label: [*given_for(label), *texts] for label, texts in blanks.items() if texts}
