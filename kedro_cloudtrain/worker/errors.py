"""Mistakes that a user can correct: each message is complete without a traceback."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


# Not `...`, and not the `..` of a path.
_TWO_STOPS = re.compile(r"(?<![./\s])\.\.(?=\s|$)")


def one_stop(message: str) -> str:
    """Return a message without the second full stop that it has where the sentence of a library, with its own, stands in it."""
    return _TWO_STOPS.sub(".", message)


class InputError(ValueError):
    """A mistake in what a user asked for: a missing column, a URL that answers 404.

    Its message names the value, the place and the next step, and is shown without a traceback.

    Attributes:
        about: where a user corrects it: `data`, `hyperparameters` or `outputs`.
    """

    about = "data"

    def __init__(self, message: str) -> None:
        super().__init__(one_stop(message))


class HyperparameterError(InputError):
    """A hyperparameter that a library does not have, or a value that it does not take."""

    about = "hyperparameters"


class OutputError(InputError):
    """What a function has returned is not what its node saves, or cannot be saved."""

    about = "outputs"


class PackageError(InputError):
    """A library that is not installed as the job needs it."""

    about = "packages"


class MachineError(Exception):
    """This machine cannot do the job; another one may. The client tries it on another pod."""


class LostProcessError(Exception):
    """One of the processes that share a fit has ended before it: killed, mostly, since the machine has too little memory."""


class PrunedError(Exception):
    """The search of this fit ended it early (`pruner`)."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar of some names, or None if none is similar to `name`."""
    import difflib  # needed for an error alone

    matches = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return matches[0] if matches else None
