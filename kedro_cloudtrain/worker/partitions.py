"""A value in parts, each a file: never more than one part of it is in memory."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .values import is_pickle, read_value, write_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_CONTENTS = "contents.json"


def are_partitions(value: object) -> bool:
    """Return whether a value is what a dataset of partitions saves by calling it: names, and callables among their values."""
    return isinstance(value, dict) and all(isinstance(name, str) for name in value) and any(map(callable, value.values()))


def write_partitions(value: Mapping[str, Any], folder: Path) -> None:
    """Write the parts of a value in the order of their names, in which kedro-datasets saves them; a callable is called for its part.

    Raises:
        InputError: a part cannot be written.
    """
    folder.mkdir(parents=True)
    contents = {}
    for number, name in enumerate(sorted(value)):
        part = value[name]
        contents[name] = write_value(part() if callable(part) else part, folder, f"{number:06}").name
    (folder / _CONTENTS).write_text(json.dumps(contents, indent=1, ensure_ascii=False), encoding="utf-8")


def holds_pickle(path: Path) -> bool:
    """Return whether reading an output runs code: it is a pickle, or has a part that is one."""
    return is_pickle(path) if path.is_file() else any(is_pickle(file) for file in path.rglob("*") if file.is_file())


def read_partitions(folder: Path, *, unpickle: bool = True) -> dict[str, Callable[[], Any]]:
    """Return a value that `write_partitions` has written: by the name of each part, what reads it.

    Args:
        folder: holds the parts.
        unpickle: whether a part that is a pickle is read.

    Raises:
        InputError: the list of the parts is not one, or names a file that is not beside it.
    """
    try:
        contents = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
        files = {name: folder / file for name, file in contents.items() if (folder / file).parent == folder and file != ".."}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(f"{folder.name}/{_CONTENTS} does not list the parts of the value: {type(error).__name__}") from error
    if len(files) < len(contents) or not all(file.is_file() for file in files.values()):
        raise InputError(f"{folder.name}/{_CONTENTS} lists a part that is not in its folder")
    return {name: functools.partial(read_value, file, unpickle=unpickle) for name, file in files.items()}
