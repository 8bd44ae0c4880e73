"""What a machine has to install for a job: what its library needs, in the versions that are installed here."""

from __future__ import annotations

import contextlib
import functools
import re
import tomllib
from importlib import metadata
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# What the worker reads, splits and measures with, whatever the library.
_WORKER = ("numpy", "pandas", "pyarrow", "scikit-learn")
# What a function's inputs and outputs travel as.
_VALUES = ("cloudpickle", "pandas", "pyarrow")
_BY_FORMAT = {"xlsx": ("openpyxl",), "xls": ("xlrd",)}
_OVER_HTTP = ("fsspec", "aiohttp")
_LIBRARIES = {"xgboost": ("xgboost",), "lightgbm": ("lightgbm",), "catboost": ("catboost",), "keras": ("keras", "jax")}


def requirements(library: str, *, gpu: bool, file_formats: tuple[str, ...] = (), over_http: bool = False) -> tuple[str, ...]:
    """Give what a job needs, as pip writes it.

    Versions are those installed here, so that a model made there loads here; what is not installed here is taken in the versions that
    this package's own metadata allows.

    Args:
        library: xgboost, lightgbm, catboost or keras; a template's own name needs what `requirements` in cloudtrain.yml says.
        gpu: whether the machine has a GPU: JAX's CUDA comes as an extra.
        file_formats: of the tables.
        over_http: whether a table is a URL.
    """
    names = [*_WORKER, *_LIBRARIES.get(library, ())]
    names += [name for one in file_formats for name in _BY_FORMAT.get(one, ())]
    names += _OVER_HTTP if over_http else ()
    return tuple(_pinned(name, "cuda12" if gpu and name == "jax" else "") for name in dict.fromkeys(names))


def function_requirements(
    project: Path, given: Sequence[str] = (), *, file_formats: tuple[str, ...] = (), over_http: bool = False
) -> tuple[str, ...]:
    """Give what a user's function needs, as pip writes it: what is given, else what the project asks for.

    The project's are those of its pyproject.toml (`[project] dependencies`), or of the requirements.txt that this names or that lies
    beside it. What is installed here is taken in the version that is installed here, where the project allows that: so an object that was
    pickled on one side is read on the other.

    Args:
        project: the project's folder.
        given: `requirements` of cloudtrain.yml, which stand for themselves.
        file_formats: of the tables that the machine reads or saves.
        over_http: whether a table is a URL.
    """
    names = [*_VALUES, *(name for one in file_formats for name in _BY_FORMAT.get(one, ())), *(_OVER_HTTP if over_http else ())]
    asked = list(given) if given else [_as_installed(Requirement(line)) for line in _project_requirements(project)]
    named = {canonicalize_name(Requirement(line).name) for line in asked}
    return (*asked, *(_pinned(name, "") for name in dict.fromkeys(names) if name not in named))


def _project_requirements(project: Path) -> list[str]:
    """Read the requirements of a project, a line each."""
    try:
        said = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        said = {}
    if "dependencies" in said.get("project", {}):
        return [str(line) for line in said["project"]["dependencies"]]
    files = said.get("tool", {}).get("setuptools", {}).get("dynamic", {}).get("dependencies", {}).get("file", "requirements.txt")
    lines: list[str] = []
    for file in [files] if isinstance(files, str) else files:
        with contextlib.suppress(OSError):
            lines += (project / file).read_text(encoding="utf-8").splitlines()
    # pip's own options (-r, --index-url) are no requirements.
    bare = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return [line for line in bare if line and not line.startswith("-")]


def _as_installed(requirement: Requirement) -> str:
    """Write a requirement with the version that is installed here, where it allows that one."""
    version = _installed(requirement.name)
    if version is None:
        return str(requirement)
    if requirement.url is None and requirement.specifier.contains(version, prereleases=True):
        requirement.specifier = SpecifierSet(f"=={version}")
    return str(requirement)


def _pinned(name: str, extra: str) -> str:
    written, version = f"{name}[{extra}]" if extra else name, _installed(name)
    return f"{written}=={version}" if version is not None else written + _allowed().get(name, "")


@functools.cache
def _installed(name: str) -> str | None:
    """Give the version of a package that is installed here; a local one (`2.1+cpu`), which is on no index, without what makes it so."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _allowed() -> dict[str, str]:
    """Read the bounds of this package's own requirements."""
    found: dict[str, str] = {}
    for line in metadata.requires("kedro-cloudtrain") or ():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)", line)
        if match and match[2].strip():
            found.setdefault(match[1].lower(), match[2].strip())
    return found
