"""Scratch folders: gone with the process that has made them, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from kedro_cloudtrain.worker.scratch import scratch, scratch_of_process

if TYPE_CHECKING:
    from pathlib import Path

_OLD_S = 3600
_MAKE = """
import signal
from kedro_cloudtrain.worker.scratch import scratch_of_process
folder = scratch_of_process()
(folder / "rows").write_bytes(b"0" * 100)
print(folder, flush=True)
"""


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the temporary files of this process and of its children be in a folder of the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def _process(then: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _MAKE + then], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def _age(folder: Path) -> None:
    """Make a folder look as if it were made an hour ago."""
    made = folder.stat().st_mtime - _OLD_S
    os.utime(folder, (made, made))


def test_a_folder_is_gone_after_its_block_even_if_that_fails(tmp_path: Path) -> None:
    with scratch() as folder:
        (folder / "within").mkdir()
    with pytest.raises(ZeroDivisionError), scratch(tmp_path) as other:
        _ = 1 / 0
    assert folder.parent == other.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "1 / 0"])
def test_a_folder_is_gone_with_a_process_that_ends_by_itself(end: str, tmp_path: Path) -> None:
    process = _process(end)
    process.communicate(timeout=60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_has_left_is_removed_by_the_next(number: signal.Signals, tmp_path: Path) -> None:
    with _process("signal.pause()") as process:
        assert process.stdout is not None
        process.stdout.readline()
        (left,) = tmp_path.iterdir()
        process.send_signal(number)
    assert left.is_dir()
    with scratch():
        assert left.is_dir(), "it may be one that is being made"
    _age(left)
    with scratch() as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_the_folder_of_a_live_process_stays_however_old(tmp_path: Path) -> None:
    with _process("signal.pause()") as process:
        assert process.stdout is not None
        process.stdout.readline()
        (theirs,) = tmp_path.iterdir()
        _age(theirs)
        with scratch():
            assert (theirs / "rows").stat().st_size == 100
        process.kill()


def test_folders_of_others_stay(tmp_path: Path) -> None:
    for name in ("cloudtrain-results", "other"):
        (tmp_path / name).mkdir()
        _age(tmp_path / name)
    with scratch() as folder:
        mine = folder.name.rpartition("-")[0]
    left = {"cloudtrain-results", "other", f"{mine}-file", f"{mine}-pipe", f"{mine}-link", "cloudtrain-scratch-elsewhere-abc"}
    (tmp_path / f"{mine}-file").write_text("a file of that name")
    os.mkfifo(tmp_path / f"{mine}-pipe")
    (tmp_path / f"{mine}-link").symlink_to("other")
    (tmp_path / "cloudtrain-scratch-elsewhere-abc").mkdir()
    for name in left:
        _age(tmp_path / name)
    with scratch():
        pass
    assert {path.name for path in tmp_path.iterdir()} == left


def test_a_process_has_as_many_folders_as_it_asks_for(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", _MAKE + "print(scratch_of_process(), flush=True)"], stdout=subprocess.PIPE, text=True, check=True
    )
    first, second = process.stdout.split()
    assert first != second
    assert list(tmp_path.iterdir()) == []
    assert scratch_of_process().parent == tmp_path
