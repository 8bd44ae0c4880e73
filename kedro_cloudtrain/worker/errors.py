"""What a user has to mend: a mistake in what was asked for, whose message is complete by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in what was asked for: a column that is not there, a URL that answers 404.

    Its message names the value, the place and the next step, and is shown without a traceback.
    """


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give the known name that is nearest to `name`, or None where none is near."""
    import difflib  # a job that has nothing wrong needs none of it

    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
