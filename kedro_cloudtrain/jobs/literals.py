"""Values as Python literals: how they come into a script."""

from __future__ import annotations

import math

from kedro_cloudtrain.errors import TemplateError

# As ruff and black are set in most projects that share code.
LINE_WIDTH = 100
_LONGEST_ASSIGNMENT = len("EARLY_STOPPING_ROUNDS = ")


def literal(value: object, indent: int = 0, taken: int = _LONGEST_ASSIGNMENT) -> str:
    """Write a JSON value as a Python literal: the one way by which a value comes into a script.

    `repr` escapes, so no text can end its own literal; long lists and mappings take a line an item, as ruff and black write them.

    Args:
        value: the value.
        indent: the column at which the closing bracket of a long one stands.
        taken: how many columns of the first line are taken by what stands before the value.

    Raises:
        TemplateError: the value is not a JSON value.
    """
    line = flat(value)
    if len(line) + taken <= LINE_WIDTH or not isinstance(value, dict | list | tuple) or not value:
        return line
    pad, inner = " " * indent, " " * (indent + 4)
    if isinstance(value, dict):
        keys = {flat(key): item for key, item in value.items()}
        lines = [f"{inner}{key}: {literal(item, indent + 4, indent + 7 + len(key))}," for key, item in keys.items()]
        return "\n".join(["{", *lines, pad + "}"])
    return "\n".join(["[", *(f"{inner}{literal(item, indent + 4, indent + 5)}," for item in value), pad + "]"])


def flat(value: object) -> str:
    """Write a JSON value as a Python literal of one line.

    Raises:
        TemplateError: the value is not a JSON value.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, str):
        return _quoted(str(value))
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flat(key)}: {flat(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flat(item) for item in value) + "]"
    str(value)  # a template's own undefined name raises, and names what no job has
    raise TemplateError(f"{value!r} ({type(value).__name__}) cannot stand in a script: use numbers, text, lists and mappings.")


def _quoted(text: str) -> str:
    """Write text in double quotes, or in single ones where that takes fewer backslashes, as ruff and black do."""
    if text.count('"') > text.count("'"):
        return repr(text)
    # Behind a ' and without a ", repr always quotes by ": each part between two " is escaped by repr itself.
    return '"' + '\\"'.join(repr("'" + part)[2:-1] for part in text.split('"')) + '"'
