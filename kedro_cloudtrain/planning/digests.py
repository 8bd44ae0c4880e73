"""Short digests of values, stable across processes and clones, from which no secret can be guessed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import types
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from kedro_cloudtrain.jobs.importable import import_path
from kedro_cloudtrain.jobs.value_digest import DigestError, value_digest
from kedro_cloudtrain.secrecy import names_a_secret, split_secret
from kedro_cloudtrain.storage.urls import displayed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DIGITS = 16
# A user name and a password in a URL; a password may hold a slash.
_USER = re.compile(r"(?<=://)(?:[^/@:\s]*:[^@\s]*@|[^/@\s]+@)")
# A guess at a secret costs some 40 ms and 16 MB.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 16}


@dataclasses.dataclass(frozen=True)
class Digests:
    """Makes digests for a project.

    A path below the project counts from its folder. The secret part of a URL does not count: it may change from day to day. A value
    named like a secret, such as `api_key`, gets a digest that is as slow to guess as that of a stored password.

    Attributes:
        project: the project's folder.
    """

    project: Path

    def of(self, value: Any, *, name: str = "") -> str | None:
        """Return the digest of a value; None for one that has no digest, such as an open connection.

        Args:
            value: the value.
            name: its name, which may be that of a secret.
        """
        try:
            text = json.dumps(self._plain(value, name if names_a_secret(name) else ""), sort_keys=True, ensure_ascii=False)
        except (_UnknownError, RecursionError):
            return None
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]

    def leaves(self, value: Any, name: str) -> dict[str, str | None]:
        """Return the digests of the innermost values of nested mappings, by their dotted names below a name."""
        digests: dict[str, list[str | None]] = {}
        for leaf, digest in self._leaves(value, (name,) if name else (), ""):
            digests.setdefault(leaf, []).append(digest)
        # `a.b` may be a key of its own beside the `b` of `a`.
        return {leaf: values[0] if len(values) == 1 else self.of(values) for leaf, values in digests.items()}

    def _leaves(self, value: Any, path: tuple[str, ...], secret: str) -> Iterator[tuple[str, str | None]]:
        secret, value = secret or next((part for part in path[-1:] if names_a_secret(part)), ""), _fields(value)
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                yield from self._leaves(inner, (*path, str(key)), secret)
        else:
            yield ".".join(path), self.of(value, name=secret)

    def _plain(self, value: Any, secret: str = "") -> Any:  # noqa: PLR0911  # a kind of value each
        """Return a value as JSON; under a secret's name, its texts and numbers by their slow digests."""
        value = _fields(value)
        if isinstance(value, dict):
            keyed = {key if isinstance(key, str) else f"{type(key).__name__} {key!r}": inner for key, inner in value.items()}
            return {key: self._plain(inner, secret or (key if names_a_secret(key) else "")) for key, inner in keyed.items()}
        if isinstance(value, list | tuple):
            return [self._plain(inner, secret) for inner in value]
        if isinstance(value, set | frozenset):
            return ["set", *sorted(json.dumps(self._plain(inner, secret), sort_keys=True) for inner in value)]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str | int | float):
            value = self._public(value) if isinstance(value, str) else value
            return value if not secret else _slow(secret, repr(value))
        if isinstance(value, PurePath):
            return ["path", self._public(str(value))]
        if callable(value):
            return self._of_callable(value)
        return _hashed(value)

    def _of_callable(self, value: Any) -> Any:
        """Return what tells a function, or an object that is called, from another one, apart from the code of its module."""
        if isinstance(value, type | types.BuiltinFunctionType):
            return ["name", value.__module__, value.__qualname__]
        if isinstance(value, functools.partial):
            return ["partial", *(self._plain(part) for part in (value.func, value.args, value.keywords))]
        if isinstance(value, types.MethodType):
            return ["method", *(self._plain(part) for part in (value.__func__, value.__self__))]
        if isinstance(value, types.FunctionType):
            return ["function", import_path(value), [self._plain(content) for content in _closed_over(value)]]
        return _hashed(value)

    def _public(self, text: str) -> str:
        """Return a text as it may count: without a secret in a URL, and with a path below the project relative to it."""
        if "://" in text:
            try:
                text = split_secret(text)[0]
            except ValueError:
                text = displayed(text)
            text = _USER.sub("***@", text)
        scheme = "file://" if text.startswith("file://") else ""
        place, root = text.removeprefix(scheme), self.project.as_posix()
        if place == root:
            return "."
        return place.removeprefix(f"{root}/") if place.startswith(f"{root}/") else text


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's content, which is read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def modules_of(function: Any) -> set[str]:
    """Return the modules whose code a node's function is made of: of the function itself, of what decorates it, and of what it is given."""
    names: set[str] = set()
    waiting, visited = [function], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in visited or not callable(part):
            continue
        visited.add(id(part))
        if isinstance(part, functools.partial):
            waiting += [part.func, *part.args, *part.keywords.values()]
        elif isinstance(part, types.MethodType):
            waiting += [part.__func__, part.__self__, type(part.__self__)]
        elif isinstance(part, types.FunctionType):
            # A decorator that uses functools.wraps has taken the name of the function's own module.
            names |= {str(part.__module__), str(part.__globals__.get("__name__", ""))}
            waiting += _closed_over(part)
        else:
            names.add(str(getattr(part if isinstance(part, type) else type(part), "__module__", "")))
    return names - {"", "None", "builtins", "__main__"}


class _UnknownError(Exception):
    """A value has no digest."""


def _closed_over(function: types.FunctionType) -> list[Any]:
    """Return what a function has taken along from where it was defined, such as the function that it decorates."""
    contents = []
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            continue  # nothing yet
    return contents


def _hashed(value: Any) -> Any:
    """Return an object's type and the slow digest of its value.

    Raises:
        _UnknownError: the object cannot be followed.
    """
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    try:
        # It may hold a secret.
        return ["object", kind, _slow(kind, value_digest(value))]
    except DigestError as error:
        raise _UnknownError from error


def _fields(value: Any) -> Any:
    """Return a typed parameter, which Kedro makes a dataclass or a model of pydantic's, as a mapping; any other value as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return dict(value) if isinstance(value, BaseModel) else value


@functools.cache
def _slow(name: str, text: str) -> list[str]:
    """Return a digest so slow that the secret cannot be found by trying many."""
    return ["secret", hashlib.scrypt(text.encode(errors="surrogatepass"), salt=name.encode(), **_SCRYPT).hex()]
