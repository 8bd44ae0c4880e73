"""The projects that own a job: a volume serves many projects, and a command shows its own project's jobs."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.pyproject import read_pyproject

if TYPE_CHECKING:
    from pathlib import Path


def project_id(project: Path) -> str:
    """Return a project's id, the same in each clone of it: its package's name, and six digits of what `pyproject.toml` calls it.

    Two projects that were made of the same starter differ by the id that Kedro's telemetry gives to each, if by nothing else.

    Args:
        project: the project's folder.

    Raises:
        ConfigError: `pyproject.toml` cannot be read.
    """
    tool = read_pyproject(project).get("tool", {})
    kedro = tool.get("kedro", {})
    names = [kedro.get("package_name"), kedro.get("project_name"), tool.get("kedro_telemetry", {}).get("project_id")]
    return f"{names[0] or project.name}-{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:6]}"


def owners(folder: JobFolder) -> set[str]:
    """Return the projects that have run a job, or have reused it; none for a job that an older release has left."""
    # A group's machine belongs to each project that has a job on it.
    members = [JobFolder(folder.path.with_name(name)) for name in folder.jobs]
    return {project for each in (folder, *members) for project in _noted(each)}


def is_of(folder: JobFolder, project_id: str) -> bool:
    """Return whether a job is a project's; a job of an unknown project may be any project's."""
    projects = owners(folder)
    return not projects or project_id in projects


def _noted(folder: JobFolder) -> list[str]:
    projects = (folder.read_json(folder.why) or {}).get("projects")
    return [project for project in projects if isinstance(project, str)] if isinstance(projects, list) else []
