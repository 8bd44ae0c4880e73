"""A batch prediction as it is asked of a machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.errors import ConfigError, SourceError
from kedro_cloudtrain.jobs.requirements import own_release
from kedro_cloudtrain.jobs.sent import SentFiles, SentInput
from kedro_cloudtrain.jobs.spec import PredictionSpec, save_fields, source_fields
from kedro_cloudtrain.jobs.workload import Workload
from kedro_cloudtrain.running.order import Inputs, Rendered, save_version
from kedro_cloudtrain.running.outputs import read_values
from kedro_cloudtrain.running.packages import recipe_requirements
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, resolved
from kedro_cloudtrain.worker.devices import KERAS_BACKENDS
from kedro_cloudtrain.worker.models import TrainedModel
from kedro_cloudtrain.worker.prediction import ON_GPU
from kedro_cloudtrain.worker.readers import READ_WHOLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from kedro_cloudtrain.jobs.code import Code
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.storage.volumes import Volume

PREDICTIONS: Final = "predictions"


@dataclasses.dataclass(frozen=True)
class PredictionOrder:
    """What a prediction node asks for.

    Attributes:
        node: the node's name.
        model_name: the model's dataset.
        model: the model.
        data: where the table is; a DataFrame where it exists only in this process.
        volume: holds the data, where it is a key, and the job folder.
        keep: the columns of the table that stand beside each row's prediction.
        save: the place on the volume that the machine saves the predictions to; None where they come back.
        settings: what `cloudtrain.yml` sets for the node.
        project: the project's folder, whose `uv.lock` counts.
    """

    node: str
    model_name: str
    model: TrainedModel
    data: UrlSource | VolumeSource | pd.DataFrame
    volume: Volume
    keep: tuple[str, ...] = ()
    save: VolumeSource | None = None
    settings: NodeSettings = dataclasses.field(default_factory=NodeSettings)
    project: Path | None = None

    @property
    def trial(self) -> bool:
        """False: a prediction is not a trial."""
        return False

    @property
    def python(self) -> str:
        """This process's own: the packages are pinned to the releases that are installed for it."""
        return own_release()

    @property
    def requirements(self) -> tuple[str, ...]:
        """What a pod installs, as pip writes it."""
        return self._requirements(gpu=self.settings.gpu != "none")

    @property
    def cpu_requirements(self) -> tuple[str, ...]:
        """What a pod without a GPU installs."""
        return self._requirements(gpu=False)

    def inputs(self) -> Inputs:
        """Sort the inputs: a table that the machine reads itself or that is sent, and the files of the model's folder.

        Raises:
            SourceError: the table cannot be sent, or has no version yet; or the model's files are gone.
        """
        sent = {}
        if not self._read:
            columns = {*self.model.feature_columns, *self.keep}
            sent["data"] = SentInput.of(self.data, f"The table of {self.node}", table=True, columns=columns)
        return Inputs(
            read={name: resolved(source) for name, source in self._read.items()},
            sent=sent,
            files={"model": model_files(self.model, f"`{self.model_name}` of {self.node}")},
            save_version=save_version([self.save] if self.save is not None else []),
        )

    def code(self, inputs: Inputs) -> Code | None:  # noqa: ARG002  # whatever they are
        """Return None: a prediction imports nothing of the project."""
        return None

    def render(self, inputs: Inputs, generator: TrainingScriptGenerator) -> Rendered:
        """Render the job's spec and script.

        Raises:
            TemplateError: the template does not make a script.
        """
        spec = PredictionSpec(
            name=self.node,
            predicts_by=self.model_name,
            library=self.model.library,
            sources={"data": source_fields(inputs.sources["data"])},
            files={"model": inputs.files["model"].contents.source.file},
            keep=self.keep,
            save=None if self.save is None else save_fields(self.save),
            workers=self.settings.machines,
        )
        return Rendered(spec.model_dump(mode="json"), generator.render_prediction(spec))

    def workload(self, sizes: Mapping[str, int | None]) -> Workload:
        """Return how much there is to compute with.

        Args:
            sizes: the size in bytes of each table that the machine reads; None where it is not known.
        """
        shape = (None, None) if isinstance(self.data, UrlSource | VolumeSource) else self.data.shape
        return prediction_workload(self.model.library, self._formats, sizes.get("data"), shape)

    def values(self, folder: JobFolder, result: JobResult, *, earlier: bool = False) -> dict[str, Any]:
        """Return the predictions, a DataFrame; or their place, where the machine has saved them itself.

        Raises:
            JobLostError: they are missing, or are not what the result describes.
        """
        saved = {} if self.save is None else {PREDICTIONS: self.save}
        return read_values(folder, result, [PREDICTIONS], saved, self.volume, earlier=earlier)

    def scores(self, values: Mapping[str, Any]) -> dict[str, float]:  # noqa: ARG002  # a prediction measures nothing
        """Return nothing."""
        return {}

    @property
    def _read(self) -> dict[str, UrlSource | VolumeSource]:
        return {"data": self.data} if isinstance(self.data, UrlSource | VolumeSource) else {}

    @property
    def _formats(self) -> tuple[str, ...]:
        return tuple(source.file_format for source in self._read.values())

    def _requirements(self, *, gpu: bool) -> tuple[str, ...]:
        return prediction_requirements(
            self.model.library,
            self.model.description.get("versions") or {},
            self.settings,
            list(self._read.values()),
            self.project,
            gpu=gpu,
        )


