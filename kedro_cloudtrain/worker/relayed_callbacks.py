"""The callbacks of a fit in several processes: those that keep progress and checkpoints run in the job's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .fit_checkpoint import replaced
from .relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .relay import RemoteModel

# An attribute of the callbacks that are the job's own.
OF_JOB = "of_job"


def relayed_to_xgboost(callbacks: Sequence[Any], host: str) -> tuple[Relay, list[Any]]:
    """Return XGBoost's callbacks as its processes take them, and the relay that runs the job's own.

    `EarlyStopping` runs in each process: the metrics that it sees are those of all rows, and equal everywhere.
    """
    import xgboost  # the script has imported it already

    relay = Relay([_run_xgboost(callback) for callback in callbacks], host)
    caller = relay.caller()

    class Relayed(xgboost.callback.TrainingCallback):
        def __init__(self, number: int) -> None:
            self._number = number

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            latest = {part: {name: values[-1:] for name, values in metrics.items()} for part, metrics in evals_log.items()}

            def run() -> Any:
                return caller.do(self._number, (epoch, latest), lambda: bytes(model.save_raw("ubj")))

            return bool(caller.same((self._number, epoch), run))

    return relay, [Relayed(number) if hasattr(callback, OF_JOB) else callback for number, callback in enumerate(callbacks)]


def _run_xgboost(callback: Any) -> Callable[[Any, RemoteModel], Any]:
    return lambda arguments, model: callback.after_iteration(model, *arguments)


def relayed_to_lightgbm(callbacks: Sequence[Any], host: str) -> tuple[Relay, list[Any]]:
    """Return LightGBM's callbacks as its processes take them, and the relay that runs the job's own.

    The first process decides for all when the fit stops early: LightGBM does not add up metrics over processes, and two that stop in
    different rounds would wait for each other.
    """
    ordered = sorted(callbacks, key=lambda callback: getattr(callback, "order", 0))  # as LightGBM itself sorts them
    relay = Relay([_run_lightgbm(callback) for callback in ordered], host)
    caller = relay.caller()
    local = [None if hasattr(callback, OF_JOB) else callback for callback in ordered]

    def relayed(env: Any) -> None:
        import lightgbm  # the script has imported it already

        def run() -> tuple[int, Any] | None:
            try:
                for number, callback in enumerate(local):
                    if callback is not None:
                        callback(env)
                    else:
                        caller.do(number, replaced(env, model=None), lambda: env.model.model_to_string().encode())
            except lightgbm.callback.EarlyStopException as stop:  # which cannot be pickled
                return stop.best_iteration, stop.best_score
            return None

        if (stopped := caller.same(env.iteration, run)) is not None:
            raise lightgbm.callback.EarlyStopException(*stopped)

    return relay, [relayed]


def _run_lightgbm(callback: Any) -> Callable[[Any, RemoteModel], Any]:
    return lambda env, model: callback(replaced(env, model=model))
