"""A search as a user writes it in `parameters.yml`, checked: the space of its hyperparameters, its budget, and how it is searched."""

from __future__ import annotations

import json
import math
import sys
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from kedro_cloudtrain.settings_model import SettingsModel

Kind = Literal["int", "float", "choice"]
Sampler = Literal["tpe", "random", "grid", "cmaes", "qmc"]
Pruner = Literal["none", "median", "hyperband", "successive_halving"]
# Up to this number a float holds each whole one.
_LARGEST = 2**53
_KINDS: tuple[Kind, ...] = ("int", "float", "choice")
_EXAMPLES = "{int: [3, 10]}, {float: [0.01, 0.3], log: true} or {choice: [a, b]}"
# The columns of the table of trials that are not hyperparameters.
COLUMNS = ("number", "state", "score", "seconds", "usd", "job")


class Dimension(SettingsModel):
    """One hyperparameter of a space: a range of whole numbers or of numbers, or a choice.

    Attributes:
        kind: `int`, `float` or `choice`.
        low: the lowest number.
        high: the highest number.
        log: whether numbers are drawn by their logarithms.
        step: the distance of the numbers that are drawn; None for any number, and for every whole one.
        choices: the values of a choice.

    Example:
        ```yaml
        max_depth: {int: [3, 10]}
        learning_rate: {float: [0.01, 0.3], log: true}
        grow_policy: {choice: [depthwise, lossguide]}
        ```
    """

    kind: Kind
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[JsonValue, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        """Turn what a user writes, `{int: [3, 10]}`, into the fields."""
        if not isinstance(given, dict) or "kind" in given:
            raise ValueError(f"write {_EXAMPLES}")
        kinds = [kind for kind in _KINDS if kind in given]
        if len(kinds) != 1:
            raise ValueError(f"write {_EXAMPLES}")
        kind, value = kinds[0], given[kinds[0]]
        others = set(given) - {kind}
        if kind == "choice":
            if others:
                raise ValueError(f"a choice has no `{min(others)}`")
            return {"kind": kind, "choices": _checked_choices(value)}
        odd = min(others - {"log", "step"}, default=None)
        if odd is not None:
            raise ValueError(f"beside `{kind}` stand `log` and `step`, and not `{odd}`")
        low, high = _checked_range(kind, value)
        log, step = given.get("log", False), given.get("step")
        if not isinstance(log, bool):
            raise ValueError(f"`log` is true or false, and not {log!r}")  # noqa: TRY004  # what pydantic takes
        if log and low <= 0:
            raise ValueError(f"`log` needs numbers above 0, and the lowest is {low:g}")
        if step is not None:
            _check_step(kind, step, high - low)
        if log and step is not None:
            raise ValueError("`log` and `step` exclude one another: keep one of them")
        return {"kind": kind, "low": low, "high": high, "log": log, "step": step}

    def ends(self) -> tuple[Any, ...]:
        """Return the values that stand for all that can be drawn: every choice, or the ends of a range and a number between them."""
        if self.kind == "choice":
            return self.choices
        if self.kind == "int":
            return int(self.low), int(self.high)
        # What takes whole numbers alone refuses a number between.
        between = self.low + (self.high - self.low) * 0.37 if self.step is None else self.low + self.step
        return tuple(dict.fromkeys([self.low, min(between, self.high), self.high]))

    def values(self) -> list[Any] | None:
        """Return each value that can be drawn; None where they cannot be counted."""
        if self.kind == "choice":
            return list(self.choices)
        count = self.count
        if self.kind == "int":
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        return None if count is None else [self.low + number * (self.step or 0.0) for number in range(count)]

    @property
    def count(self) -> int | None:
        """How many values can be drawn; None where they cannot be counted."""
        if self.kind == "choice":
            return len(self.choices)
        if self.kind == "int":
            return (int(self.high) - int(self.low)) // int(self.step or 1) + 1
        if self.step is None:
            return 1 if self.low == self.high else None
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1


class Search(SettingsModel):
    """What a user writes as `search` beside a model's `hyperparameters`.

    Attributes:
        space: what is searched: by each hyperparameter's name `{int: [3, 10]}`, `{float: [0.01, 0.3]}` or `{choice: [a, b]}`; `log` draws
            numbers by their logarithms, `step` in steps.
        n_trials: how many trials there are at most.
        metric: what is compared, by its name in the metrics file; left out, what early stopping watches.
        direction: `minimize` or `maximize`; left out, the metric tells.
        sampler: what asks: `tpe`, `random`, `grid`, `cmaes` or `qmc`.
        pruner: what ends a trial early: `none`, `median`, `hyperband` or `successive_halving`.
        timeout_s: no further trial begins after this many seconds.
        max_cost_usd: no further trial begins once this many dollars are spent.
        parallel: how many trials run at once, each on a machine of its own.
        seed: of the sampler; left out, that of the training.

    Example:
        ```yaml
        search:
          space: {max_depth: {int: [3, 10]}, learning_rate: {float: [0.01, 0.3], log: true}}
          n_trials: 40
        ```
    """

    space: dict[str, Dimension] = Field(examples=["{max_depth: {int: [3, 10]}}"])
    n_trials: int = Field(ge=1, examples=[40])
    metric: str | None = Field(None, min_length=1)
    direction: Literal["minimize", "maximize"] | None = None
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    timeout_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    max_cost_usd: float | None = Field(None, gt=0, allow_inf_nan=False)
    parallel: int = Field(1, ge=1)
    seed: int | None = Field(None, ge=0, lt=2**32)

    @field_validator("space")
    @classmethod
    def _check_space(cls, space: dict[str, Dimension]) -> dict[str, Dimension]:
        if not space:
            raise ValueError("name at least one hyperparameter, such as max_depth: {int: [3, 10]}")
        taken = [name for name in space if name in COLUMNS]
        if taken:
            raise ValueError(f"the table of trials has a column `{taken[0]}` of its own: give the hyperparameter another name")
        return space

    @model_validator(mode="after")
    def _check_sampler(self) -> Self:
        choices = [name for name, dimension in self.space.items() if dimension.kind == "choice"]
        if self.sampler == "cmaes" and choices:
            raise ValueError(
                f"`search.sampler` is cmaes, which knows numbers alone, and `search.space.{choices[0]}` is a choice: take tpe, or fix it "
                "in `hyperparameters`"
            )
        endless = [name for name, dimension in self.space.items() if dimension.count is None]
        if self.sampler == "grid" and endless:
            raise ValueError(
                f"`search.sampler` is grid, and `search.space.{endless[0]}` has any number between its ends: give it a `step`, or write a "
                "choice"
            )
        return self

    @property
    def points(self) -> int | None:
        """How many trials can differ; None where they cannot be counted."""
        counts = [dimension.count for dimension in self.space.values()]
        return None if None in counts else math.prod(count or 0 for count in counts)

    @property
    def most_trials(self) -> int:
        """How many trials there are: those of a grid are not more than its points."""
        return self.n_trials if self.sampler != "grid" or self.points is None else min(self.n_trials, self.points)


def _checked_choices(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("a choice lists at least one value, such as {choice: [a, b]}")
    texts = [json.dumps(each, sort_keys=True, default=str) for each in value]
    repeated = next((each for each, text in zip(value, texts, strict=True) if texts.count(text) > 1), None)
    if len(set(texts)) < len(texts):
        raise ValueError(f"the choice names {repeated!r} twice")
    return list(value)


def _checked_range(kind: Kind, value: Any) -> tuple[float, float]:
    noun = "two whole numbers" if kind == "int" else "two numbers"
    example = "{int: [3, 10]}" if kind == "int" else "{float: [0.01, 0.3]}"
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(_is_number(kind, each) for each in value):  # noqa: PLR2004
        raise ValueError(f"`{kind}` takes {noun}, the lowest and the highest, such as {example}")
    low, high = value
    if low > high:
        raise ValueError(f"the lowest number, {low:g}, is above the highest, {high:g}: write [{high:g}, {low:g}]")
    if kind == "int" and max(abs(low), abs(high)) > _LARGEST:
        raise ValueError(f"`int` takes whole numbers from -2**53 to 2**53, and {low if abs(low) > _LARGEST else high} is outside")
    return low, high


def _check_step(kind: Kind, step: Any, width: float) -> None:
    if not _is_number(kind, step) or step <= 0:
        raise ValueError(f"`step` is a {'whole number' if kind == 'int' else 'number'} above 0, and not {step!r}")
    if not width / step <= _LARGEST:
        raise ValueError(f"`step` is {step!r}, which makes more than 2**53 numbers of the range: take a larger one")
    if 0 < width * (1 + 1e-9) < step:
        raise ValueError(f"`step` is {step!r}, and the range is {width:g} wide, so only its lowest number is drawn: take a smaller one")


def _is_number(kind: Kind, value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return whole or (kind == "float" and isinstance(value, float) and math.isfinite(value))
