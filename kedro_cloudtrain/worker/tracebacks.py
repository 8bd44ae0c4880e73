"""The traceback of a function's error: it names the project's own files, not where this machine has unpacked them."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_shown: dict[str, str] = {}


def show_as(folder: Path, sources: Mapping[str, str]) -> None:
    """Show the code of a folder by its place in the project, from now on, in every traceback of this process.

    Args:
        folder: where the code was unpacked.
        sources: the place of each of its packages, seen from the project's folder; that of a single module is its file.
    """
    for root, place in sources.items():
        name = f"{root}.py" if place.endswith(".py") else root
        _shown[rf"{re.escape(str(folder))}[\\/]{re.escape(name)}(?=[\\/\"'])"] = place
    sys.excepthook = _print


def text_of(error: BaseException) -> str:
    """Return an error's traceback."""
    import traceback  # needed for an error alone

    text = "".join(traceback.format_exception(error))
    for pattern, place in _shown.items():
        text = re.sub(pattern, lambda _, place=place: place, text)  # type: ignore[misc]
    return text


def _print(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that nothing has caught, as Python does."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(text_of(error.with_traceback(trace)))
