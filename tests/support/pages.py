"""README.md and the pages of docs/, as the blocks that a reader copies from them."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from support.kedro_project import ROOT

# By the names that tests use: README.md, how-to/costs.md.
PAGES = {"README.md": ROOT / "README.md", **{str(file.relative_to(ROOT / "docs")): file for file in sorted((ROOT / "docs").rglob("*.md"))}}
# What a reader types or writes into a file. A block of any other language is shown and not copied.
COPIED = ("bash", "console", "yaml", "python")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of a page; its first line is its name there.

    Attributes:
        page: the page's name.
        language: what stands behind the fence.
        text: its lines.
    """

    page: str
    language: str
    text: str

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0]


def text_of(page: str) -> str:
    return PAGES[page].read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    return [Block(page, language, text) for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)]


def block(page: str, language: str, first: str) -> str:
    """Return the text of the block with this first line, or that begins so; a test that calls it is the one that runs the block."""
    of_language = [each for each in blocks_of(page) if each.language == language]
    exact = [each for each in of_language if each.first == first]
    (match,) = exact or [each for each in of_language if each.first.startswith(first)]
    return match.text


def commands_of(page: str, first: str) -> list[str]:
    """Return the lines of a console's block; a test that calls it is the one that types them."""
    return [line for line in block(page, "console", first).splitlines() if line]


def taken_by(files: Iterable[Path]) -> set[tuple[str, str, str]]:
    """Return page, language and first line, or its beginning, of each block that tests ask for by name."""
    taken = set()
    for file in files:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                continue
            words = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
            if call.func.id == "block" and len(words) == 3:
                taken.add((words[0], words[1], words[2]))
            elif call.func.id == "commands_of" and len(words) == 2:
                taken.add((words[0], "console", words[1]))
    return taken


def section(page: str, title: str) -> str:
    """Return the text below a heading, up to the next one."""
    return re.split(r"\n#{1,3} ", text_of(page).split(f"# {title}\n", 1)[1])[0]


def named_in_first_column(text: str) -> set[str]:
    """Return what the tables of a text have in code in their first columns."""
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(.*?)`", row)}
