"""A catalog entry on this computer that loads no data but a way to it, such as a dict of loaders: its files are sent in its place."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue


@dataclasses.dataclass(frozen=True)
class LocalEntry:
    """A kedro-datasets entry whose files a machine gets, and which it loads by the entry's own class.

    So a function is given on the machine what it is given under Kedro's own runners: a dict of callables, a LazyFrame, an iterator.

    Attributes:
        name: its name in the catalog.
        argument: the argument that takes its path.
        config: its configuration in the catalog without that argument, as plain JSON.
        dataset: the dataset in this process.
        parts: the names of the partitions to send; None sends all.
    """

    name: str
    argument: str
    config: Mapping[str, JsonValue] = dataclasses.field(hash=False)
    dataset: Any = dataclasses.field(repr=False, compare=False)
    parts: frozenset[str] | None = None

    @property
    def place(self) -> Path:
        """The file, or the folder, that is there now."""
        dataset = self.dataset
        if self.argument == "path":
            return Path(dataset._filesystem._strip_protocol(dataset._path))  # noqa: SLF001  # the datasets have no public name for it
        return Path(dataset._get_load_path() if hasattr(dataset, "_get_load_path") else dataset._filepath)  # noqa: SLF001

    def files(self) -> dict[str, Path]:
        """Return the entry's files by their paths below its folder; a single file by its name.

        Raises:
            SourceError: there are none.
        """
        suffix = str(self.config.get("filename_suffix") or "")
        try:
            place = self.place
            paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        except Exception as error:  # Kedro's DatasetError: nothing was saved in any version
            raise SourceError(f"`{self.name}` cannot be sent: {error}") from error
        folder = place.parent if paths == [place] else place
        files = {path.relative_to(folder).as_posix(): path for path in paths if path.name.endswith(suffix)}
        if self.parts is not None:
            files = {name: path for name, path in files.items() if name.removesuffix(suffix) in self.parts}
        if not files:
            raise SourceError(f"`{self.name}` cannot be sent to the machine: there is no file in {place}. Run the node that makes it.")
        return files
