"""The names of pods: whose project, which job, which attempt."""

from __future__ import annotations

import re

_PACKAGE = "cloudtrain-"
# A name has room for 80 characters of its job's, and for 40 of its project's.
_JOB_CHARACTERS, _PROJECT_CHARACTERS = 80, 40
# Two hyphens, which no slug has: the pods of `shop` are not those of `shop-2`.
_NAME = re.compile(rf"{_PACKAGE}(?P<project>[a-z0-9]+(?:-[a-z0-9]+)*)--(?P<job>.+)-(?P<attempt>[0-9a-f]{{8}})")
# A project's id ends with six digits; what comes before is the name that projects of one starter share.
_DIGITS = re.compile("-[0-9a-f]{6}$")


def pod_prefix(project_id: str) -> str:
    """Return how the names of a project's pods begin; no other project's pods begin so.

    Args:
        project_id: the project's id, such as `shop-1a2b3c`, or any other text.
    """
    slug = _slug(project_id)
    if len(slug) > _PROJECT_CHARACTERS:
        digits = match[0] if (match := _DIGITS.search(slug)) else ""
        slug = slug[: _PROJECT_CHARACTERS - len(digits)].strip("-") + digits
    return f"{_PACKAGE}{slug}--"


def pod_name(prefix: str, job: str, attempt: str) -> str:
    """Return the name of a pod: unique, so that the pod is found again if the answer to its creation is lost."""
    return f"{prefix}{job[:_JOB_CHARACTERS]}-{attempt}"


def parse_name(name: str) -> tuple[str, str, str] | None:
    """Return a pod's project as a slug, its job's name or the beginning of that, and its attempt; None for another name."""
    match = _NAME.fullmatch(name)
    return (match["project"], match["job"], match["attempt"]) if match else None


def has_name_of(project_id: str, other_id: str) -> bool:
    """Return whether two projects' ids differ by their digits alone, if at all, as those of projects of one starter do."""
    return _DIGITS.sub("", _slug(project_id)) == _DIGITS.sub("", _slug(other_id))


def is_for_job(job_part: str, job: str) -> bool:
    """Return whether the job's part of a pod's name stands for the job of this name."""
    return job_part == job[:_JOB_CHARACTERS]


def _slug(project_id: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", project_id.lower()).strip("-") or "project"
