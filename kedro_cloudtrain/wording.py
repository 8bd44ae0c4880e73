"""The words of messages: what is wrong with a setting, the nearest name, and numbers as a person reads them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.secrecy import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

_LINE_OF_NAMES = 8
# What pydantic says of a value of another shape, in the words of YAML.
_SHAPES = {
    **dict.fromkeys(("list_type", "tuple_type", "set_type"), "write a list, as [a, b]"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "write settings by their names, as {name: value}"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "write true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "write a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "write a number"),
    "string_type": "write text, in quotes where YAML would read something else",
}

KeyPath = tuple[str | int, ...]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ` Did you mean …?` with the one of `names` that is nearest to `name`, or an empty string if none is near.

    A name that is among them is not misspelt: what is wrong is something else, and no other name is suggested.
    """
    names = list(names)
    matches = [] if name in names else difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean `{matches[0]}`?" if matches else ""


def some_of(names: Iterable[str]) -> str:
    """Return the first of some names, as many as a line takes: `a, b, c and 73 more`; `none` if there are none."""
    names = list(names)
    more = f" and {len(names) - _LINE_OF_NAMES} more" if len(names) > _LINE_OF_NAMES else ""
    return (", ".join(names[:_LINE_OF_NAMES]) or "none") + more


def dotted(path: Sequence[str | int]) -> str:
    """Join a key path as users write it: `nodes.train_flights.gpu`."""
    return ".".join(str(part) for part in path)


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[tuple[KeyPath, str]]:
    """Return each problem of `error` as a key path and a sentence.

    Args:
        error: what pydantic raised.
        model: the class that raised it; a misspelt key is compared with the names of its fields.
    """
    return [(tuple(problem["loc"]), _sentence(problem, model)) for problem in error.errors()]


def _sentence(problem: ErrorDetails, model: type[BaseModel]) -> str:
    path = problem["loc"]
    name, value = dotted(path), problem["input"]
    if problem["type"] == "extra_forbidden":
        fields = _fields_at(model, path[:-1])
        every = f" Possible settings: {', '.join(fields)}."
        return f"`{name}` is not a setting.{did_you_mean(str(path[-1]), fields) or every}"
    if problem["type"] == "missing":
        return f"`{name}` is missing{_example(model, path)}."
    if problem["type"] == "literal_error":
        allowed = problem["ctx"]["expected"]
        names = allowed.replace("'", "").replace(" or ", ", ").split(", ")
        return f"`{name}` is {shown(value)}; allowed: {allowed}.{did_you_mean(str(value), names)}"
    message = str(problem.get("ctx", {}).get("error", "")) or _SHAPES.get(problem["type"]) or problem["msg"]
    if not path:
        return message
    return f"`{name}` is {shown(value)}: {_within(message)}."


def _within(message: str) -> str:
    """Return a message as it goes on within a sentence: a word in capitals keeps them."""
    return message if message[:2].isupper() else f"{message[:1].lower()}{message[1:]}"


def _example(model: type[BaseModel], path: Sequence[str | int]) -> str:
    """Return how a setting is written, as the end of a sentence; an empty string where its field has no example."""
    field = getattr(_model_at(model, path[:-1]), "model_fields", {}).get(path[-1])
    return f": add it, for example `{path[-1]}: {field.examples[0]}`" if field is not None and field.examples else ""


def _fields_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the names of the fields of the model at `path` below `model`."""
    return list(getattr(_model_at(model, path), "model_fields", {}))


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> Any:
    """Return the model at `path` below `model`; None if there is none."""
    current: Any = model
    for part in path:
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = _model_in(fields[part].annotation)
        # Any other part is a key of a mapping, whose values are of the current model already.
    return current


def _model_in(annotation: Any) -> Any:
    """Return the model within `Model | None`, `dict[str, Model]` and the like; None if there is none."""
    if hasattr(annotation, "model_fields"):
        return annotation
    return next((model for model in map(_model_in, getattr(annotation, "__args__", ())) if model is not None), None)


def size(count: float | None) -> str:
    """Write a number of bytes as a person reads it: `15.2 kB`; a dash for None."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":  # noqa: PLR2004  # SI: a kilobyte is 1,000 bytes
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def usd(dollars: float) -> str:
    """Write dollars: `$1.25`; with one more digit below ten cents, so that a short job does not seem to be free."""
    return f"${dollars:.2f}" if dollars >= 0.1 else f"${dollars:.3f}"  # noqa: PLR2004


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: `1 job`, `2 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def score_text(score: float) -> str:
    """Write a score with four significant digits, a large one with all digits before its point."""
    return f"{score:,.0f}" if abs(score) >= 10_000 else f"{score:.4g}"  # noqa: PLR2004


def duration(seconds: float | None) -> str:
    """Write a time as a person reads it: `3.2 s`, `4:05 min`, `2:10 h`; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes}:{int(seconds % 60):02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"  # noqa: PLR2004
