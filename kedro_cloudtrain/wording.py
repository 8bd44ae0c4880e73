"""What pydantic found wrong, in a user's words: the key, its value, what is allowed, the nearest known name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

KeyPath = tuple[str | int, ...]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give ` Did you mean …?` for the known name nearest to `name`, or an empty string where none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean `{matches[0]}`?" if matches else ""


def dotted(path: Sequence[str | int]) -> str:
    """Write a key path as a user would say it: `nodes.train_flights.gpu`."""
    return ".".join(str(part) for part in path)


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[tuple[KeyPath, str]]:
    """Say each finding of `error` as a key path and a sentence.

    `model` is the class that refused: its field names are the known ones that a misspelt key is compared with.
    """
    return [(tuple(found["loc"]), _sentence(found, model)) for found in error.errors()]


def _sentence(found: ErrorDetails, model: type[BaseModel]) -> str:
    path = found["loc"]
    name, value = dotted(path), found["input"]
    if found["type"] == "extra_forbidden":
        known = _fields_at(model, path[:-1])
        return f"`{name}` is not a setting.{did_you_mean(str(path[-1]), known) or ' Known here: ' + ', '.join(known) + '.'}"
    if found["type"] == "missing":
        return f"`{name}` is missing."
    if found["type"] == "literal_error":
        allowed = found["ctx"]["expected"]
        names = allowed.replace("'", "").replace(" or ", ", ").split(", ")
        return f"`{name}` is {value!r}; allowed: {allowed}.{did_you_mean(str(value), names)}"
    message = str(found.get("ctx", {}).get("error", "")) or found["msg"]
    if not path:
        return message
    return f"`{name}` is {value!r}: {message[:1].lower()}{message[1:]}."


def _fields_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Give the names of the fields of the model that stands at `path` below `model`."""
    current: Any = model
    for part in path:
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = _model_in(fields[part].annotation)
        # Anything else is a key of a mapping, whose values are of the model already found.
    return list(getattr(current, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    """Find the model within `Model | None`, `dict[str, Model]` and the like."""
    if hasattr(annotation, "model_fields"):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


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
