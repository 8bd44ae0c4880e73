"""The trained models of a partitioned node, by the names of their groups."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kedro.io import AbstractVersionedDataset, Version
from kedro.io.core import VersionNotFoundError

from kedro_cloudtrain.datasets.model import MODELS, JSONPreview, model_folder, replaced
from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.worker.protocol import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kedro_cloudtrain.worker.models import TrainedModel

# The longest part of a folder's name, which may have 255 bytes on most systems.
_LONGEST = 80


class ModelsDataset(AbstractVersionedDataset[Any, Any]):
    """The models of a partitioned node as one folder: below it, a folder for each group as `ModelDataset` saves it, and `models.json`.

    Args:
        filepath: the folder.
        version: the version to load and the one to save, which Kedro gives to an entry with `versioned: true`.
        metadata: for other plugins; ignored by Kedro.

    Example:
        ```yaml
        station_models: {type: kedro_cloudtrain.ModelsDataset, filepath: data/06_models/stations}
        ```
    """

    def __init__(self, *, filepath: str, version: Version | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    @property
    def filepath(self) -> Path:
        """The folder; of a versioned entry, the one that holds the versions."""
        return Path(self._filepath)

    def load(self) -> dict[str, TrainedModel]:
        """Load the models by their groups' names; each opens its library's file at its first prediction.

        Raises:
            SourceError: no models have been saved yet.
        """
        from kedro_cloudtrain.worker.models import load_model  # noqa: PLC0415  # only for a model

        if not self._exists():
            with contextlib.suppress(VersionNotFoundError):
                if (Path(self._get_load_path()) / MODEL).is_file():
                    raise SourceError(f"{self.filepath} holds one model: write `type: kedro_cloudtrain.ModelDataset`.")
            raise SourceError(f"There are no models in {self.filepath}. The training node that saves them has not run yet.")
        place = Path(self._get_load_path())
        return {name: load_model(place / folder) for name, folder in self._contents(place).items()}

    def save(self, data: Mapping[str, TrainedModel | Path | str]) -> None:
        """Copy the models' folders, all of them or none; older models stay until then, and no model of an older group is left.

        Args:
            data: by their groups' names, the models, or the paths of their folders.

        Raises:
            SourceError: `data` is not a dict of the models of a training node.
        """
        if not hasattr(data, "items") or not data:
            raise SourceError(
                f"A ModelsDataset saves a dict of models by name, and not a {type(data).__name__}: one model is saved by a ModelDataset."
            )
        folders = {str(name): model_folder(model) for name, model in data.items()}
        with replaced(Path(self._get_save_path())) as new:
            new.mkdir()
            contents = _folders_of(folders)
            for name, folder in folders.items():
                shutil.copytree(folder, new / contents[name])
            (new / MODELS).write_text(json.dumps(contents, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def preview(self) -> JSONPreview:
        """Return the names of the groups, and their folders, for Kedro-Viz."""
        return JSONPreview(json.dumps(self._contents(Path(self._get_load_path()))))

    @staticmethod
    def _contents(place: Path) -> dict[str, str]:
        try:
            contents = json.loads((place / MODELS).read_text(encoding="utf-8"))
            if all(isinstance(folder, str) and (place / folder).parent == place for folder in contents.values()):
                return dict(contents)
        except (OSError, ValueError, AttributeError):
            pass
        raise SourceError(f"{place / MODELS} does not list models. Train them again.")

    def _exists(self) -> bool:
        with contextlib.suppress(VersionNotFoundError):
            return (Path(self._get_load_path()) / MODELS).is_file()
        return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.filepath), "version": self._version}


def _folders_of(names: Iterable[str]) -> dict[str, str]:
    """Return a folder's name for each group: its own where that can name a folder, and unique on a system that ignores case."""
    folders: dict[str, str] = {}
    taken = {MODELS.lower()}
    for number, name in enumerate(names):
        folder = quote(name, safe=" ")[:_LONGEST]
        if not name or name != folder or name.startswith("."):
            folder = f"{number}-{folder}"
        while folder.lower() in taken:
            folder = f"{number}-{folder}"
        taken.add(folder.lower())
        folders[name] = folder
    return folders
