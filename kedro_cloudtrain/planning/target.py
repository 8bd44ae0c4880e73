"""The columns of a training whose values have to be of some kind, in some rows of its table."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.worker.errors import HyperparameterError, InputError
from kedro_cloudtrain.worker.hyperparameters import MONOTONE, by_class, by_place, refuse_constrained_categories

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from kedro_cloudtrain.worker.encoding import Task


@dataclasses.dataclass(frozen=True)
class SampledTarget:
    """The target of a training, and the column that splits its rows.

    Attributes:
        column: the target's name.
        task: what is trained.
        place: where a user names them.
        held_out: whether the table has the validation rows alone, whose classes are those of another table.
        part_column: the column that marks the part of each row.
        time_column: the column that orders the rows.
        hyperparameters: those that may name classes, and features that have an order.
        library: which is trained.
    """

    column: str
    task: Task
    place: str
    held_out: bool = False
    part_column: str | None = None
    time_column: str | None = None
    hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    library: str = ""

    @property
    def columns(self) -> list[str]:
        """The columns whose values are looked at."""
        return list(dict.fromkeys(name for name in (self.column, self.part_column, self.time_column) if name is not None))

    def constrained(self, features: Sequence[str]) -> list[str]:
        """Return the features that hyperparameters give an order."""
        try:
            placed = by_place(self.library, self.hyperparameters, features)
        except InputError:
            return []  # A feature that the table does not have is another problem.
        rows = [row for name, row in placed.items() if name in MONOTONE and isinstance(row, list | tuple)]
        return [feature for row in rows for feature, sign in zip(features, row, strict=False) if sign]

    def problems(self, rows: pd.DataFrame, features: Sequence[str] = (), *, whole: bool = False) -> Iterator[str]:
        """Yield what no other row can change: a regression of text, three classes of two, a time that is none.

        Args:
            rows: some rows of the table, with these columns.
            features: the columns that the model learns from.
            whole: whether the table has no other rows.
        """
        rows = rows[rows[self.column].notna()]
        if rows.empty:
            return
        yield from self._target_problems(rows[self.column], whole=whole)
        yield from self._order_problems(rows, features)
        from kedro_cloudtrain.worker.splitting import check_split_sample  # noqa: PLC0415  # only where a table is read

        for name in (self.part_column, self.time_column):
            if name is not None:
                try:
                    check_split_sample(rows[name], by_time=name == self.time_column)
                except InputError as error:
                    yield f"{error} The column is named in {self.place}."

    def _order_problems(self, rows: pd.DataFrame, features: Sequence[str]) -> Iterator[str]:
        from kedro_cloudtrain.worker.encoding import kind_of  # noqa: PLC0415  # only where a table is read

        kinds = {name: kind_of(rows[name]) if name in self.constrained(features) and name in rows else "" for name in features}
        try:
            refuse_constrained_categories(self.library, by_place(self.library, self.hyperparameters, features), kinds)
        except InputError as error:
            yield f"{error} It stands in the `hyperparameters` of {self.place}."

    def _target_problems(self, values: pd.Series, *, whole: bool) -> Iterator[str]:
        from kedro_cloudtrain.worker.encoding import Target, check_sample  # noqa: PLC0415  # only where a table is read

        if self.held_out and self.task != "regression":
            return
        try:
            check_sample(values, self.task)
            if self.task == "regression" or not (whole or (self.task == "binary_classification" and len(values.unique()) > 1)):
                return
            # All classes are known: a binary target has no third one.
            by_class(self.hyperparameters, Target.fit(values, self.task).classes)
        except HyperparameterError as error:
            yield f"{error} It stands in the `hyperparameters` of {self.place}."
        except InputError as error:
            yield f"{error} Both stand in {self.place}."
