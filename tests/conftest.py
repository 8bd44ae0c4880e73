"""Fixtures of every part of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro_project import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project with the penguins on its volume."""
    return make_project(tmp_path)
