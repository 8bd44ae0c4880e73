"""The rows of one group of a table: `rows` of `load_args` names a column and the value that they have there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    import pandas as pd

    from .locations import Location

ROWS: Final = "rows"


def selection_of(location: Location) -> dict[str, Any]:
    """Return the value that each selecting column has in the rows to read; empty where all rows are read."""
    return dict(location.load_args.get(ROWS) or {})


def with_selecting(columns: Sequence[str] | None, selection: Mapping[str, Any]) -> list[str] | None:
    """Return the columns to read, with those that select the rows; None for all."""
    return None if columns is None else list(dict.fromkeys([*columns, *selection]))


def selected(frame: pd.DataFrame, selection: Mapping[str, Any], columns: Sequence[str] | None, place: str) -> pd.DataFrame:
    """Return the selected rows, without the columns that have selected them: those hold one value.

    Args:
        frame: the table.
        selection: the value of each selecting column.
        columns: the columns to return; None for all but the selecting ones.
        place: the table's, for a message.

    Raises:
        InputError: no row has the value.
    """
    for name, value in selection.items():
        held = frame[name]
        mask = (held == value).fillna(False).to_numpy(dtype=bool)  # a missing value selects nothing
        if not mask.any():
            raise InputError(
                f"{place} has no row whose `{name}` is {value!r}. Is the group spelt as in the data? If the data has changed since the run "
                "began, run again."
            )
        frame = frame[mask]
    kept = [name for name in frame.columns if name not in selection] if columns is None else list(columns)
    return frame[kept].reset_index(drop=True)


def holding_groups(metadata: Any, selection: Mapping[str, Any]) -> list[int]:
    """Return the numbers of a parquet file's row groups that may hold selected rows, by their statistics."""
    places = {metadata.schema.column(index).path: index for index in range(metadata.num_columns)}
    return [
        number
        for number in range(metadata.num_row_groups)
        if all(_may_hold(metadata.row_group(number).column(places[name]), value) for name, value in selection.items() if name in places)
    ]


def _may_hold(chunk: Any, value: Any) -> bool:
    statistics = chunk.statistics
    if statistics is None or not statistics.has_min_max:
        return True
    try:
        return bool(statistics.min <= value <= statistics.max)
    except TypeError:
        return True  # The statistics are of another type, such as bytes.


class Exact:
    """The columns of which a model needs no more than float32, without those that select rows: a code has all its digits.

    Args:
        names: the columns.
        selection: the selecting ones.
    """

    def __init__(self, names: Container[str], selection: Mapping[str, Any]) -> None:
        self._names = names
        self._selection = selection

    def __contains__(self, name: object) -> bool:
        return name not in self._selection and name in self._names
