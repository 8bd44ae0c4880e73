"""A project's `pyproject.toml`, as far as this package reads it: each table and list in the form that its owner has given it."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from kedro_cloudtrain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "pyproject.toml"
_TABLE = dict[str, Any]
# `*` stands for each name of a table. What is above comes first.
_FORMS: dict[str, tuple[Any, str]] = {
    "project": (_TABLE, "a table, [project]"),
    "project.dependencies": (list[str], 'a list of texts, ["pandas>=2.1"]'),
    "tool": (_TABLE, "a table, [tool]"),
    "tool.kedro": (_TABLE, "a table, [tool.kedro]"),
    "tool.kedro_telemetry": (_TABLE, "a table, [tool.kedro_telemetry]"),
    "tool.poetry": (_TABLE, "a table, [tool.poetry]"),
    "tool.setuptools": (_TABLE, "a table, [tool.setuptools]"),
    "tool.setuptools.dynamic": (_TABLE, "a table, [tool.setuptools.dynamic]"),
    "tool.setuptools.dynamic.dependencies": (_TABLE, 'a table, {file = ["requirements.txt"]}'),
    "tool.setuptools.dynamic.dependencies.file": (str | list[str], 'a text or a list of texts, ["requirements.txt"]'),
    "tool.uv": (_TABLE, "a table, [tool.uv]"),
    "tool.uv.index": (list[_TABLE], "a list of tables, each headed by [[tool.uv.index]]"),
    "tool.uv.sources": (_TABLE, "a table, [tool.uv.sources]"),
    "tool.uv.sources.*": (_TABLE | list[_TABLE], 'a table, {git = "https://github.com/owner/name"}, or a list of such tables'),
}


def read_pyproject(project: Path) -> dict[str, Any]:
    """Read a project's `pyproject.toml`; empty if there is none.

    Args:
        project: the project's folder.

    Raises:
        ConfigError: it cannot be read, or holds something in another form than its owner reads; the message names the key and the form.
    """
    file = project / FILE
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    for key, (form, words) in _FORMS.items():
        for name, value in _values(tables, key.split(".")):
            try:
                TypeAdapter(form).validate_python(value, strict=True)
            except ValidationError:
                # The value is not repeated: it may be an address with a password.
                kind = "a list of something else" if isinstance(value, list) and "list" in words else _KINDS.get(type(value), "a date")
                raise ConfigError(f"{file}: `{name}` is {kind}, and has to be {words}.") from None
    return tables


_KINDS = {str: "a text", list: "a list", dict: "a table", bool: "true or false", int: "a number", float: "a number"}


def _values(value: Any, keys: list[str], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is behind a key, with its whole name."""
    if not keys:
        yield above, value
        return
    for name in value if keys[0] == "*" else [keys[0]] if keys[0] in value else []:
        yield from _values(value[name], keys[1:], f"{above}.{name}" if above else name)