def model_of(value: object, where: str) -> TrainedModel:
    """Return a model that was loaded by the catalog.

    Args:
        value: what was loaded.
        where: the dataset and the node, as a message has them.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(value, TrainedModel):
        return value
    kind = type(value).__name__ if type(value).__module__ == "builtins" else f"{type(value).__module__}.{type(value).__name__}"
    raise ConfigError(
        f"{where} is a {kind}, and a prediction node takes the model of a training node, which kedro_cloudtrain.ModelDataset saves and "
        "loads. For a model of your own, write a function node, and name it below `nodes` in cloudtrain.yml."
    )


def model_files(model: TrainedModel, where: str) -> SentFiles:
    """Return the files of a model's folder, to be sent.

    Raises:
        SourceError: they are gone.
    """
    files = sorted(file for file in model.folder.rglob("*") if file.is_file())
    if not files:
        raise SourceError(f"{where} cannot be sent to the machine: its folder {model.folder} is gone. Train it again.")
    return SentFiles.of({file.relative_to(model.folder).as_posix(): file for file in files})


def prediction_workload(
    library: str, file_formats: Sequence[str], size_bytes: int | None, shape: tuple[int | None, int | None] = (None, None)
) -> Workload:
    """Return how much a prediction has to compute with.

    Args:
        library: the model's.
        file_formats: that of the table, where the machine reads it itself.
        size_bytes: the size of the table's file.
        shape: the rows and columns of the table, where they are known.
    """
    in_pieces = not set(file_formats) & set(READ_WHOLE)
    if library in ON_GPU:
        return Workload(library, *shape, size_bytes, in_pieces=in_pieces)
    return Workload(library, *shape, size_bytes, "cpu", "trees predict on a CPU as fast as a table is read", in_pieces)


def prediction_requirements(
    library: str,
    versions: Mapping[str, str],
    settings: NodeSettings,
    tables: Sequence[UrlSource | VolumeSource],
    project: Path | None = None,
    *,
    gpu: bool,
    backend: str | None = None,
) -> tuple[str, ...]:
    """Return the packages that a prediction needs, as pip writes them.

    Args:
        library: the model's.
        versions: those that the model was fitted with, by package.
        settings: what `cloudtrain.yml` sets for the node.
        tables: those that the machine reads itself.
        project: the project's folder, if there is one.
        gpu: whether the machine has a GPU.
        backend: what a Keras model computes with, where its versions do not tell it.

    Raises:
        ConfigError: `requirements`, or the project's `uv.lock`, is not valid.
    """
    return recipe_requirements(
        library,
        settings,
        tables,
        project,
        gpu=gpu and library in ON_GPU,
        backend=next((name for name in KERAS_BACKENDS if name in versions), backend),
        fitted_with={name: version for name, version in versions.items() if version != "unknown"},
        shared=settings.machines > 1,
    )
