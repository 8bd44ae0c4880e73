"""The packages that a machine installs for a job, as pip writes them, in the versions that are installed on this computer."""

from __future__ import annotations

import functools
import platform
import re
from importlib import metadata
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.origins import Origins
from kedro_cloudtrain.jobs.pyproject import read_pyproject
from kedro_cloudtrain.jobs.requirements_file import CONSTRAINT, URL, checked, lines_of
from kedro_cloudtrain.jobs.uv_lock import locked_releases
from kedro_cloudtrain.jobs.wheels import distribution, packages, same_module

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


# The worker reads, predicts and writes with these, whatever the library, and splits and measures with scikit-learn.
_TABLES = ("numpy", "pandas", "pyarrow")
_WORKER = (*_TABLES, "scikit-learn")
# A function's inputs and outputs travel as these write them.
_VALUES = ("cloudpickle", "pandas", "pyarrow")
# These load and save a catalog entry.
_ENTRIES = ("kedro", "kedro-datasets")
_BY_FORMAT = {"xlsx": ("openpyxl",), "xls": ("xlrd",)}
# `dask[array]` and `dask[dataframe]` would add what the worker has anyway.
_CLUSTER = ("dask", "distributed")
_OVER_HTTP = ("fsspec", "aiohttp")
_INDEX_OPTIONS = ("--index-url=", "--extra-index-url=", "--find-links=")


def requirements(
    library: str,
    *,
    gpu: bool,
    backend: str | None = None,
    file_formats: tuple[str, ...] = (),
    over_http: bool = False,
    project: Path | None = None,
    fitted_with: Mapping[str, str] | None = None,
    shared: bool = False,
) -> tuple[str, ...]:
    """Return what a training needs, or a prediction.

    Versions are those of the project's `uv.lock`, else of this computer, so that it can load a model that a machine has saved. A package
    that is not installed on this computer is bounded as in this package's own metadata.

    Args:
        library: xgboost, lightgbm, catboost or keras; a template of the project's own adds its packages by `requirements` in
            cloudtrain.yml.
        gpu: whether the machine has a GPU: see `wheels`.
        backend: what Keras computes with; None for JAX.
        file_formats: the formats of the tables.
        over_http: whether a table is a URL.
        project: the project's folder, if there is one.
        fitted_with: of a prediction, the versions that its model was fitted with: the library is installed in the same one.
        shared: whether several processes share the fit, in a cluster of Dask.

    Raises:
        ConfigError: the project's `uv.lock` is not valid.
    """
    locked = {} if project is None else locked_releases(project)
    of_library = {**locked, **{name: version.partition("+")[0] for name, version in (fitted_with or {}).items()}}
    pinned = [_library_pinned(package, of_library, gpu=gpu) for package in packages(library, backend)]
    worker = _WORKER if fitted_with is None else _TABLES
    names = dict.fromkeys([*worker, *_readers(file_formats, over_http=over_http), *(_CLUSTER if shared else ())])
    return (*(_pinned(name, locked=locked) for name in names), *pinned)


def function_requirements(
    project: Path,
    given: Sequence[str] = (),
    *,
    file_formats: tuple[str, ...] = (),
    over_http: bool = False,
    drivers: tuple[str, ...] = (),
    shared: bool = False,
) -> tuple[str, ...]:
    """Return what a user's function needs: the given requirements, else the project's.

    The project's are pinned to the versions of its `uv.lock`, else to those of this computer if the project allows them, so that one side
    can read an object that the other has pickled.

    Args:
        project: the project's folder.
        given: `requirements` in cloudtrain.yml, which are taken as they are.
        file_formats: the formats of the tables that the machine reads or saves.
        over_http: whether a table is a URL.
        drivers: the modules that reach the stores of catalog entries, such as s3fs.
        shared: whether several machines share the work, in a cluster of Dask.

    Raises:
        ConfigError: a line of the project's requirements is not valid.
    """
    locked = locked_releases(project)
    names = [*_VALUES, *_readers(file_formats, over_http=over_http), *(_CLUSTER if shared else ())]
    names += [*_ENTRIES, *(_distribution(driver) for driver in drivers)] if drivers else []
    lines = list(_origins(project).resolved(given)) if given else [_as_tested(line, locked) for line in project_requirements(project)]
    named = {_name_of(line) for line in lines}
    return (*lines, *(_pinned(name, locked=locked) for name in dict.fromkeys(names) if name not in named))


def project_requirements(project: Path) -> tuple[str, ...]:
    """Read a project's requirements: `[project] dependencies` of pyproject.toml, else the file that it names, else requirements.txt.

    Each has its origin: see `Origins`.

    Args:
        project: the project's folder.

    Raises:
        ConfigError: a line is not a requirement, or the requirements stand where they are not read; the message names the place.
    """
    tables = read_pyproject(project)
    if "dependencies" in tables.get("project", {}):
        place = str(project / "pyproject.toml")
        return Origins.of(tables).resolved(checked(str(line), place) for line in tables["project"]["dependencies"])
    files = _requirements_files(project, tables)
    if not files and tables.get("tool", {}).get("poetry", {}).get("dependencies"):
        raise ConfigError(
            f"{project / 'pyproject.toml'} has its dependencies in [tool.poetry.dependencies], which pip does not read. Move them to "
            "[project] dependencies (poetry 2 reads them there), or write them to requirements.txt: poetry export -o requirements.txt"
        )
    return Origins.of(tables).resolved(line for file in files for line, _ in lines_of(file))


