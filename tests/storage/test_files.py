"""A file is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from kedro_cloudtrain.storage.files import whole


def test_the_file_takes_its_place_at_the_end_of_the_block_and_its_folder_is_made(tmp_path: Path) -> None:
    file = tmp_path / "reports" / "species.json"
    with whole(file) as temporary:
        temporary.write_text("{}", encoding="utf-8")
        assert temporary.parent == file.parent
        assert temporary.suffix == ".json"
        assert not file.exists()
    assert file.read_text(encoding="utf-8") == "{}"
    assert list(file.parent.iterdir()) == [file]


def test_after_an_error_the_old_file_stands_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("old", encoding="utf-8")
    with contextlib.suppress(KeyboardInterrupt), whole(file) as temporary:
        temporary.write_text("half of the n", encoding="utf-8")
        raise KeyboardInterrupt
    assert file.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole(tmp_path / "table.csv"):
        pass


def test_its_permissions_are_those_of_an_ordinary_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole(tmp_path / "shared.txt") as temporary:
            temporary.write_text("a", encoding="utf-8")
    finally:
        os.umask(before)
    assert (tmp_path / "shared.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("keep_same", "kept"), [(True, True), (False, False)])
def test_a_file_with_the_same_content_may_be_left_as_it_is(tmp_path: Path, *, keep_same: bool, kept: bool) -> None:
    file = tmp_path / "table.csv"
    file.write_text("a\n", encoding="utf-8")
    os.utime(file, (1, 1))
    with whole(file, keep_same=keep_same) as temporary:
        temporary.write_text("a\n", encoding="utf-8")
    assert (file.stat().st_mtime == 1) is kept
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_with_another_content_is_replaced_in_either_way(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("a\n", encoding="utf-8")
    with whole(file, keep_same=True) as temporary:
        temporary.write_text("b\n", encoding="utf-8")
    assert file.read_text(encoding="utf-8") == "b\n"
