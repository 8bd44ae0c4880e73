"""Jobs of rendered scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.recipe_job import Job


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(tmp_path / "job", tmp_path / "volume", monkeypatch)


@pytest.fixture
def another_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(tmp_path / "another", tmp_path / "volume", monkeypatch)
