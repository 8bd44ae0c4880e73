"""The table of a training: the columns that have a role, and the rows that have a target."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from .categories import check_codes
from .doubts import print_checks, refuse_nested
from .errors import InputError
from .tables import read_table
from .weights import row_weights

if TYPE_CHECKING:
    import pandas as pd

    from .locations import Location
    from .roles import Roles


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingTable:
    """A table that was read.

    Attributes:
        frame: the rows that have a target; their index has their numbers in the source.
        rows: how many rows the source has.
        bytes_read: how many bytes it took.
    """

    frame: pd.DataFrame
    rows: int
    bytes_read: int


def read_training_table(location: Location, roles: Roles, place: str = "", columns: int | None = None) -> TrainingTable:
    """Read the columns that have a role, and drop the rows that have no target.

    Args:
        location: the table's place.
        roles: what each column is for.
        place: how messages name it; left out, by its place.
        columns: how many columns are read of it, these among them; left out, these.

    Raises:
        InputError: the table does not exist, has another format, lacks a column, or has values that none can have.
    """
    place = place or location.place
    try:
        table = read_table(location, columns=roles.columns, float32=roles.float32)
    except InputError as error:
        raise roles.explained(error) from None
    # Rows are known by their numbers, whatever index load_args or a frame's own has made of a column.
    frame = table.frame.reset_index(drop=True)
    # A spreadsheet's header may hold numbers: years, for example.
    frame.columns = [str(name) for name in frame.columns]
    roles.require_all(location, list(frame.columns))
    print(f"read {len(frame):,} rows, {columns or len(frame.columns)} columns from {place}")  # noqa: T201
    print_checks(table.notes)
    refuse_nested(frame, place)
    rows, has_target = len(frame), frame[roles.target].notna()
    if not has_target.all():
        print(f"dropped {int((~has_target).sum()):,} rows without a {roles.target}")  # noqa: T201
        # The index keeps the row numbers of the source.
        frame = frame[has_target]
    if frame.empty:
        raise InputError(f"No row of {place} has a `{roles.target}`. Fix target_column, or the data.")
    for name in roles.categorical:
        check_codes(frame[name])
    if roles.weight is not None:
        row_weights(frame[roles.weight])
    return TrainingTable(frame, rows, table.bytes_read)
