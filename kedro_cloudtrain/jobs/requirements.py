"""The packages that a machine installs for a job, as pip writes them, in the versions that are installed on this computer."""

from __future__ import annotations

import functools
import re
import tomllib
from importlib import metadata
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.origins import Origins, index_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


# The worker reads, splits and measures with these, whatever the library.
_WORKER = ("numpy", "pandas", "pyarrow", "scikit-learn")
# A function's inputs and outputs travel as these write them.
_VALUES = ("cloudpickle", "pandas", "pyarrow")
# These load and save a catalog entry.
_ENTRIES = ("kedro", "kedro-datasets")
_BY_FORMAT = {"xlsx": ("openpyxl",), "xls": ("xlrd",)}
_OVER_HTTP = ("fsspec", "aiohttp")
_LIBRARIES = {"xgboost": ("xgboost",), "lightgbm": ("lightgbm",), "catboost": ("catboost",), "keras": ("keras", "jax")}
_URL = re.compile(r"(?:[a-z]+\+)?(?:https?|ssh|git)://\S+", re.IGNORECASE)
_INDEX_OPTIONS = ("--index-url=", "--extra-index-url=", "--find-links=")
_WEB_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_PATH = re.compile(r"\.{0,2}/|\.$|[\w./-]+\.(?:whl|zip|tar\.gz)$|file:")


def requirements(library: str, *, gpu: bool, file_formats: tuple[str, ...] = (), over_http: bool = False) -> tuple[str, ...]:
    """Return what a training needs.

    Versions are those of this computer, so that it can load a model that a machine has saved. A package that is not installed on this
    computer is bounded as in this package's own metadata.

    Args:
        library: xgboost, lightgbm, catboost or keras; a template of the project's own adds its packages by `requirements` in
            cloudtrain.yml.
        gpu: whether the machine has a GPU: JAX's CUDA comes as an extra.
        file_formats: the formats of the tables.
        over_http: whether a table is a URL.
    """
    names = [*_WORKER, *_LIBRARIES.get(library, ()), *_readers(file_formats, over_http=over_http)]
    return tuple(_pinned(name, "cuda12" if gpu and name == "jax" else "") for name in dict.fromkeys(names))


