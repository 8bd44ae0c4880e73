"""Write a file whole or not at all: beside its place first, then renamed into it."""

from __future__ import annotations

import contextlib
import filecmp
import uuid
from typing import TYPE_CHECKING

from kedro_cloudtrain.storage.disk import writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def whole(path: Path, *, keep_same: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when the block ends without an error.

    A reader sees the old file or the new one, never half of one. After an error the old file stands, and the temporary one is removed.

    Args:
        path: the file to write; its folder is made if it is missing.
        keep_same: leave a file alone that has the same content already, and with it its time of modification.

    Raises:
        DiskError: the disk is full, or the path cannot be written.

    Example:
        ```python
        with whole(path) as temporary:
            temporary.write_bytes(content)
        ```
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # tempfile's files can be read by their owner alone, and a volume is shared. The ending stays, for writers that go by it.
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.{path.name}")
    try:
        with writing(path):
            yield temporary
            if not (keep_same and path.is_file() and filecmp.cmp(temporary, path, shallow=False)):
                temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def visible(folder: Path, ending: str, prefix: str = "") -> Iterator[Path]:
    """Yield the files of a folder whose names begin and end as asked, without those that `whole` is still writing.

    The temporary file has the ending of the file that it becomes, so that a pattern as `*.json` finds it, too.
    """
    return (file for file in folder.glob(f"{prefix}*{ending}") if not file.name.startswith("."))
