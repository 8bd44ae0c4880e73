"""The importance of features for a model that keeps none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def permutation_importance(features: NDArray[np.float32], error: Callable[[NDArray[Any]], float]) -> list[float]:
    """Measure how much a model's error rises when one feature is shuffled among the rows.

    Breiman 2001, "Random Forests", section 10.

    Args:
        features: some rows, of shape (rows, features).
        error: returns the model's error on rows of other features.

    Returns:
        A number per feature.
    """
    random = np.random.default_rng(0)
    base, rises = error(features), []
    for index in range(features.shape[1]):
        shuffled = features.copy()
        random.shuffle(shuffled[:, index])
        rises.append(error(shuffled) - base)
    return rises
