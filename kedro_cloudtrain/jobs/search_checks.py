"""What is wrong with a search before anything runs: its metric, its packages, and each value that its space can draw."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.parameters import library_of, task_of
from kedro_cloudtrain.wording import counted, did_you_mean
from kedro_cloudtrain.worker.hyperparameter_devices import chosen_device
from kedro_cloudtrain.worker.objectives import loss_of
from kedro_cloudtrain.worker.watched_metric import MEASURED, OF_AN_OBJECTIVE, more_is_better

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.jobs.search_space import Search

# Optuna's grid is a list of all its points.
_LARGEST_GRID = 100_000


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a search compares its trials by.

    Attributes:
        metric: its name in the metrics file.
        maximize: whether the highest value is the best.
    """

    metric: str
    maximize: bool

    def is_better(self, score: float, other: float) -> bool:
        """Return whether a score is better than another."""
        return score > other if self.maximize else score < other


def watched_goal(parameters: TrainingParameters) -> Goal:
    """Return what models are compared by where nothing else is named: what the fit watches."""
    metric = _watched(parameters)
    return Goal(metric, bool(more_is_better(metric)))


def goal_of(parameters: TrainingParameters, search: Search) -> Goal:
    """Return what a search compares its trials by; its metric and its direction are checked."""
    metric = search.metric or _watched(parameters)
    return Goal(metric, search.direction == "maximize" if search.direction is not None else bool(more_is_better(metric)))


def drawn(parameters: TrainingParameters, values: dict[str, object]) -> TrainingParameters:
    """Return the parameters of a trial: the fixed hyperparameters, and those that were drawn."""
    return parameters.model_copy(update={"search": None, "hyperparameters": {**parameters.hyperparameters, **values}})


def described(parameters: TrainingParameters, search: Search) -> str:
    """Return a search in a sentence: its trials, what it looks for, and what ends it."""
    goal = goal_of(parameters, search)
    ends = [
        *([f"{search.timeout_s:g} s have passed"] if search.timeout_s is not None else []),
        *([f"${search.max_cost_usd:.2f} are spent"] if search.max_cost_usd is not None else []),
    ]
    trials, least = counted(search.most_trials, "trial"), "highest" if goal.maximize else "lowest"
    parallel = min(search.parallel, search.most_trials)
    at_once = f", {parallel} at once" if parallel > 1 else ", one after another"
    pruned = f", pruned by {search.pruner}" if search.pruner != "none" else ""
    until = f"; none begins once {' or '.join(ends)}" if ends else ""
    points = search.points
    repeats = points is not None and points < search.most_trials
    again = f"; its space has {counted(points or 0, 'point')}, and a trial that comes again is reused" if repeats else ""
    return f"searches {', '.join(search.space)}: {trials} by {search.sampler}{pruned} for the {least} {goal.metric}{at_once}{until}{again}"


def search_problems(parameters: TrainingParameters, search: Search, check: Callable[[TrainingParameters], Iterable[str]]) -> list[str]:
    """Return what is wrong with a search, a sentence each.

    Args:
        parameters: what stands in `parameters.yml`.
        search: its search.
        check: returns what is wrong with the parameters of a training.
    """
    return list(dict.fromkeys([*_goal_problems(parameters, search), *_missing(search), *_grid(search), *of_all(parameters, search, check)]))


def of_all(parameters: TrainingParameters, search: Search, check: Callable[[TrainingParameters], Iterable[str]]) -> Iterator[str]:
    """Yield what is wrong with a value that can be drawn, whatever is drawn beside it.

    Two values that exclude one another are not a problem: such a trial fails, and the search goes on.

    Args:
        parameters: as for `search_problems`.
        search: as for `search_problems`.
        check: as for `search_problems`.
    """
    ends = {name: dimension.ends() for name, dimension in search.space.items()}
    for name, values in ends.items():
        for value in values:
            problems = ["\n".join(check(drawn(parameters, beside | {name: value}))).splitlines() for beside in _beside(ends, name)]
            always = [problem for problem in problems[0] if all(problem in others for others in problems)]
            yield from (_in_space(problem, ends) for problem in always)


