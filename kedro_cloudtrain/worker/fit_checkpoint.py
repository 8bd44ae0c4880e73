"""Each library's fit from a checkpoint, as if its machine had not been lost.

These are equal to a fit that was never interrupted, bit for bit:

- XGBoost and LightGBM without row or column sampling. With sampling they restart their random numbers, whose state nothing outside of the
  library can read: such a model is as good as one of another seed, and no more similar. The same holds for `dart`, which draws trees to
  drop. LightGBM's `rf` cannot start from a model, and is not checkpointed.
- CatBoost always: its own snapshots hold the state of its random numbers.
- Keras always, on the CPU: an epoch's random numbers come from the seed and the epoch, those of dropout from its layers' own state.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .checkpoints import Checkpoint
from .scratch import scratch_of_process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .progress import Progress

# The model's file in a state, for libraries that go on from a model.
_MODELS = {"xgboost": "model.ubj", "lightgbm": "model.txt"}
_HISTORY = "history.json"
_KERAS_STATE = "state.npz"
_SNAPSHOT = "catboost.snapshot"
_FORESTS = ("rf", "random_forest")
_BOOSTING = ("boosting", "boosting_type", "boost")
_PARTS = ("train", "validation")


class FitCheckpoint(Checkpoint):
    """The state of a library's fit; its `for_*` methods return what the library needs to write a state and to go on from one.

    Args:
        library: xgboost, lightgbm, catboost or keras.
        progress: the fit's progress, which gets the earlier rounds back with the state.
        part: which of several fits it is.

    Attributes:
        rounds: the number of rounds that a lost machine has left, which need not be fitted again.
    """

    def __init__(self, library: str, progress: Progress, part: str = "") -> None:
        super().__init__(part)
        self._library = library
        self._progress = progress
        self._earlier: list[dict[str, Any]] = []
        if self.folder is not None and library != "catboost":
            try:
                saved = json.loads((self.folder / _HISTORY).read_text(encoding="utf-8"))
                self._earlier, seconds = [dict(row) for row in saved["history"]], float(saved["seconds"])
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                print("the checkpoint cannot be read: the fit starts over")  # noqa: T201
                self.folder, self.rounds = None, 0
            else:
                progress.resume(self._earlier, seconds)
                print(f"resumes from round {self.rounds} of its checkpoint")  # noqa: T201

    @property
    def model(self) -> str | None:
        """The file of the model to go on from; None if the fit starts from the beginning."""
        return str(self.folder / _MODELS[self._library]) if self.folder is not None else None

    def for_xgboost(self, callbacks: Sequence[Any]) -> list[Any]:
        """Return XGBoost's callbacks, which then see the earlier rounds, and one more that writes states."""
        import xgboost  # the script has imported it already

        keep, earlier = self._keep, self._earlier

        class Earlier(xgboost.callback.TrainingCallback):
            """Shows the earlier rounds to a callback that counts rounds, before it sees a new one."""

            def __init__(self, callback: Any) -> None:
                self._callback = callback
                self._began = False

            def before_training(self, model: Any) -> Any:
                return self._callback.before_training(model)

            def after_training(self, model: Any) -> Any:
                return self._callback.after_training(model)

            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                if not self._began:
                    self._began = True
                    for number in range(1, len(earlier) + 1):
                        # Numbered from the model's own rounds, which `EarlyStopping` adds.
                        self._callback.after_iteration(model, number - 1 - len(earlier), _evals_log(earlier[:number]))
                return bool(self._callback.after_iteration(model, epoch, evals_log))

        class Keep(xgboost.callback.TrainingCallback):
            of_job = True  # see `relayed_callbacks`

            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                del epoch, evals_log
                keep(lambda folder: model.save_model(folder / _MODELS["xgboost"]))
                return False

        stopping = xgboost.callback.EarlyStopping
        return [Earlier(callback) if isinstance(callback, stopping) else callback for callback in callbacks] + [Keep()]

    def for_lightgbm(self, callbacks: Sequence[Any]) -> list[Any]:
        """Return LightGBM's callbacks, which then see the earlier rounds, and one more that writes states."""
        earlier = self._earlier  # alone: what refers to a file cannot go to another process

        def with_earlier(stopper: Any) -> Any:
            began = False

            def stop(env: Any) -> None:
                nonlocal began
                if not began:
                    began = True
                    for number, row in enumerate(earlier):
                        results = [_with_value(each, _number(row[f"{each[0]}_{each[1]}"])) for each in env.evaluation_result_list]
                        stopper(replaced(env, iteration=number, begin_iteration=0, evaluation_result_list=results))
                stopper(replaced(env, begin_iteration=0))

            stop.order = stopper.order  # type: ignore[attr-defined]  # LightGBM sorts callbacks by it
            return stop

        def keep(env: Any) -> None:
            if not any(env.params.get(name) in _FORESTS for name in _BOOSTING):
                self._keep(lambda folder: env.model.save_model(folder / _MODELS["lightgbm"]))

        # After early stopping, which ends a fit by raising: a fit that is over needs no state.
        keep.order = 100  # type: ignore[attr-defined]
        keep.of_job = True  # type: ignore[attr-defined]  # see `relayed_callbacks`
        return [with_earlier(callback) if hasattr(callback, "order") else callback for callback in callbacks] + [keep]

    def for_catboost(self) -> dict[str, Any]:
        """Return the settings by which CatBoost itself writes snapshots at an interval, and goes on from one."""
        if self._place is None:
            return {"allow_writing_files": False}
        self._place.mkdir(parents=True, exist_ok=True)
        if self.folder is None:
            self.folder = self._place / "catboost"
            self.folder.mkdir()
            self._point_to(self.folder, 0, {_SNAPSHOT: None})
        else:
            print("resumes from its snapshot")  # noqa: T201
        return {
            "allow_writing_files": True,
            # CatBoost's log of each round, on the machine's own disk.
            "train_dir": str(scratch_of_process()),
            "save_snapshot": True,
            "snapshot_file": str(self.folder / _SNAPSHOT),
            "snapshot_interval": max(1, round(self._every_s)),
        }

    def for_keras(self, callbacks: Sequence[Any], seed: int) -> list[Any]:
        """Return Keras's callbacks, with one before them that restores the state and one after them that writes it.

        Args:
            callbacks: the fit's.
            seed: the fit's; each epoch's random numbers come from it and the epoch.
        """
        import keras  # the script has imported it already

        stoppers = [callback for callback in callbacks if isinstance(callback, keras.callbacks.EarlyStopping)]
        restore, keep = self._restore_keras, self._keep

        class Restore(keras.callbacks.Callback):
            def __init__(self) -> None:
                super().__init__()
                self._began = False

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                del logs
                keras.utils.set_random_seed(seed + epoch)
                # Not before an epoch begins: a callback's `on_train_begin` would reset what is restored.
                if not self._began:
                    self._began = True
                    restore(self.model, stoppers)

        class Keep(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                del epoch, logs
                if not self.model.stop_training:
                    keep(lambda folder: np.savez(folder / _KERAS_STATE, **_keras_state(self.model, stoppers)))

        return [Restore(), *callbacks, Keep()]

    def _restore_keras(self, model: Any, stoppers: Sequence[Any]) -> None:
        if self.folder is None:
            return
        for number, row in enumerate(self._earlier):
            for stopper in stoppers:
                stopper.on_epoch_end(number, _keras_logs(row))
        with np.load(self.folder / _KERAS_STATE) as state:
            for number, variable in enumerate(_variables(model)):
                variable.assign(state[f"variable_{number}"])
            best = [state[name] for number in range(len(model.get_weights())) if (name := f"best_{number}") in state]
        for stopper in stoppers:
            stopper.best_weights = best or stopper.best_weights

    def _keep(self, save: Callable[[Path], None]) -> None:
        """Write a state if one is due; an error of the library while it writes does not stop the fit."""
        done = self._progress.rounds
        if done >= self._progress.of or not self.due(done):
            return
        try:
            with self.write(done) as folder:
                save(folder)
                saved = {"history": self._progress.history, "seconds": self._progress.seconds}
                (folder / _HISTORY).write_text(json.dumps(saved), encoding="utf-8")
        except Exception as error:  # noqa: BLE001  # the library's own error: a full disk, mostly
            print(f"no checkpoint of round {done}: {error}")  # noqa: T201


def _evals_log(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Return rounds of a history in XGBoost's form: a list with a number per round, by part and metric."""
    log: dict[str, dict[str, list[float]]] = {part: {} for part in _PARTS}
    for row in rows:
        for key, value in row.items():
            part, _, name = key.partition("_")
            if part in log:
                log[part].setdefault(name, []).append(_number(value))
    return log


def _keras_logs(row: dict[str, Any]) -> dict[str, float]:
    logs = {}
    for key, value in row.items():
        part, _, name = key.partition("_")
        if part in _PARTS:
            logs[f"val_{name}" if part == "validation" else name] = _number(value)
    return logs


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def replaced(env: Any, **changed: Any) -> Any:
    """Return LightGBM's `CallbackEnv` with some fields changed: a named tuple in some releases, a dataclass in others."""
    names = ("model", "params", "iteration", "begin_iteration", "end_iteration", "evaluation_result_list")
    return type(env)(**{name: changed.get(name, getattr(env, name)) for name in names})


def _with_value(result: Any, value: float) -> Any:
    """Return one of LightGBM's results, (part, metric, value, …), with another value: a tuple, from 4.7 on a named one."""
    changed = (*list(result)[:2], value, *list(result)[3:])
    return type(result)(*changed) if hasattr(result, "_fields") else changed


def _keras_state(model: Any, stoppers: Sequence[Any]) -> dict[str, Any]:
    """Return all that restores a model, and the best weights so far, by their names in the state's file."""
    state = {f"variable_{number}": np.asarray(variable) for number, variable in enumerate(_variables(model))}
    for stopper in stoppers:
        state |= {f"best_{number}": np.asarray(value) for number, value in enumerate(stopper.best_weights or ())}
    return state


def _variables(model: Any) -> list[Any]:
    """Return all that a fit changes: the weights, the state of random layers, the optimiser's moments and its step."""
    return [*model.variables, *model.optimizer.variables]
