"""The target of a training in some rows of its table: whether it can be one of the training's task."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.worker.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from kedro_cloudtrain.worker.encoding import Task


@dataclasses.dataclass(frozen=True)
class SampledTarget:
    """The target of a training.

    Attributes:
        column: its name.
        task: what is trained.
        place: where a user names both.
        held_out: whether the table has the validation rows alone, whose classes are those of another table.
    """

    column: str
    task: Task
    place: str
    held_out: bool = False

    def problems(self, values: pd.Series) -> Iterator[str]:
        """Yield what no other row can change: a regression of text, three classes of two.

        Args:
            values: the target of some rows.
        """
        from kedro_cloudtrain.worker.encoding import check_sample  # noqa: PLC0415  # only where a table is read

        if self.held_out and self.task != "regression":
            return
        try:
            check_sample(values.rename(self.column), self.task)
        except InputError as error:
            yield f"{error} Both stand in {self.place}."
