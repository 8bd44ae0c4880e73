"""The names that client and machine share stand in one module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from kedro_cloudtrain.worker import protocol

NAMES = {value for name, value in vars(protocol).items() if name.isupper() and isinstance(value, str)}
MODULES = sorted(Path(protocol.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("file", [file for file in MODULES if file.stem != "protocol"], ids=lambda file: file.stem)
def test_no_module_of_the_worker_spells_a_shared_name(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    operands = [node.right for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
    places = {operand.value for operand in operands if isinstance(operand, ast.Constant)}
    assert not [text for text in texts if text.startswith("CLOUDTRAIN_")]
    assert not [name for name in NAMES if "." in name and name in texts]
    assert not places & NAMES


def test_each_name_has_one_meaning() -> None:
    names = [name for name, value in vars(protocol).items() if name.isupper() and isinstance(value, str)]
    assert len({getattr(protocol, name) for name in names}) == len(names)
    assert len(set(protocol.ON_VOLUME)) == len(protocol.ON_VOLUME)
    assert set(protocol.ON_VOLUME) <= NAMES
    assert set(protocol.PER_JOB_VARIABLES) <= NAMES
