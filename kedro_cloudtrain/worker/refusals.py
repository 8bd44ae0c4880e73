"""A library's refusal of a hyperparameter, in a user's words: which one it is, its value, and the library's reason."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .errors import HyperparameterError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Where in its own source a library stands: `[12:00:01] /src/gbm.cc:24: `, `catboost/private/libs/options/json_helper.h:41: `.
_PLACE = re.compile(r"^(\[[\d:]+\] )?\S*/\S+:\d+: ")
# `Check failed: (num_leaves) > (1) at /src/config_auto.cpp, line 334 .`
_PLACE_BEHIND = re.compile(r" at \S+, line \d+ ?\.?$")
# A machine that has no memory left is no mistake in a value, whatever names the message has.
_NO_MISTAKE = re.compile("memory|alloc", re.IGNORECASE)


def refusal(library: str, given: Mapping[str, Any], error: BaseException | None) -> HyperparameterError | None:
    """Return what a library's error means for the hyperparameters that a user gave; None if it is about none of them.

    Args:
        library: xgboost, lightgbm, catboost or keras.
        given: the hyperparameters.
        error: what was raised.
    """
    if not isinstance(error, Exception) or isinstance(error, InputError) or not _is_raised_by(library, error):
        return None
    reason = _PLACE_BEHIND.sub("", _PLACE.sub("", next(iter(str(error).strip().splitlines()), "")))
    if not reason or _NO_MISTAKE.search(reason):
        return None
    named = [name for name in given if _has_word(reason, name)] or [
        name for name, value in given.items() if isinstance(value, str) and _has_word(reason, value)
    ]
    if not named:
        return None
    values = " and ".join(f"`hyperparameters.{name}` is {given[name]!r}" for name in named)
    return HyperparameterError(f"{values}, which {library} refuses: {reason.rstrip(': ')}.")


def _is_raised_by(library: str, error: Exception) -> bool:
    """Return whether an error comes out of a library: it is of the library's own class, or was raised in its code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    places = [type(error).__module__, str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""]
    return any(place.partition(".")[0].lstrip("_") == library for place in places)


def _has_word(text: str, word: str) -> bool:
    return word != "" and re.search(rf"(?<![\w.]){re.escape(word)}(?![\w.]*\w)", text) is not None
