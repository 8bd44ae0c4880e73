"""Silence what a library's own code writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what the libraries' own code writes out of the output."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    kept_out = os.dup(1)
    os.dup2(nothing, 2)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.dup2(kept_out, 1)
        for descriptor in (kept, kept_out, nothing):
            os.close(descriptor)
