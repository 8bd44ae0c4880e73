"""The models of a cross-validation's folds, which are kept and together are the model."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from .models import FOLDS_FORMAT
from .progress import finite
from .protocol import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_IMPORTANCE = "importance.json"


class KeptFolds:
    """The models of the folds that are done: beside the checkpoint, so that a lost machine does not cost them.

    Args:
        place: the checkpoint's folder.
    """

    def __init__(self, place: Path) -> None:
        self._place = place / "folds"

    def has(self, number: int) -> bool:
        """Return whether the model of a fold is there, by the fold's number."""
        return (self._folder(number) / _IMPORTANCE).is_file()

    def add(self, number: int, save: Callable[[Path], None], importance: Mapping[str, float | None]) -> None:
        """Keep the model of a fold.

        Args:
            number: the fold's.
            save: writes the model into a folder.
            importance: the features' by their names.
        """
        folder = self._folder(number)
        shutil.rmtree(folder, ignore_errors=True)
        save(folder)
        # Written last: without it, a fold counts as not done.
        (folder / _IMPORTANCE).write_text(json.dumps(importance, ensure_ascii=False), encoding="utf-8")

    def importance(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Return the mean of each feature's importance over the folds, the most important first."""
        folds = [json.loads((self._folder(number) / _IMPORTANCE).read_text(encoding="utf-8")) for number in numbers]
        means = {name: sum(fold[name] or 0.0 for fold in folds) / len(folds) for name in folds[0]}
        return sorted(({"feature": name, "importance": finite(mean)} for name, mean in means.items()), key=lambda row: -row["importance"])

    def save(self, folder: Path, numbers: Sequence[int], **description: Any) -> None:
        """Write the model that all folds are together.

        Args:
            folder: the model's, which is created.
            numbers: those of the folds.
            **description: the fields of `model.json`.
        """
        names = [f"fold-{number}" for number in numbers]
        for number, name in zip(numbers, names, strict=True):
            shutil.copytree(self._folder(number), folder / name, ignore=shutil.ignore_patterns(_IMPORTANCE))
        text = json.dumps({"format": FOLDS_FORMAT, **description, "folds": names}, indent=2, ensure_ascii=False)
        (folder / MODEL).write_text(text + "\n", encoding="utf-8")

    def _folder(self, number: int) -> Path:
        return self._place / f"model-{number}"
