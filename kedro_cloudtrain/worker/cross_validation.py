"""A cross-validation: what each fold has shown, kept so that a lost machine does not cost it, and what they show together."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from .predictions import predictions_table
from .progress import finite
from .protocol import CHECKPOINT_VARIABLE, WORK_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from .kept_folds import KeptFolds
    from .target import Target

# What is not a fold's score.
_TOGETHER = ("confusion_matrix", "classes")


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
    """What one fold has shown.

    Attributes:
        metrics: those of the rows that were held out.
        rounds: the rounds of its model, up to the best one.
        fitted: how many rows the fit went through, once a round.
        history: a row for each round.
        rows: the number in the table of each row that was held out.
        truth: their encoded targets.
        output: the library's raw output for them.
    """

    metrics: dict[str, Any]
    rounds: int
    fitted: int
    history: list[dict[str, Any]]
    rows: NDArray[np.int64]
    truth: NDArray[Any]
    output: NDArray[Any]


class CrossValidation:
    """The folds so far, beginning with those that were done before, on a machine that was lost or in an earlier run.

    Args:
        count: how many folds there are.
        kept: keeps the folds' models, where those are the model; None where it is fitted on all rows.

    Attributes:
        kept: as given.
        folds: what each has shown, by its number from 1.
        restored: how many were done before.
    """

    def __init__(self, count: int, kept: KeptFolds | None = None) -> None:
        self.count = count
        self.kept = kept
        place = os.environ.get(CHECKPOINT_VARIABLE)
        self._folder = Path(place) / "folds" if place else None
        self.folds: dict[int, Fold] = {}
        for number in range(1, count + 1):
            fold = self._read(number)
            if fold is not None and (kept is None or kept.has(number)):
                self.folds[number] = fold
        self.restored = len(self.folds)
        if self.restored:
            print(f"{self.restored} of {count} folds were done before")  # noqa: T201

    def add(self, number: int, fold: Fold) -> None:
        """Take a fold's outcome, and keep it for the next machine."""
        self.folds[number] = fold
        if self._folder is None:
            return
        about = {field: getattr(fold, field) for field in ("metrics", "rounds", "fitted", "history")}
        about["work"] = os.environ.get(WORK_VARIABLE, "")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = self._folder / f".{number}.npz"
            np.savez(temporary, about=np.array(json.dumps(about)), rows=fold.rows, truth=fold.truth, output=fold.output)
            temporary.replace(self._folder / f"{number}.npz")
        except OSError as error:
            print(f"fold {number} is not kept: {error}")  # noqa: T201

    @property
    def fits(self) -> int:
        """How many fits there are: one for each fold, and, where the folds' models are not kept, one on all rows."""
        return self.count + (self.kept is None)

    @property
    def rounds(self) -> int:
        """The rounds of a fit on all rows: as many as the folds' models have on average."""
        return max(1, round(float(np.mean([fold.rounds for fold in self._ordered()]))))

    @property
    def metrics(self) -> dict[str, Any]:
        """The mean of each metric over the folds, its standard deviation as `…_std`, confusions added up, and `folds`: those of each."""
        folds = list(self._ordered())
        scores: dict[str, Any] = {}
        for name in dict.fromkeys(name for fold in folds for name in fold.metrics if name not in _TOGETHER):
            values = [value for fold in folds if (value := fold.metrics.get(name)) is not None and np.isfinite(value)]
            scores |= {name: float(np.mean(values)) if values else None, f"{name}_std": float(np.std(values)) if values else None}
        if "classes" in folds[0].metrics:
            matrices = [np.asarray(fold.metrics["confusion_matrix"]) for fold in folds]
            scores |= {"confusion_matrix": sum(matrices[1:], matrices[0]).tolist(), "classes": folds[0].metrics["classes"]}
        scores["folds"] = [
            {
                **{name: value for name, value in fold.metrics.items() if name not in _TOGETHER},
                "rounds": fold.rounds,
                "rows": len(fold.rows),
            }
            for fold in folds
        ]
        return scores

    @property
    def history(self) -> list[dict[str, Any]]:
        """The mean of each metric over the folds after each round that all of them have."""
        histories = [fold.history for fold in self._ordered()]
        return [_mean_of(rows) for rows in zip(*histories, strict=False)]

    @property
    def fitted_rows(self) -> int | None:
        """How many rows the folds' fits went through, a row of each round counted; None where some of that was done before."""
        return None if self.restored else sum(fold.fitted * len(fold.history) for fold in self.folds.values())

    def predictions(self, target: Target) -> pd.DataFrame:
        """Return the prediction of each row by the model that has not seen it, with its `fold`, in the table's order."""
        import pandas as pd  # imported already when the table was read

        tables = [
            predictions_table(target, fold.rows, fold.truth, fold.output).assign(fold=number) for number, fold in sorted(self.folds.items())
        ]
        return pd.concat(tables, ignore_index=True).sort_values("row", kind="stable", ignore_index=True)

    def _ordered(self) -> Iterator[Fold]:
        return (fold for _, fold in sorted(self.folds.items()))

    def _read(self, number: int) -> Fold | None:
        """Return the outcome of a fold that was kept for the same work; None if there is none."""
        if self._folder is None:
            return None
        try:
            with np.load(self._folder / f"{number}.npz") as kept:
                about, arrays = json.loads(str(kept["about"])), {name: kept[name] for name in ("rows", "truth", "output")}
            if about.pop("work") != os.environ.get(WORK_VARIABLE, ""):
                return None
            return Fold(**about, **arrays)
        except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, BadZipFile):
            return None  # The machine was lost while it wrote, or the file is not of this class.


def _mean_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a round's row of all folds: None where a fold has no number."""
    mean: dict[str, Any] = {"round": rows[0]["round"]}
    for name in rows[0]:
        if name != "round":
            values = [value for row in rows if (value := row.get(name)) is not None]
            mean[name] = finite(float(np.mean(values))) if len(values) == len(rows) else None
    return mean
