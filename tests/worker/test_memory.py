"""What is freed goes back to the machine."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from kedro_cloudtrain.worker.memory import release_memory


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library of Linux's usual distributions alone has it")
def test_the_holes_between_what_is_held_are_returned() -> None:
    blocks = [bytearray(64 * 1024) for _ in range(1000)]
    held = blocks[::10]  # no hole ends at the end of the heap
    full = resident()
    del blocks
    release_memory()
    assert full - resident() > 50e6
    assert len(held) == 100


def resident() -> int:
    """Return the memory that this process holds, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_another_c_library_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> object:
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    release_memory()
