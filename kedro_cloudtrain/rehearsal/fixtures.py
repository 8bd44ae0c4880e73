"""The pytest fixture `runpod_stand_in`, for a project's own tests.

In the project's `conftest.py`:

```python
pytest_plugins = ["kedro_cloudtrain.rehearsal.fixtures"]
```
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kedro_cloudtrain.rehearsal.rehearsal import Rehearsal, Seed

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def runpod_volumes() -> dict[str, str]:
    """Return the network volumes' data centres, by id; a project overrides this fixture with those of its settings."""
    return {"abc123xyz": "EU-RO-1"}


@pytest.fixture
def runpod_seeds() -> list[Seed]:
    """Return what the volumes have from the start; a project overrides this fixture: `[Seed(Path("data/volume"))]`."""
    return []


@pytest.fixture
def runpod_stand_in(
    runpod_volumes: dict[str, str], runpod_seeds: list[Seed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rehearsal]:
    """Let everything that asks for RunPod in this test find a stand-in on this computer; its pods end with the test.

    `runpod_stand_in.runpod.faults` makes things go wrong, and `runpod_stand_in.pods` shows what was created.
    """
    with Rehearsal(runpod_volumes, runpod_seeds, folder=tmp_path / "rehearsal", hidden=(Path.cwd(),)) as rehearsal:
        for name, value in rehearsal.environment.items():
            monkeypatch.setenv(name, value)
        yield rehearsal
