"""Where a required package comes from: an index, a URL, or this computer; one of this computer is never asked of an index."""

from __future__ import annotations

import dataclasses
import functools
import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.secrecy import sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclasses.dataclass(frozen=True)
class Origins:
    """Where a project's packages come from.

    A name that only this computer gives a meaning to would be another package on a public index: its owner there would run
    their code on the machine. So a package that is installed in editable mode, or is a member of the workspace, travels as code, and what
    it requires is required in its place; one that was installed from a file is required by that path, which planning refuses.

    Attributes:
        sources: `[tool.uv.sources]` of pyproject.toml, by canonical name.
        indexes: the addresses of `[[tool.uv.index]]` by name.
    """

    sources: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    indexes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, tables: Mapping[str, Any]) -> Origins:
        """Return the origins that a parsed pyproject.toml names."""
        uv = tables.get("tool", {}).get("uv", {})
        # A source may be a list, one for each platform.
        sources = {name: (source[0] if isinstance(source, list) else source) for name, source in uv.get("sources", {}).items() if source}
        indexes = {str(index.get("name", "")): str(index.get("url", "")) for index in uv.get("index", [])}
        return cls({canonicalize_name(name): source for name, source in sources.items()}, indexes)

    def resolved(self, lines: Iterable[str]) -> tuple[str, ...]:
        """Return requirements, each with its origin; one that travels as code is replaced by what it requires.

        The secrets of their URLs are sealed.

        Raises:
            ConfigError: an index is not named.
        """
        return tuple(dict.fromkeys(sealed(line) for given in lines for line in self._resolved(given, frozenset())))

    def _resolved(self, line: str, above: frozenset[str]) -> Iterator[str]:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            yield line  # an option, a URL or a path
            return
        name = canonicalize_name(requirement.name)
        source = self.sources.get(name, {})
        if requirement.url is not None:
            yield line
            return
        if "index" in source:
            yield index_option(self._index(requirement.name, str(source["index"])))
        if "git" in source or "url" in source:
            requirement.url, requirement.specifier = _url_of(source), SpecifierSet()
            yield str(requirement)
            return
        origin = _origin(name)
        if origin.travels:
            # A machine gets from this package what a job needs.
            if name not in above and name != "kedro-cloudtrain":
                for inner in _requires(name, requirement.extras):
                    yield from self._resolved(inner, above | {name})
            return
        if origin.url is not None:
            requirement.url, requirement.specifier = origin.url, SpecifierSet()
            yield str(requirement)
        elif source.get("workspace") or "path" in source:
            # This computer does not have it: its code is not found, and no index has it.
            yield f"{requirement.name} @ {(Path.cwd() / str(source.get('path', requirement.name))).as_uri()}"
        else:
            yield line

    def _index(self, package: str, name: str) -> str:
        if name not in self.indexes:
            raise ConfigError(f"pyproject.toml takes {package} from the index {name!r}, and no [[tool.uv.index]] has that name.")
        return self.indexes[name]


@dataclasses.dataclass(frozen=True)
class _Origin:
    """Where an installed package came from, as its installer has noted it (PEP 610).

    Attributes:
        travels: whether it is installed in editable mode: its code goes along.
        url: its own address; None for one of an index.
    """

    travels: bool = False
    url: str | None = None


@functools.cache
def _origin(name: str) -> _Origin:
    try:
        text = metadata.distribution(name).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return _Origin()
    noted = json.loads(text) if text else {}
    url = str(noted.get("url", ""))
    if noted.get("dir_info", {}).get("editable"):
        return _Origin(travels=True)
    version_control = noted.get("vcs_info")
    if version_control:
        url = f"{version_control['vcs']}+{url}@{version_control['commit_id']}"
    return _Origin(url=f"{url}#subdirectory={noted['subdirectory']}" if noted.get("subdirectory") else url or None)


def _requires(name: str, extras: Iterable[str]) -> list[str]:
    """Return what an installed package requires, with some of its extras."""
    requirements = [Requirement(line) for line in metadata.requires(name) or ()]
    wanted = [
        requirement
        for requirement in requirements
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]
    for requirement in wanted:
        requirement.marker = None
    return [str(requirement) for requirement in wanted]


def _url_of(source: Mapping[str, Any]) -> str:
    """Return the address of a source that is a repository or a file on the web."""
    if "url" in source:
        return str(source["url"])
    commit = source.get("rev") or source.get("tag") or source.get("branch")
    place = f"git+{source['git']}" + (f"@{commit}" if commit else "")
    return f"{place}#subdirectory={source['subdirectory']}" if source.get("subdirectory") else place


def index_option(url: str, option: str = "--extra-index-url") -> str:
    """Return an index as the option of an installer."""
    return f"{option}={url}"
