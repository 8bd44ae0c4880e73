"""A model of several: those of a cross-validation's folds, whose outputs are averaged."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from .models import FOLDS_FORMAT, TrainedModel

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class FoldsModel(TrainedModel):
    """The models of a cross-validation's folds as one: it predicts the mean of their numbers, or of their probabilities.

    Args:
        folder: holds `model.json`, and below it a folder for each fold.
    """

    format = FOLDS_FORMAT

    def open(self) -> None:
        """Import the library and load all folds' files now, not with the first prediction.

        Raises:
            InputError: the library cannot load a file.
        """
        for model in self.folds:
            model.open()

    @functools.cached_property
    def folds(self) -> list[TrainedModel]:
        """The model of each fold, in their order."""
        return [TrainedModel(self.folder / name) for name in self.description["folds"]]

    def output(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the mean of the folds' raw outputs for a frame's rows."""
        return np.asarray(np.mean([model.output(frame) for model in self.folds], axis=0, dtype=np.float64))

    def _check_files(self) -> None:
        _ = self.folds  # each checks its own
