"""Scores: the numbers among metrics, which of them comes first, and which of two is better."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# The first of these that a node has stands for it: what the recipes measure of two classes, of several, and of a number.
_MAIN = ("roc_auc", "auc", "macro_f1", "f1", "accuracy", "rmse", "mae", "loss")
# Parts of names, as scikit-learn and the libraries write them; what is in neither list has no better end.
_LOWER_IS_BETTER = {
    *("rmsle", "rmse", "mse", "msle", "mae", "mape", "smape", "medae", "error", "err", "loss", "logloss", "deviance", "perplexity"),
    "brier",
}
_HIGHER_IS_BETTER = {
    *("auc", "aucpr", "accuracy", "acc", "f1", "f2", "fbeta", "precision", "recall", "r2", "ap", "ndcg", "map", "mcc", "kappa", "score"),
    *("gini", "iou"),
}


def scores_of(metrics: Any) -> dict[str, float]:
    """Return the finite numbers among metrics, by name; none where they are not a mapping."""
    if not isinstance(metrics, dict):
        return {}
    return {
        str(name): float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def main_score(scores: Mapping[str, float]) -> tuple[str, float] | None:
    """Return the name and the value of the score that stands for a node; None where there is none."""
    name = next((name for name in (*_MAIN, *scores) if name in scores), None)
    return None if name is None else (name, scores[name])


def higher_is_better(name: str) -> bool | None:
    """Return whether the higher of two scores is the better one; None where the name does not tell."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if "std" in words:
        return None  # how far folds are apart
    if words & _LOWER_IS_BETTER:
        return False
    return True if words & _HIGHER_IS_BETTER else None


def best_round(metrics: Mapping[str, Mapping[int, float | None]]) -> int | None:
    """Return the round that was best by the first metric of the validation rows; None where its name does not tell which end is better.

    Args:
        metrics: by name, what was measured after each round; None where nothing was.
    """
    name = next((name for name in metrics if name.startswith("validation_")), "")
    values = {step: value for step, value in metrics.get(name, {}).items() if value is not None and math.isfinite(value)}
    direction = higher_is_better(name)
    if direction is None or not values:
        return None
    # The first of equally good rounds counts, as for early stopping.
    return min(values, key=lambda step: (-values[step] if direction else values[step], step))


def best_of(name: str, values: Mapping[int, float]) -> set[int]:
    """Return the places of the best values of a score; none where they are all alike, or the name does not tell which is better."""
    direction = higher_is_better(name)
    if direction is None or len(set(values.values())) < 2:  # noqa: PLR2004  # one value is not better than itself
        return set()
    best = max(values.values()) if direction else min(values.values())
    return {place for place, value in values.items() if value == best}
