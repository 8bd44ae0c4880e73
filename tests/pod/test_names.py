"""The programs of a pod spell out the names that `worker/protocol.py` holds: a name that changes in one place fails here."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import kedro_cloudtrain.pod
from kedro_cloudtrain.worker import protocol

FOLDER = Path(kedro_cloudtrain.pod.__file__).parent
FILES = sorted(file for file in FOLDER.glob("*.py") if file.stem != "__init__")
NAMES = {value for name, value in vars(protocol).items() if name.isupper() and isinstance(value, str)}
# Names on the pod's own disk, and in a Python environment, which are nobody else's.
OF_THE_POD = {"venv/bin/python", ".machine.json.new", "uv-cache", "python", "venv", ".tar"}


def strings_of(tree: ast.AST) -> set[str]:
    """Return the strings of a file, and the literal parts of f-strings, without docstrings."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    return texts - {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}


def path_parts_of(tree: ast.AST) -> set[str]:
    """Return the strings, and the literal parts of f-strings, to the right of a `/`."""
    operands = [node.right for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
    parts = [part for operand in operands for part in (operand.values if isinstance(operand, ast.JoinedStr) else [operand])]
    return {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_shared_name_is_one_of_the_protocol(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    variables = {text for text in strings_of(tree) if text.startswith("CLOUDTRAIN_")}
    files = {text for text in strings_of(tree) if re.fullmatch(r"[\w.-]+\.(json|jsonl|txt|zip|py)", text)}
    folders = {text.lstrip("/") for text in strings_of(tree) if "/.cloudtrain" in text or text.startswith(".cloudtrain")}
    assert (variables | files | folders | path_parts_of(tree)) - OF_THE_POD - NAMES == set()


def test_the_names_that_only_one_of_them_could_miss_are_spelled() -> None:
    """A name that a file stopped to use would leave the other side waiting for it."""
    texts = {file.name: strings_of(ast.parse(file.read_text(encoding="utf-8"))) for file in FILES}
    of_courier = texts.pop("courier.py")
    of_bootstrap = set().union(*texts.values())
    both = {
        protocol.MACHINE,
        protocol.LOG,
        protocol.PROGRESS,
        protocol.HEARTBEAT,
        protocol.RESULT,
        protocol.OUTPUTS,
        protocol.DELIVERED,
        protocol.COURIER_VARIABLE,
        protocol.BOOTSTRAP,
    }
    assert both <= of_bootstrap & of_courier
    assert {protocol.SCRIPT, protocol.STARTED, protocol.POD_ARCHIVE} <= of_bootstrap
    assert {protocol.ATTEMPT_VARIABLE, protocol.VOLUME_VARIABLE, protocol.STAGES_VARIABLE, protocol.CORES_VARIABLE} <= of_bootstrap
    assert protocol.ENVIRONMENTS in of_bootstrap
    assert {protocol.CLUSTER, protocol.ASKED, protocol.FAILED, protocol.MEMBER_LOG, protocol.CODE} <= of_bootstrap
    assert {protocol.CLUSTER_VARIABLE, protocol.MACHINES_VARIABLE, protocol.ADDRESS_VARIABLE} <= of_bootstrap
    assert protocol.MACHINES_WITHIN_S_VARIABLE in of_bootstrap
    assert {protocol.CHECKPOINT, protocol.CHECKPOINT_ZIP, protocol.LATEST, protocol.OUTPUTS_ZIP, protocol.STORE_VARIABLE} <= of_courier


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_pod_needs_the_standard_library_alone(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom) and not node.level}
    of_the_archive = {protocol.POD_PACKAGE} if file.name == protocol.BOOTSTRAP else set()
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names | of_the_archive
    if file.name == protocol.COURIER:  # It travels alone.
        assert not [node for node in imports if isinstance(node, ast.ImportFrom) and node.level]
