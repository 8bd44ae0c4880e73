"""The page that mypy checks leaves no public name out."""

from __future__ import annotations

import ast
from pathlib import Path

import kedro_cloudtrain


def test_the_page_uses_every_public_name() -> None:
    page = ast.parse((Path(__file__).parent / "api.py").read_text(encoding="utf-8"))
    imported = [
        alias.name for node in page.body if isinstance(node, ast.ImportFrom) and node.module == "kedro_cloudtrain" for alias in node.names
    ]
    used = {node.id for node in ast.walk(page) if isinstance(node, ast.Name)}
    assert imported == kedro_cloudtrain.__all__
    assert set(imported) <= used
