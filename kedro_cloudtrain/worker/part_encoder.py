"""The rows of a table, encoded part by part."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from .doubts import doubts
from .encoding import Features
from .splitting import Part
from .weights import class_weights, refuse_zeros, row_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from .roles import Roles
    from .target import Target


class PartEncoder:
    """Encodes parts of a table's rows by what the rows to fit on hold.

    Args:
        frame: the table.
        target: how the target is encoded.
        roles: what each column is for.
        names: the features.
        class_weight: `balanced`, or weights by the classes' labels: they weigh the rows to fit on alone.

    Attributes:
        codes: each row's encoded target.
        features: how the features are encoded; set by `fit`.
    """

    features: Features

    def __init__(
        self,
        frame: pd.DataFrame,
        target: Target,
        roles: Roles,
        names: Sequence[str],
        class_weight: str | Mapping[str, float] | None = None,
    ) -> None:
        self._frame = frame
        self._target = target
        self._roles = roles
        self._names = names
        self._class_weight = class_weight
        self.codes = target.encode(frame[target.name])
        self._weight = None if roles.weight is None else row_weights(frame[roles.weight])

    def fit(self, places: NDArray[np.int64]) -> Part:
        """Return the rows to fit on, by which all others are encoded from now on.

        Raises:
            InputError: none of them counts.
        """
        # Each column goes into the matrix of each part by itself: memory holds no table between the frame and these.
        self.features, matrix = Features.fit_matrix(self._frame, self._names, self._roles.categorical, self._rows(places))
        part = self._part(places, matrix, "training ")
        if self._class_weight is None:
            return part
        of_classes = class_weights(self._class_weight, self._target, part.target)
        return dataclasses.replace(part, weight=of_classes if part.weight is None else of_classes * part.weight)

    def encode(self, places: NDArray[np.int64], name: str) -> Part:
        """Return other rows; `name` is that of their part, for a message.

        Raises:
            InputError: none of them counts.
        """
        return self._part(places, self.features.matrix(self._frame, places), f"{name} ")

    def encode_table(self, frame: pd.DataFrame) -> Part:
        """Return all rows of a table of validation rows.

        Raises:
            InputError: none of them counts.
        """
        weight = None if self._roles.weight is None else row_weights(frame[self._roles.weight])
        codes = self._target.encode(frame[self._target.name])
        return self._checked(Part(self.features.matrix(frame), codes, frame.index.to_numpy(), weight), "validation ")

    def doubts(self, places: NDArray[np.int64]) -> Iterable[str]:
        """Return what is doubtful about the features, in the rows to fit on."""
        return doubts(self._frame, self._names, self._roles.categorical, self._rows(places))

    def _rows(self, places: NDArray[np.int64]) -> NDArray[np.int64] | None:
        return None if len(places) == len(self._frame) else places

    def _part(self, places: NDArray[np.int64], matrix: NDArray[np.float32], name: str) -> Part:
        weight: NDArray[Any] | None = None if self._weight is None else self._weight[places]
        return self._checked(Part(matrix, self.codes[places], self._frame.index.to_numpy()[places], weight), name)

    def _checked(self, part: Part, name: str) -> Part:
        if part.weight is not None:
            refuse_zeros(part.weight, str(self._roles.weight), name)
        return part