def _beside(ends: dict[str, tuple[object, ...]], name: str) -> list[dict[str, object]]:
    """Return what may be drawn beside a hyperparameter: of all others the first, of all the last, and each of them in turn."""
    others = {other: values for other, values in ends.items() if other != name}
    first = {other: values[0] for other, values in others.items()}
    last = {other: values[-1] for other, values in others.items()}
    return [first, last, *(first | {other: value} for other, values in others.items() for value in values[1:])]


def _in_space(problem: str, names: Iterable[str]) -> str:
    """Return a sentence about hyperparameters with the keys of those that are searched."""
    for name in names:
        problem = problem.replace(f"`hyperparameters.{name}`", f"`search.space.{name}`")
    return problem


def _watched(parameters: TrainingParameters) -> str:
    """Return what early stopping watches, by its name in the metrics file; empty for a template of the project's own."""
    task = task_of(parameters.model_type)
    if parameters.metric is not None or task is None:
        return parameters.metric or ""
    loss = loss_of(library_of(parameters.model_type), parameters.hyperparameters) if task == "regression" else None
    return loss[0] if loss is not None else "rmse" if task == "regression" else "log_loss"


def _goal_problems(parameters: TrainingParameters, search: Search) -> Iterator[str]:
    """Yield what is wrong with a search's metric and its direction."""
    task, metric = task_of(parameters.model_type), search.metric or _watched(parameters)
    if task is None:
        if not metric:
            yield f"`search.metric` is missing: the template `{parameters.model_type}` has metrics of its own, so name one of them."
        elif search.direction is None and more_is_better(metric) is None:
            yield f"`search.direction` is missing: nothing tells whether the lowest {metric} is the best, or the highest."
        return
    loss = loss_of(library_of(parameters.model_type), parameters.hyperparameters) if task == "regression" else None
    choices = [*MEASURED[task], *([loss[0]] if loss is not None else [])]
    searched_objective = metric in OF_AN_OBJECTIVE and any(name in search.space for name in ("objective", "loss_function"))
    if metric not in choices and not searched_objective:
        hint = did_you_mean(metric, choices) or f" It has {', '.join(choices)}."
        yield f"`search.metric` is {metric!r}, which a {task.replace('_', ' ')} does not have.{hint}"
        return
    best = "maximize" if more_is_better(metric) else "minimize"
    if search.direction not in (None, best):
        yield f"`search.direction` is {search.direction}, and the best {metric} is the {_END[best]}: leave it out, or write {best}."


_END = {"minimize": "lowest", "maximize": "highest"}


def _missing(search: Search) -> Iterator[str]:
    """Yield that a package is not installed that the search needs."""
    needed = {"optuna": "`search` needs Optuna", **({"cmaes": "`search.sampler: cmaes` needs cmaes"} if search.sampler == "cmaes" else {})}
    for package, what in needed.items():
        if importlib.util.find_spec(package) is None:
            yield f'{what}, which is not installed in this environment: pip install "kedro-cloudtrain[search]"'
            return


def _grid(search: Search) -> Iterator[str]:
    points = search.points or 0
    if search.sampler == "grid" and points > _LARGEST_GRID:
        yield f"`search.sampler` is grid, and the space has {points:,} points, above {_LARGEST_GRID:,}: give ranges a `step`, or take tpe."


def pruner_problems(parameters: TrainingParameters, search: Search, script: str | None, gpu: str | Sequence[str] = "none") -> Iterator[str]:
    """Yield why no trial could be ended early: nothing is known of it before its end.

    Args:
        parameters: what stands in `parameters.yml`.
        search: its search.
        script: what a template of the project's own makes; None for a recipe.
        gpu: the machine's: `none`, `auto`, or GPU types.
    """
    if search.pruner == "none":
        return
    if script is not None:
        if ".progress" not in script:
            yield (
                f"`search.pruner` is {search.pruner}, and the template `{parameters.model_type}` reports no rounds: take it out, or use "
                "job.progress in the template."
            )
        return
    chosen = chosen_device("catboost", parameters.hyperparameters)
    device = chosen[0] if chosen is not None else "cpu" if gpu in ("none", "auto") else "cuda"
    if library_of(parameters.model_type) == "catboost" and device == "cuda":
        yield f"`search.pruner` is {search.pruner}, and CatBoost reports no rounds on a GPU: take it out, or train on a CPU."
