"""The parts of a table that is a folder, as Spark writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_ENDINGS = (".parquet", ".pq")
# What the folder of a table in another format holds, whose parts alone would be rows of older versions, too.
_FORMATS = {"_delta_log": "Delta", ".hoodie": "Hudi"}
_SHOWN = 5


def table_parts(folder: str, paths: Iterable[str | Path]) -> list[str]:
    """Return the names of the parquet files that make up a folder's table, in their order.

    Args:
        folder: the folder, as a message has it.
        paths: what the folder holds: paths on disk, or names below it, of which those of folders end in a slash.

    Raises:
        InputError: they do not make a table.
    """
    names = sorted({(path.name + "/" * path.is_dir()) if isinstance(path, Path) else path for path in paths})
    tops = sorted({name.partition("/")[0] for name in names})
    for mark, name in _FORMATS.items():
        if mark in tops:
            raise InputError(f"{folder} is a {name} table, whose files hold older rows, too. Write it as plain parquet, and name that.")
    if "_temporary" in tops:
        raise InputError(f"{folder} is still being written, or its writing broke off: it has _temporary. Write it again.")
    parts = [name for name in names if "/" not in name and name.endswith(_ENDINGS) and not name.startswith(("_", "."))]
    below = [top for top in tops if "=" in top and top not in parts]
    if below:
        raise InputError(f"{folder} is a folder of partitions ({below[0]}, …), which are not read. Write the table without partitionBy.")
    if not parts:
        shown = ", ".join(tops[:_SHOWN]) + (", …" if len(tops) > _SHOWN else "") or "nothing"
        raise InputError(
            f"{folder} is a folder that holds {shown}. A table is one file, or a folder of parquet files as Spark writes it: name one file."
        )
    return parts