def project_hashes(project: Path) -> dict[str, list[str]]:
    """Read the hashes that a project's requirements files have, by package and release: `six==1.16.0`.

    Raises:
        ConfigError: as of `project_requirements`.
    """
    tables = read_pyproject(project)
    if "dependencies" in tables.get("project", {}):
        return {}
    lines = [line for file in _requirements_files(project, tables) for line in lines_of(file)]
    return {pin: hashes for line, hashes in lines if hashes and (pin := pin_of(line)) is not None}


def pin_of(line: str) -> str | None:
    """Return the package and the release of a requirement, such as `six==1.16.0`, whatever its extras and its marker; None for a URL."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return None
    return f"{canonicalize_name(requirement.name)}{requirement.specifier}"


def own_release() -> str:
    """Return the release of this process's Python, such as `3.12`: a pinned release is known to exist for it."""
    return ".".join(platform.python_version_tuple()[:2])


def own_requirements(project: Path, given: Sequence[str]) -> tuple[str, ...]:
    """Return the requirements that `cloudtrain.yml` gives, each with its origin: see `Origins`."""
    return _origins(project).resolved(given)


def provides(lines: Iterable[str], module: str) -> bool:
    """Return whether one of some requirements may install a module that this computer has.

    Another build of the same library counts: `opencv-python-headless` for what `opencv-python` has installed here.
    """
    named = [name for line in lines if (name := _name_of(line.partition(" --hash=")[0])) is not None]
    installed = [canonicalize_name(name) for name in _distributions().get(module, ())]
    return not installed or any(here.startswith(there) or there.startswith(here) for here in installed for there in named)


def with_given(lines: Iterable[str], given: Sequence[str]) -> tuple[str, ...]:
    """Return requirements with those that a user has given, which replace others of the same package, or of the same module."""
    replaced = {other for line in given if (name := _name_of(line)) is not None for other in same_module(name)}
    return (*(line for line in lines if _name_of(line) not in replaced), *given)


def needs_own_index(requirement: str) -> bool:
    """Return whether a requirement asks for a local version, such as `2.5.1+cu121`, which no public index has."""
    try:
        return any("+" in specifier.version for specifier in Requirement(requirement).specifier)
    except InvalidRequirement:
        return False


def is_index(line: str) -> bool:
    """Return whether a line names an index, or a page of files, to install from."""
    return line.startswith(_INDEX_OPTIONS)


def is_path(requirement: str) -> bool:
    """Return whether a requirement is a place on this computer, which no other machine has."""
    if requirement.startswith("-"):
        return False
    try:
        url = Requirement(requirement).url or ""
    except InvalidRequirement:
        return not URL.fullmatch(requirement)
    return url.startswith("file:")


def _readers(file_formats: tuple[str, ...], *, over_http: bool) -> list[str]:
    """Name the packages that pandas reads some formats and URLs by."""
    return [*(name for file_format in file_formats for name in _BY_FORMAT.get(file_format, ())), *(_OVER_HTTP if over_http else ())]


def _pinned(name: str, written: str | None = None, *, locked: Mapping[str, str]) -> str:
    """Write a package as a requirement: in its locked version, else that of this computer, else within this package's own bounds."""
    release = _release(name, locked)
    return f"{written or name}=={release}" if release is not None else (written or name) + _allowed().get(name, "")


def _library_pinned(package: str, locked: Mapping[str, str], *, gpu: bool) -> str:
    return _pinned(package, distribution(package, _release(package, locked), gpu=gpu), locked=locked)


def _release(name: str, locked: Mapping[str, str]) -> str | None:
    """Return the locked release of a package, else that of this computer; another distribution of the same module has the same."""
    names = sorted(same_module(canonicalize_name(name)), key=lambda other: other != name)
    return next((release for release_of in (locked.get, _installed) for each in names if (release := release_of(each)) is not None), None)


def _as_tested(line: str, locked: Mapping[str, str]) -> str:
    """Pin a requirement to its locked version, else to that of this computer, if it allows that; a URL or a path stays as it is."""
    if line.startswith(CONSTRAINT):
        return CONSTRAINT + _as_tested(line.removeprefix(CONSTRAINT), locked)
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return line
    version = locked.get(canonicalize_name(requirement.name)) or _installed(requirement.name)
    if version is not None and requirement.url is None and requirement.specifier.contains(version, prereleases=True):
        requirement.specifier = SpecifierSet(f"=={version}")
    return str(requirement)


@functools.cache
def _installed(name: str) -> str | None:
    """Return a package's version on this computer; the local part of a version (`+cpu`) is dropped: no index has it."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _allowed() -> dict[str, str]:
    """Read the bounds of this package's own requirements, by package."""
    bounds: dict[str, str] = {}
    for line in metadata.requires("kedro-cloudtrain") or ():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)", line)
        if match and match[2].strip():
            bounds.setdefault(match[1].lower(), match[2].strip())
    return bounds


def _distribution(module: str) -> str:
    """Name the package that has installed a module."""
    return next(iter(_distributions().get(module, ())), module)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the packages that have installed each module."""
    return metadata.packages_distributions()


def _origins(project: Path) -> Origins:
    return Origins.of(read_pyproject(project))


def _name_of(line: str) -> str | None:
    """Return the package that a requirement names; None for a URL alone."""
    try:
        return canonicalize_name(Requirement(line).name)
    except InvalidRequirement:
        return None


def _requirements_files(project: Path, tables: Mapping[str, Any]) -> list[Path]:
    named = tables.get("tool", {}).get("setuptools", {}).get("dynamic", {}).get("dependencies", {}).get("file", "requirements.txt")
    return [file for file in (project / file for file in ([named] if isinstance(named, str) else named)) if file.is_file()]
