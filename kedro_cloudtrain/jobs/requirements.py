"""What a machine has to install for a job: what its library needs, in the versions that are installed here."""

from __future__ import annotations

import functools
import re
import tomllib
from importlib import metadata
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from kedro_cloudtrain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


# What the worker reads, splits and measures with, whatever the library.
_WORKER = ("numpy", "pandas", "pyarrow", "scikit-learn")
# What a function's inputs and outputs travel as.
_VALUES = ("cloudpickle", "pandas", "pyarrow")
# What loads and saves a catalog entry.
_ENTRIES = ("kedro", "kedro-datasets")
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
    project: Path, given: Sequence[str] = (), *, file_formats: tuple[str, ...] = (), over_http: bool = False, drivers: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Give what a user's function needs, as pip writes it: what is given, else what the project asks for.

    What the project asks for is taken in the version that is installed here, where the project allows that: so an object that was pickled
    on one side is read on the other.

    Args:
        project: the project's folder.
        given: `requirements` of cloudtrain.yml, which stand for themselves.
        file_formats: of the tables that the machine reads or saves.
        over_http: whether a table is a URL.
        drivers: the packages that reach the stores of catalog entries, by the names that they are imported by.

    Raises:
        ConfigError: a line of the project's is no requirement.
    """
    names = [*_VALUES, *(name for one in file_formats for name in _BY_FORMAT.get(one, ())), *(_OVER_HTTP if over_http else ())]
    names += [*_ENTRIES, *(_distribution(driver) for driver in drivers)] if drivers else []
    asked = list(given) if given else [_as_installed(line) for line in project_requirements(project)]
    named = {_name_of(line) for line in asked}
    return (*asked, *(_pinned(name, "") for name in dict.fromkeys(names) if name not in named))


def _as_installed(line: str) -> str:
    """Write a requirement with the version that is installed here, where it allows that one; a URL or a path stays."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return line
    version = _installed(requirement.name)
    if version is not None and requirement.url is None and requirement.specifier.contains(version, prereleases=True):
        requirement.specifier = SpecifierSet(f"=={version}")
    return str(requirement)


def _name_of(line: str) -> str | None:
    """Name what a requirement is of; a URL's alone is not known."""
    try:
        return canonicalize_name(Requirement(line).name)
    except InvalidRequirement:
        return None


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
def _distribution(module: str) -> str:
    """Name the package that a module was installed with."""
    return next(iter(metadata.packages_distributions().get(module, ())), module)


@functools.cache
def _allowed() -> dict[str, str]:
    """Read the bounds of this package's own requirements."""
    found: dict[str, str] = {}
    for line in metadata.requires("kedro-cloudtrain") or ():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)", line)
        if match and match[2].strip():
            found.setdefault(match[1].lower(), match[2].strip())
    return found


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
