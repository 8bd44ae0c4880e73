"""What a project says that it needs: its pyproject.toml, or its requirements.txt and whatever that includes."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

from kedro_cloudtrain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_URL = re.compile(r"(?:[a-z]+\+)?(?:https?|ssh|git)://\S+", re.IGNORECASE)


def project_requirements(project: Path) -> tuple[str, ...]:
    """Read a project's requirements, as pip writes them: `[project] dependencies`, else the file that this names or that lies beside it.

    Args:
        project: the project's folder.

    Raises:
        ConfigError: a line is none, naming it.
    """
    pyproject = project / "pyproject.toml"
    try:
        said = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    except FileNotFoundError:
        said = {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{pyproject} cannot be read: {error}") from None
    if "dependencies" in said.get("project", {}):
        return tuple(_checked(str(line), str(pyproject)) for line in said["project"]["dependencies"])
    named = said.get("tool", {}).get("setuptools", {}).get("dynamic", {}).get("dependencies", {}).get("file", "requirements.txt")
    files = [project / file for file in ([named] if isinstance(named, str) else named)]
    return tuple(line for file in files if file.is_file() for line in _lines_of(file, set()))


def is_path(requirement: str) -> bool:
    """Tell whether a requirement is a place on this computer, which no other machine has."""
    try:
        url = Requirement(requirement).url or ""
    except InvalidRequirement:
        return not _URL.fullmatch(requirement)
    return url.startswith("file:")


def _lines_of(file: Path, seen: set[Path]) -> Iterator[str]:
    """Read a requirements file, as pip does: continued lines, comments, hashes, and files that it includes."""
    if file.resolve() in seen:
        return
    seen.add(file.resolve())
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    # A continued line is one, and its number the first one's.
    text = re.sub(r"\\\r?\n((?:[^\n]*\\\r?\n)*)", lambda found: " " + found[1].replace("\\\n", " "), text)
    for number, written in enumerate(text.splitlines(), start=1):
        line = re.sub(r"(^|\s)#.*", "", written).strip()
        included = re.fullmatch(r"(?:-r|--requirement)[ =]?\s*(\S+)", line)
        if included:
            yield from _lines_of(file.parent / included[1], seen)
        elif line and not line.startswith("-"):  # An index, a constraint; an editable package's code travels by itself.
            yield _checked(re.split(r"\s--", line)[0].strip(), f"{file}, line {number}")


def _checked(line: str, where: str) -> str:
    try:
        Requirement(line)
    except InvalidRequirement as error:
        place = _URL.fullmatch(line) or re.match(r"\.{0,2}/|\.$|[\w./-]+\.(?:whl|zip|tar\.gz)$|file:", line)
        if not place:
            said = str(error).splitlines()[0]
            raise ConfigError(f"{where}: {line!r} is no requirement: {said}. Write it as pip does, pandas>=2.1 say.") from None
    return line
