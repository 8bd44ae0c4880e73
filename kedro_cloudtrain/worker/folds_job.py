"""A training as far as it has folds: it counts their fits, keeps their models, and ends with what they are together."""

from __future__ import annotations

import abc
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .job import Job
from .metrics import measure
from .models import load_model, save_model
from .objectives import loss_of
from .progress import finite, finite_values
from .protocol import OUTPUTS
from .splitting import Part, Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from .cross_validation import CrossValidation
    from .encoding import Features
    from .fit_checkpoint import FitCheckpoint
    from .part_encoder import PartEncoder
    from .target import Target


class FoldsJob(Job, abc.ABC):
    """A training whose rows may be held out in folds."""

    features: Features
    target: Target
    _library: str
    _hyperparameters: Mapping[str, Any]
    _outputs: Sequence[str]
    _checkpoint_of_fit: FitCheckpoint | None = None
    _folds: CrossValidation | None = None
    _fold = 0  # the fit's number among the folds; 0 where it is not a fold's

    def rounds_of(self, rounds: int) -> int:
        """Return the rounds of a fit: those that are asked for, or on all rows as many as the folds' models have on average."""
        self.progress.most = max(self.progress.most, rounds)
        return rounds if self._folds is None or self._fold else min(rounds, self._folds.rounds)

    @abc.abstractmethod
    def _fitted(self, encoder: PartEncoder, split: Split) -> Part: ...

    @abc.abstractmethod
    def _history_of(self, native: Any) -> list[dict[str, Any]]: ...

    def _begin_fit(self, folds: CrossValidation, fold: int, done: int) -> None:
        """Begin the fit of a fold, or of all rows, which other fits came before."""
        if done:
            self._change_stage("read")  # for the encoding
        self._fold, self._checkpoint_of_fit = fold, None
        self.progress.begin_fit(done, folds.fits, holds_out=fold > 0)

    def _keep_fold(self, native: Any, importance: Sequence[float] | None) -> None:
        """Keep the model of a fold, where the folds' models are the model."""
        if self._folds is None or self._folds.kept is None:
            return
        values = [0.0] * len(self.features.columns) if importance is None else importance
        by_name = {column.name: finite(float(value)) for column, value in zip(self.features.columns, values, strict=True)}
        more = {"rounds": len(self._history_of(native)), "versions": self._versions()}
        features, target = self.features, self.target
        self._folds.kept.add(self._fold, lambda folder: save_model(folder, self._library, native, features, target, **more), by_name)

    def _end_folds(self, encoder: PartEncoder, frame: pd.DataFrame, splits: Sequence[Split]) -> None:
        """Write what the folds and their models are together.

        Args:
            encoder: encodes the rows.
            frame: the table.
            splits: the rows of each fold.
        """
        folds = self._folds
        if folds is None or folds.kept is None:
            return
        self._change_stage("save")
        self._fold, test, numbers = 0, splits[0].test, sorted(folds.folds)
        everything = np.setdiff1d(np.arange(len(frame)), test)
        self._rows |= {"train": len(everything), "validation": sum(len(split.validation) for split in splits), "test": len(test)}
        self._fitted(encoder, Split(everything, everything[:0], test))  # the features as all rows have them
        folder = (self.folder / OUTPUTS if "model" in self._outputs else self._checkpoint) / "model"
        target = {"name": self.target.name, "classes": list(self.target.classes)}
        about = {"library": self._library, "task": self.target.task, "target": target, "features": self.features.described()}
        rounds = [fold.rounds for fold in folds.folds.values()]
        folds.kept.save(folder, numbers, **about, rounds=round(float(np.mean(rounds))), versions=self._versions())
        model, measured = load_model(folder), folds.metrics
        if len(test):
            part, loss = encoder.encode(test, "test"), loss_of(self._library, self._hyperparameters)
            tested = measure(self.target, part.target, model.output(frame.iloc[test]), part.weight, loss)
            measured |= {f"test_{name}": value for name, value in tested.items() if name != "classes"}
        if "model" in self._outputs:
            self._written["model"] = folder
        texts = {"metrics": finite_values(measured), "history": folds.history, "importance": folds.kept.importance(numbers)}
        for kind, value in texts.items():
            if kind in self._outputs:
                self._write_json(kind, value)
        if "predictions" in self._outputs:
            self._written["predictions"] = self._output_file("predictions.parquet")
            folds.predictions(self.target).to_parquet(self._written["predictions"], index=False)
        print("  ".join(f"{name} {value:.6g}" for name, value in measured.items() if isinstance(value, float)))  # noqa: T201

    def _write_json(self, kind: str, value: Any) -> None:
        file = self._output_file(f"{kind}.json")
        file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self._written[kind] = file
