"""What the first rows of a table are checked for, before anything is run or paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd


class Sample(Protocol):
    """What the first rows of a table are checked for: by a training its target, by a prediction what the model needs."""

    @property
    def categorical(self) -> Sequence[str]:
        """The features that are categories, even if they hold numbers."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """The columns whose values are looked at."""
        ...

    def constrained(self, features: Sequence[str]) -> Sequence[str]:
        """Return the features whose values are looked at, too."""
        ...

    def problems(self, rows: pd.DataFrame, features: Sequence[str] = (), *, whole: bool = False) -> Iterator[str]:
        """Yield what no other row can change.

        Args:
            rows: some rows of the table, with these columns.
            features: the columns that a model learns from.
            whole: whether the table has no other rows.
        """
        ...

    def notes(self, rows: pd.DataFrame) -> Iterator[str]:
        """Yield what is doubtful about some rows."""
        ...


def looked_at(sample: Sample, rows: pd.DataFrame, features: Sequence[str]) -> pd.DataFrame:
    """Return the columns whose values are looked at, each once: a table may be as large as the memory."""
    wanted = [*sample.columns, *sample.constrained(features)]
    chosen = rows[[column for column in dict.fromkeys(wanted) if column in rows.columns]]
    return chosen.loc[:, ~chosen.columns.duplicated()]
