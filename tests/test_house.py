"""The rules by which the code is kept: sizes of files, one home for each name of the protocol, the language of docstrings."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.kedro_project import ROOT

from kedro_cloudtrain.worker import protocol

pytestmark = pytest.mark.no_cover  # they read the code, and run none of it

PACKAGE = ROOT / "kedro_cloudtrain"
MODULES = sorted(PACKAGE.rglob("*.py"))
EVERYTHING = sorted(file for folder in ("kedro_cloudtrain", "tests", "benchmarks", "src") for file in (ROOT / folder).rglob("*.py"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "pyproject.toml",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "templates").rglob("*.j2")),
]
PROTOCOL = PACKAGE / "worker/protocol.py"
# A pod runs these before it can import anything: they spell the names out, and a test of theirs compares them.
STANDALONE = set((PACKAGE / "pod").glob("*.py"))
# An imperative that a native engineer would not begin with.
FOREIGN = ("Give", "Say", "Tell", "Hear")
# A variable of such a name tells how its value was come by, not what it is.
WAYS = {"found", "got", "heard", "known", "said", "seen", "told"}
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    lengths = {named(file): len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_no_file_is_named_for_nothing() -> None:
    assert [named(file) for file in MODULES if re.search(r"util|helper|common|misc|manager", file.stem)] == [
        "kedro_cloudtrain/running/pod_manager.py"
    ]


@pytest.mark.parametrize("package", sorted(file.parent for file in PACKAGE.rglob("__init__.py")), ids=named)
def test_each_package_says_in_one_sentence_what_it_is_for(package: Path) -> None:
    docstring = ast.get_docstring(tree(package / "__init__.py")) or ""
    first = docstring.split("\n\n")[0]
    assert first.endswith((".", "`"))
    assert len(first) > 20


def test_the_names_of_the_protocol_stand_once() -> None:
    names = {
        value for name, value in vars(protocol).items() if name.isupper() and isinstance(value, str) and re.search(r"\.|CLOUDTRAIN", value)
    }
    names -= {protocol.JOBS, protocol.INPUTS}
    again = [
        f"{named(file)}:{node.lineno} {node.value}"
        for file in MODULES
        if file != PROTOCOL and file not in STANDALONE
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert again == []


def test_docstrings_begin_with_a_plain_verb() -> None:
    begun = [
        f"{named(file)}:{node.body[0].lineno}"
        for file in EVERYTHING
        for node in ast.walk(tree(file))
        if isinstance(node, _DOCUMENTED) and (ast.get_docstring(node) or "").split(" ")[0] in FOREIGN
    ]
    assert begun == []


def _names_given_by(node: ast.AST) -> set[str]:
    """Return the names of variables, arguments, fields, classes and functions that a node makes; a test's name is a sentence."""
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
        return {node.id if isinstance(node, ast.Name) else node.attr}
    if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("test_"):
        return {node.name}
    return {node.arg} if isinstance(node, ast.arg) else set()


def test_a_variable_is_named_for_what_it_holds() -> None:
    names = [
        f"{named(file)}:{node.lineno} {name}"
        for file in EVERYTHING
        for node in ast.walk(tree(file))
        for name in _names_given_by(node)
        if name.lower().rpartition("_")[2] in WAYS
    ]
    assert names == []


# "It is no table" and "whoever asks" are translations of "it is not a table" and "the client that asks".
_IS_NO = r"(?P<before>(?:\S+ ){0,4})\b(?:is|are|was|were|be|been) no (?!(?:longer|more|one|and|or)\b)[`\w]\w*"
FOREIGN_PHRASES = re.compile(rf"(?i){_IS_NO}|\bwhoever\b")


def _as_prose(text: str) -> str:
    """Return a file's text with its comments and its strings joined: a sentence goes on in the next line."""
    return re.sub(r"[\s\"#]+(?:f\")?", " ", text)


def test_sentences_are_not_translations() -> None:
    phrases = [
        f"{named(file)} {match[0]!r}"
        for file in [*EVERYTHING, *PAGES]
        if file != Path(__file__)
        for match in FOREIGN_PHRASES.finditer(_as_prose(file.read_text(encoding="utf-8")))
        if "there" not in (match["before"] or "").lower()
    ]
    assert phrases == []
