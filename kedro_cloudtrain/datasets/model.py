"""A trained model, as a training node leaves it."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NewType

from kedro.io import AbstractVersionedDataset, Version
from kedro.io.core import VersionNotFoundError

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.worker.protocol import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kedro_cloudtrain.worker.models import TrainedModel

JSONPreview = NewType("JSONPreview", str)

# The file that names the folder of each group's model.
MODELS = "models.json"


class ModelDataset(AbstractVersionedDataset[Any, Any]):
    """A trained model as a folder: a file in the library's own format, never a pickle, and `model.json`.

    Args:
        filepath: the folder.
        version: the version to load and the one to save, which Kedro gives to an entry with `versioned: true`.
        metadata: for other plugins; ignored by Kedro.

    Example:
        ```yaml
        species_model: {type: kedro_cloudtrain.ModelDataset, filepath: data/06_models/species}
        sex_model: {type: kedro_cloudtrain.ModelDataset, filepath: data/06_models/sex, versioned: true}
        ```
    """

    def __init__(self, *, filepath: str, version: Version | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    @property
    def filepath(self) -> Path:
        """The folder; of a versioned entry, the one that holds the versions."""
        return Path(self._filepath)

    def load(self) -> TrainedModel:
        """Load the model: `predict(frame)` and `predict_proba(frame)` work without the machine that trained it.

        Raises:
            SourceError: no model has been saved yet.
        """
        from kedro_cloudtrain.worker.models import load_model  # noqa: PLC0415  # only for a model

        if not self._exists():
            with contextlib.suppress(VersionNotFoundError):
                if (Path(self._get_load_path()) / MODELS).is_file():
                    raise SourceError(f"{self.filepath} holds the models of many groups: write `type: kedro_cloudtrain.ModelsDataset`.")
            raise SourceError(f"There is no model in {self.filepath}. The training node that saves it has not run yet.")
        return load_model(Path(self._get_load_path()))

    def save(self, data: TrainedModel | Path | str) -> None:
        """Copy a model's folder, whole or not at all; an older model stays until then.

        Args:
            data: the model, or the path of its folder.

        Raises:
            SourceError: `data` is not the model of a training node.
        """
        folder = model_folder(data)
        place = Path(self._get_save_path())
        if folder.resolve() != place.resolve():
            with replaced(place) as new:
                shutil.copytree(folder, new)

    def preview(self) -> JSONPreview:
        """Return the content of `model.json` for Kedro-Viz."""
        return JSONPreview(json.dumps(json.loads((Path(self._get_load_path()) / MODEL).read_text(encoding="utf-8"))))

    def _exists(self) -> bool:
        with contextlib.suppress(VersionNotFoundError):
            return (Path(self._get_load_path()) / MODEL).is_file()
        return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self.filepath), "version": self._version}


def model_folder(model: object) -> Path:
    """Return the folder of a model.

    Args:
        model: a `TrainedModel`, or the path of its folder.

    Raises:
        SourceError: it is not the model of a training node.
    """
    folder = model if isinstance(model, str | Path) else getattr(model, "folder", None)
    if folder is None or not (Path(folder) / MODEL).is_file():
        subject = f"{model}, which has no model.json," if isinstance(model, str | Path) else f"This {type(model).__name__}"
        several = isinstance(model, dict) and any(hasattr(each, "folder") for each in model.values())
        own = (
            "A dict of models is saved by ModelsDataset"
            if several
            else "For a model of your own, use a dataset such as pickle.PickleDataset"
        )
        raise SourceError(f"{subject} is not the model of a training node. {own}.")
    return Path(folder)


@contextlib.contextmanager
def replaced(place: Path) -> Iterator[Path]:
    """Yield a path for a new folder, which then replaces `place` as a whole; what is there stays until then.

    Args:
        place: where the folder is to be.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        yield new
        if place.exists():
            place.rename(old)
        try:
            new.rename(place)
        except OSError:
            if old.exists():
                old.rename(place)
            raise
