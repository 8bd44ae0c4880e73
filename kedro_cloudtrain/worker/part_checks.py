"""Checks of the rows of a part before a fit: whether there is something to learn, and whether what is watched is defined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sized

    from numpy.typing import NDArray

    from .splitting import Part
    from .target import Target, Task

# What each library calls the areas below curves, which need two classes.
_OF_A_RANKING = ("auc", "aucpr", "average_precision", "AUC", "PRAUC")
_TWO = 2


def check_fitted(library: str, task: Task, target: Target, train: Part) -> None:
    """Check that a model can learn something from the training rows.

    Raises:
        InputError: they have one class, or constant features of which CatBoost makes nothing.
    """
    counted, some = train.target, "training rows"
    if train.weight is not None:
        counted, some = counted[train.weight > 0], "training rows of a weight above 0"
    classes = [] if task == "regression" else [target.classes[code] for code in np.unique(counted)]
    if task != "regression" and len(classes) < _TWO:
        one = f"one class of `{target.name}` only, {classes[0]!r}" if classes else f"no class of `{target.name}`"
        weights = "" if train.weight is None else " or the weights"
        raise InputError(
            f"The {some} have {one}: a model has nothing to tell apart. Change `validation`{weights}, so that they have other classes, too."
        )
    if library == "catboost" and _is_constant(train.features):
        raise InputError(
            "Every feature is constant in the training rows, and CatBoost fits no model to constants. "
            "Choose other feature_columns, or another library in model_type."
        )


def check_held(task: Task, target: Target, held: Part, hyperparameters: Mapping[str, Any]) -> str | None:
    """Check that what is watched of the validation rows is defined, and return what is doubtful about them; None if nothing is.

    Raises:
        InputError: a ranking is watched, and they have one class: the fit would stop at its first round.
    """
    counted = held.target if held.weight is None else held.target[held.weight > 0]
    if task == "regression" or len(np.unique(counted)) != 1:
        return None
    finding = f"The validation rows have one class of `{target.name}` only, {target.classes[int(counted[0])]!r}"
    for name in ("eval_metric", "metric"):
        if hyperparameters.get(name) in _OF_A_RANKING:
            raise InputError(
                f"{finding}, of which `{hyperparameters[name]}` is not defined. Change `validation`, or watch another `metric`: log_loss, "
                "for example."
            )
    return f"{finding}: their scores say little"


def count_rows(train: Sized, held: Sized, test: Sized | None) -> dict[str, int]:
    """Return, and print, how many rows each part has."""
    counts = {"train": len(train), "validation": len(held), "test": len(test) if test is not None else 0}
    print("  ".join(f"{name} {count:,}" for name, count in counts.items()) + " rows")  # noqa: T201
    return counts


def _is_constant(matrix: NDArray[np.float32]) -> bool:
    # A column at a time: the first one that varies ends it.
    return all(bool(((column == column[:1]) | (np.isnan(column) & np.isnan(column[:1]))).all()) for column in matrix.T)
