"""Weights that go by the labels of a target's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import InputError
from .yaml_words import put_in_quotes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN = 8


def by_label(weights: Mapping[str, Any], classes: Sequence[Any], place: str) -> list[Any]:
    """Return a weight for each class, 1 for a class that is not named.

    Args:
        weights: by the classes' labels.
        classes: the labels, in the order of their codes.
        place: the parameter that holds the weights.

    Raises:
        InputError: a name is not that of a class.
    """
    row: list[Any] = [1] * len(classes)
    # What came through JSON has its keys as text.
    codes = {_text(label): code for code, label in enumerate(classes)}
    for label, weight in weights.items():
        if _text(label) not in codes:
            shown = ", ".join(repr(each) for each in classes[:_SHOWN]) + (", …" if len(classes) > _SHOWN else "")
            truth = {"true": True, "false": False}.get(str(label).lower())
            hint = f" {put_in_quotes(truth, 'this label', classes)}." if truth is not None and _are_texts(classes) else ""
            raise InputError(f"`{place}` names {label!r}, which is not a class of the target. The classes are {shown}.{hint}")
        row[codes[_text(label)]] = weight
    return row


def _are_texts(labels: Sequence[Any]) -> bool:
    return all(isinstance(label, str) for label in labels)


def _text(label: Any) -> str:
    if isinstance(label, float) and label.is_integer():
        return str(int(label))  # 1.0 is 1
    # YAML writes a truth as true, Python as True.
    return str(label).lower() if isinstance(label, bool) or str(label) in ("true", "false", "True", "False") else str(label)
