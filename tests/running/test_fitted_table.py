"""A table is as wide as its console at the most, and nothing in it is cut or broken."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from kedro_cloudtrain.running.fitted_table import Column, FittedTable


def printed(table: FittedTable, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(table, soft_wrap=True)
    return captured.get().strip("\n").splitlines()


def pods() -> FittedTable:
    table = FittedTable(Column("pod"), Column("reads"), Column("age", right=True, rank=-1), Column("cost", right=True))
    table.add_row("first", "datasets/penguins.csv", "2 min", "$0.10")
    table.add_row("second", "–", "12 min", "$12.00")
    return table


def test_a_wide_console_has_one_line_a_row() -> None:
    assert printed(pods(), 60) == [
        "pod     reads                     age    cost",
        "─────────────────────────────────────────────",
        "first   datasets/penguins.csv   2 min   $0.10",
        "second  –                      12 min  $12.00",
    ]


def test_what_finds_no_room_stands_below_its_row_by_rank() -> None:
    assert printed(pods(), 30) == [
        "pod        age    cost",
        "──────────────────────",
        "first    2 min   $0.10",
        "  reads datasets/penguins.csv",
        "second  12 min  $12.00",
    ]


@pytest.mark.parametrize("width", range(14, 60))
def test_at_any_width_each_word_is_whole_and_no_line_is_wider_than_its_widest_word(width: int) -> None:
    lines = printed(pods(), width)
    words = " ".join(lines).split()
    for word in ("first", "second", "datasets/penguins.csv", "2", "12", "min", "$0.10", "$12.00"):
        assert word in words
    assert all(cell_len(line) <= max(width, len("    datasets/penguins.csv")) for line in lines)


def test_columns_without_a_value_are_left_out() -> None:
    table = FittedTable(Column("node"), Column("empty"), Column("dash"), Column("zero"), Column("bytes"), Column("rows"))
    table.add_row("a", "", "–", "0.0", "0 B", "0")
    table.add_row("b", "", "–", "0", "–", "7")
    assert printed(table, 80)[0].split() == ["node", "rows"]


def test_a_name_is_folded_at_its_joints_where_it_is_wider_than_the_console() -> None:
    table = FittedTable(Column("node"), Column("state"))
    table.add_row("data_science.train_a_model", "done")
    table.add_row("short", "failed")
    assert printed(table, 16)[2:] == ["data_science.", "train_a_model", "  state done", "short", "  state failed"]
    assert printed(table, 5)[2:5] == ["data_", "scien", "ce."]


def test_a_long_text_is_wrapped_at_its_words() -> None:
    table = FittedTable(Column("job"), Column("why"), Column("rows"))
    table.add_row("train", "ran: another fingerprint than the last time", "12")
    assert printed(table, 24)[2:] == ["train  12", "  why ran: another", "    fingerprint than the", "    last time"]
