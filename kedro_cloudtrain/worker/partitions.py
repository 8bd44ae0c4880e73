"""A value in parts, each a file: never more than one part of it is in memory."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from .values import read_value, write_value

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


def read_partitions(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return a value that `write_partitions` has written: by the name of each part, what reads it."""
    contents = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
    return {name: functools.partial(read_value, folder / file) for name, file in contents.items()}
