"""What YAML makes of a word without quotes, for a user who meant the word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_TRUTHS = {True: ("yes", "on", "true"), False: ("no", "off", "false")}
_KINDS = {"int": "a whole number", "float": "a number", "date": "a date", "datetime": "a time"}


def put_in_quotes(value: Any, noun: str, meant: Iterable[Any] = ()) -> str:
    """Return what YAML has read, and that the word goes in quotes; without a full stop.

    Args:
        value: what YAML has made of the word.
        noun: what is text: "a column's name".
        meant: texts of which one may have been meant.
    """
    if isinstance(value, bool):
        words = _TRUTHS[value]
        example = next((text for text in meant if isinstance(text, str) and text.lower() in words), words[0])
        read = f"{words[0]}, {words[1]} and {words[2]} as {value}"
    else:
        kind = type(value).__name__
        read, example = f"it as {_KINDS.get(kind, f'a value of the type {kind}')}", str(value)
    return f'YAML reads {read}, and {noun} is text. Put it in quotes, as in "{example}"'
