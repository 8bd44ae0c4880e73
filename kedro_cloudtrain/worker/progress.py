"""How far a fit is: a line an iteration for who watches, a row a round for the history."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# A watcher looks four times a second; more writes would only cost the fit.
_FLUSH_EVERY_S = 0.2
# In the log, a line each tenth of the rounds.
_LOG_LINES = 10
_CATBOOST_PARTS = {"learn": "train", "validation": "validation", "validation_0": "validation"}


class Progress:
    """Writes `progress.jsonl` and keeps the history; its `for_*` methods give each library's own kind of callback.

    Args:
        file: the progress file.

    Attributes:
        of: how many rounds there are at most.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("w", encoding="utf-8")
        self._began = time.monotonic()
        self._due = 0.0
        self._before_s = 0.0
        self.of = 0
        self._noted: list[tuple[float, dict[str, float]]] = []
        self._history: list[dict[str, Any]] = []

    def begin(self, rounds: int) -> None:
        """Begin a fit of at most so many rounds."""
        self.of = rounds
        self._began = time.monotonic() - self._before_s

    def resume(self, history: Sequence[dict[str, Any]], seconds: float) -> None:
        """Take the rounds that a lost machine has done, and the seconds that they took."""
        self._history = list(history)
        self._before_s = seconds

    @property
    def rounds(self) -> int:
        """How many are done."""
        return len(self._history) + len(self._noted)

    @property
    def seconds(self) -> float:
        """How long the rounds that are done have taken."""
        return time.monotonic() - self._began

    def started(self) -> None:
        """Say that the work goes on, before its first round is done."""
        self._file.write(json.dumps({"step": 0, "of": self.of, "metrics": {}, "seconds": 0.0}) + "\n")
        self._file.flush()

    def round(self, metrics: dict[str, float]) -> None:
        """Note a round's metrics, `train_rmse` and `validation_rmse` say.

        A round may take a few milliseconds: most of them are only noted, and their lines are written together when one is due.
        """
        now = time.monotonic()
        self._noted.append((now - self._began, metrics))
        step = self.rounds
        if now >= self._due or step == 1:
            self._write()
            self._due = now + _FLUSH_EVERY_S
        if step == 1 or step % max(1, self.of // _LOG_LINES) == 0:
            print(f"round {step}/{self.of}  " + "  ".join(f"{name} {value:.6g}" for name, value in metrics.items()))  # noqa: T201

    @property
    def history(self) -> list[dict[str, Any]]:
        """A row a round: `round`, and each metric, None where it is no finite number."""
        self._write()
        return self._history

    def _write(self) -> None:
        if not self._noted:
            return
        for seconds, metrics in self._noted:
            step, values = len(self._history) + 1, {name: finite(value) for name, value in metrics.items()}
            self._history.append({"round": step, **values})
            line = {"step": step, "of": max(self.of, step), "metrics": values, "seconds": round(seconds, 3)}
            self._file.write(json.dumps(line) + "\n")
        self._noted.clear()
        self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._write()
        self._file.close()

    def for_xgboost(self) -> Any:
        """Give an `xgboost.callback.TrainingCallback`."""
        import xgboost  # loaded already by the script that asks

        note = self.round

        class Rounds(xgboost.callback.TrainingCallback):
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                del model, epoch
                note({f"{part}_{name}": values[-1] for part, metrics in evals_log.items() for name, values in metrics.items()})
                return False

        return Rounds()

    def for_lightgbm(self) -> Any:
        """Give a LightGBM callback."""

        def rounds(env: Any) -> None:
            self.round({f"{part}_{name}": value for part, name, value, *_ in env.evaluation_result_list or []})

        return rounds

    def for_catboost(self) -> Any:
        """Give a CatBoost callback; its `learn` is the training part."""
        take = self._take_from_catboost

        class Rounds:
            def after_iteration(self, info: Any) -> bool:
                take(info.metrics, info.iteration)
                return True

        return Rounds()

    def take_from_catboost(self, model: Any) -> None:
        """Take the rounds of a fitted CatBoost model, which calls nobody back from a GPU."""
        metrics = model.get_evals_result()
        self._take_from_catboost(metrics, max((len(values) for part in metrics.values() for values in part.values()), default=0))

    def _take_from_catboost(self, metrics: dict[str, dict[str, list[float]]], rounds: int) -> None:
        """Take the rounds that are not noted yet: one, or after a snapshot all that were before it."""
        named = {f"{_CATBOOST_PARTS[part]}_{name}": values for part, found in metrics.items() for name, values in found.items()}
        for step in range(self.rounds, rounds):
            self.round({name: values[min(step, len(values) - 1)] for name, values in named.items() if values})

    def for_keras(self) -> Any:
        """Give a Keras callback; its `val_` is the validation part."""
        import keras  # loaded already by the script that asks

        note = self.round

        class Rounds(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                del epoch
                named = (("validation_" + name[4:] if name.startswith("val_") else f"train_{name}", value) for name, value in logs.items())
                note({name: float(value) for name, value in named})

        return Rounds()


def finite(value: float) -> float | None:
    """Give a number that JSON has a word for, or None."""
    return float(value) if math.isfinite(value) else None
