"""Memory that is free, returned to the machine: a C library keeps the holes between what is still in use."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def release_memory() -> None:
    """Return what was freed to the machine: a table that was read column by column leaves as much behind as it holds."""
    # Linux's usual C library alone has it: malloc_trim(3).
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
