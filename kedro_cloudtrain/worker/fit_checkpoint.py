"""How each library's fit goes on from a checkpoint, as if its machine had not been lost.

What is equal to a fit that was never interrupted, bit for bit:

- XGBoost and LightGBM without row or column sampling. With it they begin their random numbers anew, and keep their state where nobody can
  read it: such a model is as good as any other seed's, and no more alike. So it is with `dart`, which draws trees to drop. LightGBM's
  `rf` takes no model to begin with, and is not checkpointed.
- CatBoost always: its own snapshots hold the state of its random numbers.
- Keras always, on the CPU: an epoch's random numbers come of the seed and the epoch, dropout's from its layers' own state.
"""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from .checkpoints import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .progress import Progress

# The model of a state, for libraries that go on from one.
_MODELS = {"xgboost": "model.ubj", "lightgbm": "model.txt"}
_SNAPSHOT = "catboost.snapshot"
_FORESTS = ("rf", "random_forest")
_BOOSTING = ("boosting", "boosting_type", "boost")
_PARTS = ("train", "validation")


class FitCheckpoint(Checkpoint):
    """The state of a library's fit; its `for_*` methods give the library what it needs to write one and to go on from one.

    Args:
        library: xgboost, lightgbm, catboost or keras.
        progress: whose earlier rounds come back with the state.

    Attributes:
        rounds: how many a lost machine has left behind; so many fewer are to be fitted.
    """

    def __init__(self, library: str, progress: Progress) -> None:
        super().__init__()
        self._library = library
        self._progress = progress
        self._earlier: list[dict[str, Any]] = []
        if self.folder is not None and library != "catboost":
            said = json.loads((self.folder / "history.json").read_text(encoding="utf-8"))
            self._earlier = said["history"]
            progress.resume(self._earlier, said["seconds"])
            print(f"goes on from round {self.rounds} of an earlier attempt")  # noqa: T201

    @property
    def model(self) -> str | None:
        """The file of the model to go on from; None where the fit begins."""
        return str(self.folder / _MODELS[self._library]) if self.folder is not None else None

    def for_xgboost(self, callbacks: Sequence[Any]) -> list[Any]:
        """Give XGBoost's callbacks, so that they find the earlier rounds, and one more that writes."""
        import xgboost  # loaded already by the script that asks

        keep, earlier = self._keep, self._earlier

        class Earlier(xgboost.callback.TrainingCallback):
            """Shows the earlier rounds to a callback that counts them, before it sees a new one."""

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
                        # Counted from the model's own rounds: `EarlyStopping` adds them.
                        self._callback.after_iteration(model, number - 1 - len(earlier), _evals_log(earlier[:number]))
                return bool(self._callback.after_iteration(model, epoch, evals_log))

        class Keep(xgboost.callback.TrainingCallback):
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                del epoch, evals_log
                keep(lambda folder: model.save_model(folder / _MODELS["xgboost"]))
                return False

        stoppers = xgboost.callback.EarlyStopping
        return [Earlier(one) if isinstance(one, stoppers) else one for one in callbacks] + [Keep()]

    def for_lightgbm(self, callbacks: Sequence[Any]) -> list[Any]:
        """Give LightGBM's callbacks, so that they find the earlier rounds, and one more that writes."""

        def with_earlier(stopper: Any) -> Any:
            began = False

            def stop(env: Any) -> None:
                nonlocal began
                if not began:
                    began = True
                    for number, row in enumerate(self._earlier):
                        results = [_with_value(one, _number(row[f"{one[0]}_{one[1]}"])) for one in env.evaluation_result_list]
                        stopper(_replaced(env, iteration=number, begin_iteration=0, evaluation_result_list=results))
                stopper(_replaced(env, begin_iteration=0))

            stop.order = stopper.order  # type: ignore[attr-defined]  # how LightGBM sorts them
            return stop

        def keep(env: Any) -> None:
            if not any(env.params.get(name) in _FORESTS for name in _BOOSTING):
                self._keep(lambda folder: env.model.save_model(folder / _MODELS["lightgbm"]))

        # After the one that stops, which ends a fit by raising: the state of a fit that is over is not wanted.
        keep.order = 100  # type: ignore[attr-defined]
        return [with_earlier(one) if hasattr(one, "order") else one for one in callbacks] + [keep]

    def for_catboost(self) -> dict[str, Any]:
        """Give the settings by which CatBoost writes snapshots by itself, after so many seconds, and goes on from one."""
        if self._place is None:
            return {"allow_writing_files": False}
        self._place.mkdir(parents=True, exist_ok=True)
        if self.folder is None:
            self.folder = self._place / "catboost"
            self.folder.mkdir()
            self._point_to(self.folder, 0, {_SNAPSHOT: None})
        else:
            print("goes on from the snapshot of an earlier attempt")  # noqa: T201
        return {
            "allow_writing_files": True,
            # Its notes of each round; on the machine's own disk.
            "train_dir": tempfile.mkdtemp(prefix="cloudtrain-catboost-"),
            "save_snapshot": True,
            "snapshot_file": str(self.folder / _SNAPSHOT),
            "snapshot_interval": max(1, round(self._every_s)),
        }

    def for_keras(self, callbacks: Sequence[Any], seed: int) -> list[Any]:
        """Give Keras's callbacks, with one before them that brings the state back and one after them that writes it.

        Args:
            callbacks: of the fit.
            seed: of the fit; each epoch's random numbers come of it and of the epoch.
        """
        import keras  # loaded already by the script that asks

        stoppers = [one for one in callbacks if isinstance(one, keras.callbacks.EarlyStopping)]
        restore, keep = self._restore_keras, self._keep

        class Restore(keras.callbacks.Callback):
            def __init__(self) -> None:
                super().__init__()
                self._began = False

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                del logs
                keras.utils.set_random_seed(seed + epoch)
                # Not before an epoch begins: a callback's `on_train_begin` would take what it knows away again.
                if not self._began:
                    self._began = True
                    restore(self.model, stoppers)

        class Keep(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                del epoch, logs
                if not self.model.stop_training:
                    keep(lambda folder: np.savez(folder / "state.npz", **_keras_state(self.model, stoppers)))

        return [Restore(), *callbacks, Keep()]

    def _restore_keras(self, model: Any, stoppers: Sequence[Any]) -> None:
        if self.folder is None:
            return
        for number, row in enumerate(self._earlier):
            for stopper in stoppers:
                stopper.on_epoch_end(number, _keras_logs(row))
        with np.load(self.folder / "state.npz") as state:
            for number, variable in enumerate(_variables(model)):
                variable.assign(state[f"variable_{number}"])
            best = [state[name] for number in range(len(model.get_weights())) if (name := f"best_{number}") in state]
        for stopper in stoppers:
            stopper.best_weights = best or stopper.best_weights

    def _keep(self, save: Callable[[Path], None]) -> None:
        """Write a state if one is due; what a library cannot write stops no fit."""
        done = self._progress.rounds
        if done >= self._progress.of or not self.due(done):
            return
        try:
            with self.write(done) as folder:
                save(folder)
                said = {"history": self._progress.history, "seconds": self._progress.seconds}
                (folder / "history.json").write_text(json.dumps(said), encoding="utf-8")
        except Exception as error:  # noqa: BLE001  # in the library's own words: a full disk, mostly
            print(f"no checkpoint of round {done}: {error}")  # noqa: T201


def _evals_log(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Give rounds of a history as XGBoost has them: by part, by metric, a number a round."""
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


def _replaced(env: Any, **changed: Any) -> Any:
    """Give LightGBM's `CallbackEnv` with some of its fields changed; a named tuple in some of its releases, a dataclass in others."""
    names = ("model", "params", "iteration", "begin_iteration", "end_iteration", "evaluation_result_list")
    return type(env)(**{name: changed.get(name, getattr(env, name)) for name in names})


def _with_value(result: Any, value: float) -> Any:
    """Give one of LightGBM's results, (part, metric, value, …), with another value: a tuple, or from 4.7 on a named one."""
    changed = (*list(result)[:2], value, *list(result)[3:])
    return type(result)(*changed) if hasattr(result, "_fields") else changed


def _keras_state(model: Any, stoppers: Sequence[Any]) -> dict[str, Any]:
    """Give what brings a model back, and the best weights so far, by the names that they have in the file."""
    state = {f"variable_{number}": np.asarray(variable) for number, variable in enumerate(_variables(model))}
    for stopper in stoppers:
        state |= {f"best_{number}": np.asarray(value) for number, value in enumerate(stopper.best_weights or ())}
    return state


def _variables(model: Any) -> list[Any]:
    """Give all that a fit changes: the weights, the state of random layers, the optimiser's moments and its step."""
    return [*model.variables, *model.optimizer.variables]