def function_requirements(
    project: Path, given: Sequence[str] = (), *, file_formats: tuple[str, ...] = (), over_http: bool = False, drivers: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return what a user's function needs: the given requirements, else the project's.

    The project's are pinned to the versions of this computer if the project allows those, so that one side can read an object that the
    other has pickled.

    Args:
        project: the project's folder.
        given: `requirements` in cloudtrain.yml, which are taken as they are.
        file_formats: the formats of the tables that the machine reads or saves.
        over_http: whether a table is a URL.
        drivers: the modules that reach the stores of catalog entries, such as s3fs.

    Raises:
        ConfigError: a line of the project's requirements is not valid.
    """
    names = [*_VALUES, *_readers(file_formats, over_http=over_http)]
    names += [*_ENTRIES, *(_distribution(driver) for driver in drivers)] if drivers else []
    lines = list(_origins(project).resolved(given)) if given else [_as_installed(line) for line in project_requirements(project)]
    named = {_name_of(line) for line in lines}
    return (*lines, *(_pinned(name) for name in dict.fromkeys(names) if name not in named))


def project_requirements(project: Path) -> tuple[str, ...]:
    """Read a project's requirements: `[project] dependencies` of pyproject.toml, else the file that it names, else requirements.txt.

    Each has its origin: see `Origins`.

    Args:
        project: the project's folder.

    Raises:
        ConfigError: a line is not a requirement, or the requirements stand where they are not read; the message names the place.
    """
    tables = _pyproject(project)
    tool = tables.get("tool", {})
    if "dependencies" in tables.get("project", {}):
        place = str(project / "pyproject.toml")
        return Origins.of(tables).resolved(_checked(str(line), place) for line in tables["project"]["dependencies"])
    named = tool.get("setuptools", {}).get("dynamic", {}).get("dependencies", {}).get("file", "requirements.txt")
    files = [file for file in (project / file for file in ([named] if isinstance(named, str) else named)) if file.is_file()]
    if not files and tool.get("poetry", {}).get("dependencies"):
        raise ConfigError(
            f"{project / 'pyproject.toml'} has its dependencies in [tool.poetry.dependencies], which pip does not read. Move them to "
            "[project] dependencies (poetry 2 reads them there), or write them to requirements.txt: poetry export -o requirements.txt"
        )
    return Origins.of(tables).resolved(line for file in files for line in _lines_of(file, set()))


def own_requirements(project: Path, given: Sequence[str]) -> tuple[str, ...]:
    """Return the requirements that `cloudtrain.yml` gives, each with its origin: see `Origins`."""
    return _origins(project).resolved(given)


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
        return not _URL.fullmatch(requirement)
    return url.startswith("file:")


def _readers(file_formats: tuple[str, ...], *, over_http: bool) -> list[str]:
    """Name the packages that pandas reads some formats and URLs by."""
    return [*(name for file_format in file_formats for name in _BY_FORMAT.get(file_format, ())), *(_OVER_HTTP if over_http else ())]


def _pinned(name: str, extra: str = "") -> str:
    """Write a package as a requirement: in the version of this computer, else within this package's own bounds."""
    written, version = f"{name}[{extra}]" if extra else name, _installed(name)
    return f"{written}=={version}" if version is not None else written + _allowed().get(name, "")


def _as_installed(line: str) -> str:
    """Pin a requirement to the version of this computer if it allows that version; a URL or a path stays as it is."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return line
    version = _installed(requirement.name)
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


@functools.cache
def _distribution(module: str) -> str:
    """Name the package that has installed a module."""
    return next(iter(metadata.packages_distributions().get(module, ())), module)


def _pyproject(project: Path) -> dict[str, Any]:
    file = project / "pyproject.toml"
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None


def _origins(project: Path) -> Origins:
    return Origins.of(_pyproject(project))


def _name_of(line: str) -> str | None:
    """Return the package that a requirement names; None for a URL alone."""
    try:
        return canonicalize_name(Requirement(line).name)
    except InvalidRequirement:
        return None


def _lines_of(file: Path, visited: set[Path]) -> Iterator[str]:
    """Read a requirements file as pip does: with continued lines, comments, hashes, and the files that it includes."""
    if file.resolve() in visited:
        return
    visited.add(file.resolve())
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    # A continued line becomes one line with the number of its first.
    text = re.sub(r"\\\r?\n((?:[^\n]*\\\r?\n)*)", lambda match: " " + match[1].replace("\\\n", " "), text)
    for number, written in enumerate(text.splitlines(), start=1):
        line = re.sub(r"(^|\s)#.*", "", written).strip()
        included = re.fullmatch(r"(?:-r|--requirement)[ =]?\s*(\S+)", line)
        if included:
            yield from _lines_of(file.parent / included[1], visited)
        elif option := re.fullmatch(r"(-i|--index-url|--extra-index-url|-f|--find-links)[ =]\s*(\S+)", line):
            if not re.match(_WEB_ADDRESS, option[2]):
                raise ConfigError(f"{file}, line {number}: {line} is a place on this computer, which no machine has. Give it by URL.")
            yield index_option(option[2], {"-i": "--index-url", "-f": "--find-links"}.get(option[1], option[1]))
        elif constrained := re.fullmatch(r"(?:-c|--constraint)[ =]?\s*(\S+)", line):
            # What is installed here keeps to the constraints: its versions are what a machine is to have.
            lines = _lines_of(file.parent / constrained[1], visited)
            yield from (constraint for constraint in lines if _installed(_name_of(constraint) or "") is not None)
        elif line and not line.startswith("-"):  # The code of an editable package (-e) travels by itself.
            yield _checked(re.split(r"\s--", line)[0].strip(), f"{file}, line {number}")


def _checked(line: str, where: str) -> str:
    """Return a line that is a requirement, a URL or a path; raise ConfigError for any other."""
    try:
        Requirement(line)
    except InvalidRequirement as error:
        if not _URL.fullmatch(line) and not _PATH.match(line):
            reason = str(error).splitlines()[0]
            message = f"{where}: {line!r} is not a requirement: {reason}. Write it as pip does, for example pandas>=2.1."
            raise ConfigError(message) from None
    return line
