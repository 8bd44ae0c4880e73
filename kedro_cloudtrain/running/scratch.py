"""The place of jobs that run outside of a run of this package: under any other runner, a recipe runs on this computer."""

from __future__ import annotations

import functools
from pathlib import Path

from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.worker.scratch import scratch_of_process


@functools.cache
def scratch_volume() -> DirectoryVolume:
    """Make a volume for this process's jobs. It is removed when the process ends, with every model that was not saved."""
    return DirectoryVolume(scratch_of_process())


def own_templates() -> Path | None:
    """Return the folder of the project's own templates, where this process is in a project that has one."""
    templates = Path("templates")
    return templates if templates.is_dir() else None
