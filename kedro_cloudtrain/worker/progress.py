"""The progress of a fit: a line per round for the client, and a row per round for the history."""

from __future__ import annotations

import json
import math
from time import monotonic
from typing import TYPE_CHECKING, Any

from .errors import PrunedError
from .protocol import PRUNE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# The client reads four times a second; more writes would only slow the fit down.
_FLUSH_EVERY_S = 0.2
# The log has a line for each tenth of the rounds.
_LOG_LINES = 10
_CATBOOST_PARTS = {"learn": "train", "validation": "validation", "validation_0": "validation"}


class Progress:
    """Writes `progress.jsonl` and keeps the history; its `for_*` methods return each library's own kind of callback.

    Args:
        file: the progress file.

    Attributes:
        of: the most rounds that there can be in this fit.
        most: the most that there can be in one of several fits.
        unit: what a step is: a `round` of a fit, or a `piece` of a table.
        pruned: whether a search ended the fit early.
    """

    unit = "round"

    def __init__(self, file: Path) -> None:
        self._file = file.open("w", encoding="utf-8")
        self._prune = file.with_name(PRUNE)
        self._prune.unlink(missing_ok=True)  # of a fit before
        self.pruned = False
        self._began = monotonic()
        self._due = 0.0
        self._before_s = 0.0
        self.of = self.most = 0
        self._fit, self._fits = 0, 1
        self._holds_out = True
        self._earlier_fits_s = 0.0
        self._unwritten: list[tuple[float, dict[str, float]]] = []
        self._history: list[dict[str, Any]] = []

    def begin(self, rounds: int) -> None:
        """Begin a fit of at most `rounds` rounds."""
        self.of, self.most = rounds, max(self.most, rounds)
        self._began = monotonic() - self._before_s

    def begin_fit(self, number: int, of: int, *, holds_out: bool = True) -> None:
        """Begin one of several fits, which have a history each and one progress together.

        Args:
            number: how many fits are done.
            of: how many there are.
            holds_out: whether rows are held out; else what is measured of `validation` is of the rows that are fitted, and left out.
        """
        self._write()
        self._holds_out = holds_out
        if self._history:
            self._earlier_fits_s += self.seconds
        self._fit, self._fits = number, of
        self._history, self._before_s = [], 0.0

    def resume(self, history: Sequence[dict[str, Any]], seconds: float) -> None:
        """Take over the rounds that a lost machine has done, and the seconds that they took."""
        self._history = list(history)
        self._unwritten.clear()
        self._before_s = seconds

    @property
    def rounds(self) -> int:
        """The number of rounds of this fit that are done."""
        return len(self._history) + len(self._unwritten)

    @property
    def seconds(self) -> float:
        """The time that the rounds have taken, in seconds."""
        return monotonic() - self._began

    def started(self) -> None:
        """Write a first line, before the first round is done."""
        self._write_line({"step": self.rounds, "of": self.most * self._fits, "metrics": {}, "seconds": 0.0})
        self._file.flush()

    def round(self, metrics: dict[str, float]) -> None:
        """Record a round's metrics, such as `train_rmse` and `validation_rmse`.

        A round may take a few milliseconds: most rounds are only kept, and their lines are written together when a write is due.

        Raises:
            PrunedError: the search ended the fit early; libraries may raise an error of their own instead.
        """
        now = monotonic()
        if not self._holds_out:
            metrics = {name: value for name, value in metrics.items() if not name.startswith("validation_")}
        self._unwritten.append((now - self._began, metrics))
        step = self.rounds
        if now >= self._due or step == 1:
            self._write()
            self._due = now + _FLUSH_EVERY_S
            self.pruned = self._prune.is_file()
        if step == 1 or step % max(1, self.of // _LOG_LINES) == 0:
            print("  ".join([f"{self.unit} {step}/{self.of}", *(f"{name} {value:.6g}" for name, value in metrics.items())]))  # noqa: T201
        if self.pruned:
            raise PrunedError(f"pruned after round {step}")

    @property
    def history(self) -> list[dict[str, Any]]:
        """A row per round: `round` and each metric, None where a metric is NaN or infinite."""
        self._write()
        return self._history

    def _write(self) -> None:
        if not self._unwritten:
            return
        for seconds, metrics in self._unwritten:
            step, values = len(self._history) + 1, {name: finite(value) for name, value in metrics.items()}
            self._history.append({"round": step, **values})
            most = max(self.most, step)
            altogether_s = round(self._earlier_fits_s + seconds, 3)
            line = {"step": self._fit * most + step, "of": most * self._fits, "metrics": values, "seconds": altogether_s}
            self._write_line(line)
        self._unwritten.clear()
        self._file.flush()

    def _write_line(self, line: dict[str, Any]) -> None:
        unit = {} if self.unit == Progress.unit else {"unit": self.unit}
        self._file.write(json.dumps({**line, **unit}) + "\n")

    def close(self) -> None:
        """Write the rounds that are left, and close the file."""
        self._write()
        self._file.close()

    def for_xgboost(self) -> Any:
        """Return an `xgboost.callback.TrainingCallback`."""
        import xgboost  # the script has imported it already

        record = self.round

        class Rounds(xgboost.callback.TrainingCallback):
            of_job = True  # see `relayed_callbacks`

            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                del model, epoch
                record({f"{part}_{name}": values[-1] for part, metrics in evals_log.items() for name, values in metrics.items()})
                return False

        return Rounds()

    def for_lightgbm(self) -> Any:
        """Return a LightGBM callback."""

        def rounds(env: Any) -> None:
            self.round({f"{part}_{name}": value for part, name, value, *_ in env.evaluation_result_list or []})

        rounds.of_job = True  # type: ignore[attr-defined]  # see `relayed_callbacks`
        return rounds

    def for_catboost(self) -> Any:
        """Return a CatBoost callback; CatBoost calls the training part `learn`."""
        record = self._record_catboost

        class Rounds:
            def after_iteration(self, info: Any) -> bool:
                record(info.metrics, info.iteration)
                return True

        return Rounds()

    def take_from_catboost(self, model: Any) -> None:
        """Record the rounds of a fitted CatBoost model: on a GPU, CatBoost has no callbacks."""
        metrics = model.get_evals_result()
        self._record_catboost(metrics, max((len(values) for part in metrics.values() for values in part.values()), default=0))

    def _record_catboost(self, metrics: dict[str, dict[str, list[float]]], rounds: int) -> None:
        """Record the rounds that are not recorded yet: one, or after a snapshot all that came before it."""
        named = {f"{_CATBOOST_PARTS[part]}_{name}": values for part, by_name in metrics.items() for name, values in by_name.items()}
        for step in range(self.rounds, rounds):
            self.round({name: values[min(step, len(values) - 1)] for name, values in named.items() if values})

    def for_keras(self) -> Any:
        """Return a Keras callback; Keras begins the validation part's metrics with `val_`."""
        import keras  # the script has imported it already

        record = self.round

        class Rounds(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                del epoch
                named = (("validation_" + name[4:] if name.startswith("val_") else f"train_{name}", value) for name, value in logs.items())
                record({name: float(value) for name, value in named})

        return Rounds()


def finite(value: float) -> float | None:
    """Return the number as a float, or None if it is NaN or infinite, which JSON cannot hold."""
    return float(value) if math.isfinite(value) else None


def finite_values(value: Any) -> Any:
    """Return numbers, with those in lists and mappings, as JSON holds them: None for NaN and infinity."""
    if isinstance(value, dict):
        return {name: finite_values(each) for name, each in value.items()}
    if isinstance(value, list):
        return [finite_values(each) for each in value]
    return finite(value) if isinstance(value, float) else value
