"""A table that fits its console without cutting a figure: the columns that find no room stand below each row, dimmed."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions

_GAP = 2
_INDENT = "  "
_BETWEEN = " · "
# Nothing, a dash, or zero: `0`, `0.0`, `0 B`.
_WITHOUT_VALUE = re.compile(r"[0.–]*(?: B)?")
# Where a name may be folded that is wider than the whole console.
_JOINTS = "_."


@dataclasses.dataclass(eq=False)
class Column:
    """A column of a table.

    Attributes:
        name: its header.
        right: whether its cells stand on the right, as figures do.
        rank: columns of the lowest rank stay beside the first one the longest; of two with the same rank, the left one.
        cells: a cell for each row.
    """

    name: str
    right: bool = False
    rank: int = 0
    cells: list[Text] = dataclasses.field(default_factory=list)

    @property
    def cells_width(self) -> int:
        """The width of the widest cell."""
        return max((cell.cell_len for cell in self.cells), default=0)

    @property
    def width(self) -> int:
        """The width of the widest cell, the header included."""
        return max(cell_len(self.name), self.cells_width)

    @property
    def has_values(self) -> bool:
        """Whether a cell holds something else than a dash or a zero."""
        return any(_WITHOUT_VALUE.fullmatch(cell.plain) is None for cell in self.cells)

    def aligned(self, cell: Text, width: int) -> Text:
        """Pad a cell to a width, on the column's side."""
        padding = " " * (width - cell.cell_len)
        return Text.assemble(padding, cell) if self.right else Text.assemble(cell, padding)


class FittedTable:
    """Rows of cells under headers, as wide as the console at the most.

    A column without values is left out, but for the first, which names the row. Where the others are wider than the console, those of the
    highest rank move to a dimmed line below each row, each value after its header. The words of a value that is wider than a whole line
    are wrapped; the first cell is folded at `_` or `.`, and only where it is wider than the console by itself.

    Args:
        columns: from left to right.
    """

    def __init__(self, *columns: Column) -> None:
        self._columns = columns
        self._styles: list[str] = []
        self._total: tuple[str, ...] = ()

    def add_row(self, *cells: Text | str, style: str = "") -> None:
        """Add a row, a cell for each column."""
        for column, cell in zip(self._columns, cells, strict=True):
            column.cells.append(cell if isinstance(cell, Text) else Text(cell))
        self._styles.append(style)

    def add_total(self, *parts: str) -> None:
        """Add a line about all rows, which is broken between two of its parts where it is too wide."""
        self._total = parts

    def fits(self, width: int) -> bool:
        """Return whether each row is a line of this many characters."""
        columns = [self._columns[0], *(column for column in self._columns[1:] if column.has_values)]
        return len(_beside(columns, width)) == len(columns)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[Text]:
        for line in self._lines(options.max_width):
            # Unwrapped: what is wider than the console by itself, a URL for example, is left to the terminal.
            line.no_wrap, line.overflow = True, "ignore"
            yield line

    def _lines(self, width: int) -> Iterator[Text]:
        named, *others = self._columns
        columns = [named, *(column for column in others if column.has_values)]
        beside = _beside(columns, width)
        below = [column for column in columns if column not in beside]
        yield Text()
        yield _joined([column.aligned(Text(column.name), column.width) for column in beside], "bold")
        yield Text("─" * min(width, sum(column.width for column in beside) + _GAP * (len(beside) - 1)))
        for row, style in enumerate(self._styles):
            *lines, name = folded(named.cells[row], width)
            yield from lines
            figures = [column.aligned(column.cells[row], column.width) for column in beside[1:]]
            yield _joined([named.aligned(name, named.width), *figures], style)
            yield from _below(below, row, width)
        yield Text()
        for line in _broken(self._total, width):
            yield Text(line, "bold")


def _joined(cells: Sequence[Text], style: str) -> Text:
    line = Text(" " * _GAP).join(cells)
    line.rstrip()
    line.style = style
    return line


def _beside(columns: Sequence[Column], width: int) -> list[Column]:
    """Choose the columns that stay on the first line, by their rank."""
    named, *others = columns
    used, chosen = named.width, [named]
    for column in sorted(others, key=lambda column: column.rank):
        if used + _GAP + column.width <= width:
            used += _GAP + column.width
            chosen.append(column)
    return [column for column in columns if column in chosen]


def _below(columns: Sequence[Column], row: int, width: int) -> Iterator[Text]:
    """Write what a row has in columns that found no room: `start 1.2 · rows 344`."""
    cells = {column.name: column.cells[row].plain for column in columns}
    parts = [f"{name} {cell}" for name, cell in cells.items() if not _WITHOUT_VALUE.fullmatch(cell)]
    for line in _broken(parts, width - len(_INDENT)):
        yield from _wrapped(line, width)


def _broken(parts: Sequence[str], width: int) -> Iterator[str]:
    """Join parts to lines, each broken between two parts where it is too wide."""
    line = ""
    for part in parts:
        longer = f"{line}{_BETWEEN}{part}" if line else part
        if line and cell_len(longer) > width:
            yield line
            longer = part
        line = longer
    if line:
        yield line


def _wrapped(line: str, width: int) -> Iterator[Text]:
    for part in textwrap.wrap(
        line, width, initial_indent=_INDENT, subsequent_indent=_INDENT * 2, break_long_words=False, break_on_hyphens=False
    ):
        yield Text(part, "dim")


def folded(name: Text, width: int) -> list[Text]:
    """Fold a name after the last joint that fits, where it is wider than a line."""
    lines = []
    while name.cell_len > width:
        fold = max(name.plain.rfind(joint, 0, width) for joint in _JOINTS) + 1 or width
        first, name = name.divide([fold])
        lines.append(first)
    return [*lines, name]
