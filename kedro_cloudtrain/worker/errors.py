"""Mistakes that a user can correct: each message is complete without a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in what a user asked for: a missing column, a URL that answers 404.

    Its message names the value, the place and the next step, and is shown without a traceback.
    """


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar of some names, or None if none is similar to `name`."""
    import difflib  # needed for an error alone

    matches = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return matches[0] if matches else None
