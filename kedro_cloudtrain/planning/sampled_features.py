"""The columns of a table that a model needs, in its first rows: whether they hold what the model knows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from kedro_cloudtrain.worker.models import TrainedModel


@dataclasses.dataclass(frozen=True)
class SampledFeatures:
    """The features of a model.

    Attributes:
        model: the model.
        name: its dataset.
    """

    model: TrainedModel
    name: str
    categorical: Sequence[str] = ()

    @property
    def columns(self) -> Sequence[str]:
        """The columns that the model needs."""
        return self.model.feature_columns

    def constrained(self, features: Sequence[str]) -> Sequence[str]:  # noqa: ARG002  # all are looked at already
        """Return nothing: all features are looked at."""
        return ()

    def problems(self, rows: pd.DataFrame, features: Sequence[str] = (), *, whole: bool = False) -> Iterator[str]:  # noqa: ARG002
        """Yield the columns whose values are of another kind than those that the model was trained on."""
        from kedro_cloudtrain.worker.matching import mismatches  # noqa: PLC0415  # pandas, which takes half a second

        for clause in mismatches(self.model.features, rows):
            yield f"{clause}. Fix the table, or train `{self.name}` on such a column."

    def notes(self, rows: pd.DataFrame) -> Iterator[str]:
        """Yield the columns with values that the model does not know."""
        from kedro_cloudtrain.worker.matching import unknown_categories, unknown_values  # noqa: PLC0415  # as above

        for clause in unknown_categories(self.model.features, rows):
            yield f"{clause}. Check that it is the column that `{self.name}` was trained on."
        for clause in unknown_values(self.model.features, rows):
            yield f"{clause}."
