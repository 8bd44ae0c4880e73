"""How far a fit is: a line an iteration for who watches, a row a round for the history."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("w", encoding="utf-8")
        self._began = time.monotonic()
        self._flushed = 0.0
        self._of = 0
        self.history: list[dict[str, Any]] = []

    def begin(self, rounds: int) -> None:
        """Begin a fit of at most so many rounds."""
        self._of = rounds
        self._began = time.monotonic()

    def round(self, metrics: dict[str, float]) -> None:
        """Note a round's metrics, `train_rmse` and `validation_rmse` say."""
        step, now = len(self.history) + 1, time.monotonic()
        self.history.append({"round": step, **{name: finite(value) for name, value in metrics.items()}})
        line = {"step": step, "of": max(self._of, step), "metrics": self.history[-1], "seconds": round(now - self._began, 3)}
        line["metrics"] = {name: value for name, value in self.history[-1].items() if name != "round"}
        self._file.write(json.dumps(line) + "\n")
        if now - self._flushed >= _FLUSH_EVERY_S:
            self._file.flush()
            self._flushed = now
        if step % max(1, self._of // _LOG_LINES) == 0 or step == 1:
            print(f"round {step}/{self._of}  " + "  ".join(f"{name} {value:.6g}" for name, value in metrics.items()))  # noqa: T201

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def for_xgboost(self) -> Any:
        """Give an `xgboost.callback.TrainingCallback`."""
        import xgboost  # noqa: PLC0415  # loaded already by the script that asks

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
        note = self.round

        class Rounds:
            def after_iteration(self, info: Any) -> bool:
                note(
                    {
                        f"{_CATBOOST_PARTS[part]}_{name}": values[-1]
                        for part, metrics in info.metrics.items()
                        for name, values in metrics.items()
                    }
                )
                return True

        return Rounds()

    def take_from_catboost(self, model: Any) -> None:
        """Take the rounds of a fitted CatBoost model, which calls nobody back from a GPU."""
        named = {
            f"{_CATBOOST_PARTS[part]}_{name}": values
            for part, metrics in model.get_evals_result().items()
            for name, values in metrics.items()
        }
        for step in range(max((len(values) for values in named.values()), default=0)):
            self.round({name: values[step] for name, values in named.items() if step < len(values)})

    def for_keras(self) -> Any:
        """Give a Keras callback; its `val_` is the validation part."""
        import keras  # noqa: PLC0415  # loaded already by the script that asks

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
