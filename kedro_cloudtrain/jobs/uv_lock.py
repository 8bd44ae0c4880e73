"""A project's `uv.lock`: the release of each package that its author has tested, with the hashes of its files."""

from __future__ import annotations

import functools
import tomllib
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from kedro_cloudtrain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "uv.lock"


def locked_releases(project: Path) -> Mapping[str, str]:
    """Return the releases that a project's `uv.lock` has, by canonical name; empty without such a file.

    A package that it has in several releases, for several platforms, is left out: only uv knows which of them is meant.

    Raises:
        ConfigError: the file is not what uv has written.
    """
    file = project / FILE
    try:
        state = file.stat()
    except OSError:
        return {}
    return _releases(file, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4)
def _releases(file: Path, modified_ns: int, size_bytes: int) -> Mapping[str, str]:  # noqa: ARG001  # a changed file is read again
    try:
        packages = tomllib.loads(file.read_text(encoding="utf-8")).get("package", [])
        releases = [(canonicalize_name(package["name"]), str(package["version"])) for package in packages if "version" in package]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}. Write it again: uv lock") from None
    names = [name for name, _ in releases]
    return {name: release for name, release in releases if names.count(name) == 1}
