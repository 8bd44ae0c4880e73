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
_CONDITION = re.compile(r"^Check failed: \S+(?: [=!<>]+ .*?\))? ?: (?=\S)")
_WORD = 4
# The classes of the libraries' own errors: what they say is shown to a user.
_OWN_ERRORS = ("XGBoostError", "LightGBMError", "CatBoostError")
_WEIGHTS = ("class_weights", "auto_class_weights", "scale_pos_weight")
_OBJECTIVES = ("quantile_alpha", "objective", "loss_function", "objective_type", "loss", "app", "application", "eval_metric", "metric")
# What a sentence that names no hyperparameter is about; an objective is what is left of a target or a prediction that does not fit.
_ABOUT: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile("OpenCL|CUDA|GPU|device", re.IGNORECASE), ("device", "device_type", "task_type")),
    (re.compile("weight", re.IGNORECASE), _WEIGHTS),
    (re.compile("label|target|base_score|pred|class|metric|objective|loss|group|quer", re.IGNORECASE), _OBJECTIVES),
)
# A machine that is out of memory is not a mistake in a value, whatever names the message has.
_NO_MISTAKE = re.compile("memory|alloc", re.IGNORECASE)


def refusal(library: str, hyperparameters: Mapping[str, Any], error: BaseException | None) -> HyperparameterError | None:
    """Return what a library's error means for the hyperparameters that a user gave; None if it is about none of them.

    Args:
        library: xgboost, lightgbm, catboost or keras.
        hyperparameters: by their names.
        error: what was raised.
    """
    if not isinstance(error, Exception) or isinstance(error, InputError) or not _is_raised_by(library, error):
        return None
    reason = _sentence(str(error))
    if not reason or _NO_MISTAKE.search(reason):
        return None
    named = [name for name in hyperparameters if _has_word(reason, name)] or [
        name for name, value in hyperparameters.items() if isinstance(value, str) and any(_has_word(reason, word) for word in _words(value))
    ]
    if not named and type(error).__name__ in _OWN_ERRORS:
        named = [name for name in hyperparameters if any(len(word) > _WORD and word in reason for word in (name, *name.split("_")))]
    if not named and type(error).__name__ in _OWN_ERRORS:
        named = next(
            filter(None, ([name for name in names if name in hyperparameters] for about, names in _ABOUT if about.search(reason))), []
        )
    if not named:
        return None
    values = " and ".join(f"`hyperparameters.{name}` is {hyperparameters[name]!r}" for name in named)
    return HyperparameterError(f"{values}, which {library} refuses: {reason.rstrip(': .')}.")


def _sentence(text: str) -> str:
    """Return a library's own sentence: without its place, the condition that did not hold, and the stack below it."""
    line = _PLACE_BEHIND.sub("", _PLACE.sub("", next(iter(text.strip().splitlines()), "")))
    # `Check failed: preds.Size() == info.labels.Size() (120 vs. 60) : label and prediction size not match`
    return _CONDITION.sub("", line)


def _words(value: str) -> list[str]:
    """Return a text and what it is made of: `Quantile:alpha=3` is about Quantile."""
    return [value, *(word for word in re.split(r"[:=;,]", value) if len(word) >= _WORD)]


def _is_raised_by(library: str, error: Exception) -> bool:
    """Return whether an error comes out of a library: it is of the library's own class, or was raised in its code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    places = [type(error).__module__, str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""]
    return any(place.partition(".")[0].lstrip("_") == library for place in places)


def _has_word(text: str, word: str) -> bool:
    # CatBoost writes `class weights` and `Monotone constraints` of its hyperparameters.
    spelt = re.escape(word).replace("_", "[ _-]")
    flags = re.IGNORECASE if len(word) >= _WORD else re.NOFLAG
    return word != "" and re.search(rf"(?<![\w.]){spelt}s?(?![\w.]*\w)", text, flags) is not None
