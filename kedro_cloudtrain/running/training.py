"""A training as it is asked of a machine."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.parameters import library_of
from kedro_cloudtrain.jobs.pieces_checks import ASKED, LOOKED_AT_BYTES, larger_than_memory, pieces_problems, source_problems
from kedro_cloudtrain.jobs.requirements import own_release
from kedro_cloudtrain.jobs.sent import SentInput, doubt_about
from kedro_cloudtrain.jobs.sharing import processes_here, processes_on_pod
from kedro_cloudtrain.jobs.spec import TrainingSpec, source_fields
from kedro_cloudtrain.jobs.workload import Workload
from kedro_cloudtrain.running.order import Inputs, Rendered
from kedro_cloudtrain.running.outputs import read_outputs
from kedro_cloudtrain.running.packages import recipe_requirements
from kedro_cloudtrain.runs.scores import scores_of
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, resolved
from kedro_cloudtrain.storage.volumes import table_location
from kedro_cloudtrain.wording import problems_of
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.hyperparameter_devices import needed_device
from kedro_cloudtrain.worker.tables import table_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from kedro_cloudtrain.jobs.code import Code
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.parameters import OutputKind, TrainingParameters
    from kedro_cloudtrain.jobs.result import JobResult
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.storage.volumes import Volume

logger = logging.getLogger("kedro.cloudtrain")

# Measured by benchmarks/larger.py.
_BYTES_A_ROW_IN_PIECES = 64
_BYTES_A_CELL_IN_PIECES = {"lightgbm": 1}


def training_workload(parameters: TrainingParameters, rows: int | None, columns: int | None, size_bytes: int | None) -> Workload:
    """Return how much a training has to compute with, and the device that its hyperparameters leave.

    Args:
        parameters: what stands in `parameters.yml`.
        rows: the table's rows; None where they are not known.
        columns: the columns to read.
        size_bytes: the size of the table's file.
    """
    library = library_of(parameters.model_type)
    needed = needed_device(library, parameters.hyperparameters, parameters.model_type.removeprefix(f"{library}_"))
    device, why = needed if needed is not None else (None, "")
    if not parameters.in_pieces:
        return Workload(library, rows, columns, size_bytes, device, why)
    if library != "keras":
        device, why = "cpu", "a table in pieces is fitted on the CPU"
    bins = _BYTES_A_CELL_IN_PIECES.get(library, 0)
    return Workload(library, rows, columns, size_bytes, device, why, in_pieces=True, bytes_a_cell=bins, bytes_a_row=_BYTES_A_ROW_IN_PIECES)


def pieces_chosen(parameters: TrainingParameters, workload: Workload, sources: Mapping[str, UrlSource | VolumeSource]) -> tuple[bool, str]:
    """Return whether to read a shipped recipe's table in pieces on this computer, and a note for the plan; empty if there is none.

    Args:
        parameters: what stands in `parameters.yml`.
        workload: of the table in memory.
        sources: the sources of its tables, by their names.
    """
    larger = larger_than_memory(workload) if parameters.in_pieces is None else None
    if larger is None:
        return bool(parameters.in_pieces), "its table is read and fitted in pieces" if parameters.in_pieces else ""
    problem = next(iter((*pieces_problems(parameters), *source_problems(sources.items()))), None)
    if problem is None:
        return True, f"{larger}: it is read and fitted in pieces (in_pieces: false holds it in memory)"
    return False, f"{larger}, and it cannot be fitted in pieces: {problem.removeprefix(ASKED)}"


@dataclasses.dataclass(frozen=True)
class TrainingOrder:
    """What a training node asks for.

    Attributes:
        node: the node's name.
        parameters: what stands in `parameters.yml`.
        data: where the table is; a DataFrame where it exists only in this process.
        outputs: which outputs are wanted.
        volume: holds the data, where it is a key, and the job folder.
        validation: the table of the validation rows, where it is another one.
        settings: what `cloudtrain.yml` sets for the node.
        columns: those of a table to send; None sends all.
        given_script: a script of the user's own, instead of the recipe's.
        project: the project's folder, whose `uv.lock` counts.
        to_pod: whether the machine is another one than this computer.
    """

    node: str
    parameters: TrainingParameters
    data: UrlSource | VolumeSource | pd.DataFrame
    outputs: tuple[OutputKind, ...]
    volume: Volume
    validation: UrlSource | VolumeSource | pd.DataFrame | None = None
    settings: NodeSettings = dataclasses.field(default_factory=NodeSettings)
    columns: frozenset[str] | None = None
    given_script: str | None = None
    project: Path | None = None
    to_pod: bool = False

    @property
    def trial(self) -> bool:
        """Whether it is a trial of a search: see `TrialOrder`."""
        return False

    @property
    def python(self) -> str:
        """This process's own: the packages are pinned to the releases that are installed for it."""
        return own_release()

    @property
    def requirements(self) -> tuple[str, ...]:
        """What a pod installs, as pip writes it."""
        return training_requirements(self.parameters, self.settings, list(self._read.values()), self.project)

    @property
    def cpu_requirements(self) -> tuple[str, ...]:
        """What a pod without a GPU installs."""
        return training_requirements(self.parameters, self.settings, list(self._read.values()), self.project, gpu=False)

    def inputs(self) -> Inputs:
        """Sort the tables: those that the machine reads itself, and those that are sent.

        Raises:
            SourceError: a table cannot be sent, or has no version yet.
        """
        sent = {
            name: SentInput.of(table, f"The table `{name}` of {self.node}", table=True, columns=self.columns)
            for name, table in (("data", self.data), ("validation", self.validation))
            if table is not None and name not in self._read
        }
        doubt = self.doubt()
        return Inputs(
            read={name: resolved(source) for name, source in self._read.items()},
            sent=sent,
            doubts={} if doubt is None else {"hyperparameters": doubt},
        )

    def doubt(self) -> str | None:
        """Return what a hyperparameter may refer to on this computer; None where none does."""
        # Some name a file, such as `forcedsplits_filename` of LightGBM; a template of the project's own may open any.
        return doubt_about(self.parameters.hyperparameters, to_pod=self.to_pod)

    def code(self, inputs: Inputs) -> Code | None:  # noqa: ARG002  # whatever they are
        """Return None: a recipe imports nothing of the project."""
        return None

    def render(self, inputs: Inputs, generator: TrainingScriptGenerator) -> Rendered:
        """Render the job's spec and script.

        Raises:
            ConfigError: there is no data, or a parameter is not valid.
            TemplateError: the template does not make a script.
        """
        sources = {name: source_fields(source) for name, source in inputs.sources.items()}
        if "data" not in sources:
            raise ConfigError(f"{self.node} has no data.")
        try:
            chosen = self._chosen(inputs, generator)
            shared = sharing_of(chosen, self.settings, to_pod=self.to_pod)
            spec = TrainingSpec(name=self.node, parameters=chosen, sources=sources, outputs=self.outputs, **shared)
        except ValidationError as error:
            raise ConfigError("\n".join(f"{self.node}: {problem}" for _, problem in problems_of(error, TrainingSpec))) from None
        script = self.given_script if self.given_script is not None else generator.render(spec)
        return Rendered(spec.model_dump(mode="json"), script)

    def _chosen(self, inputs: Inputs, generator: TrainingScriptGenerator) -> TrainingParameters:
        """Return the parameters, with `in_pieces` where a table is larger than this computer's memory."""
        source = inputs.read.get("data")
        shipped = generator.is_shipped(self.parameters.model_type)
        if self.parameters.in_pieces is not None or self.to_pod or source is None or not shipped:
            return self.parameters
        size_bytes = inputs.identities(self.volume)[1].get("data")
        if (size_bytes or 0) < LOOKED_AT_BYTES:
            return self.parameters
        shape = None
        with contextlib.suppress(InputError):  # The job will tell.
            shape = table_shape(table_location(source, self.volume), size_bytes)
        rows, columns = shape or (None, None)
        workload = training_workload(self.parameters, rows, self.parameters.column_count or columns, size_bytes)
        chosen, why = pieces_chosen(self.parameters, workload, inputs.read)
        if why:
            logger.info("%s: %s", self.node, why)
        return self.parameters.model_copy(update={"in_pieces": True}) if chosen else self.parameters

    def workload(self, sizes: Mapping[str, int | None]) -> Workload:
        """Return how much there is to compute with: the DataFrame's rows and columns, or the size of the table's file.

        Args:
            sizes: the size in bytes of each table that the machine reads; None where it is not known.
        """
        rows = columns = None
        if not isinstance(self.data, UrlSource | VolumeSource):
            rows, columns = self.data.shape
        elif self.to_pod:
            location = table_location(self.data, self.volume)
            with contextlib.suppress(InputError):  # The machine will tell.
                rows, columns = table_shape(location, sizes.get("data")) or (None, None)
        return training_workload(self.parameters, rows, self.parameters.column_count or columns, sizes.get("data"))

    def values(self, folder: JobFolder, result: JobResult, *, earlier: bool = False) -> dict[str, Any]:  # noqa: ARG002  # all come back
        """Return what the job has left, by kind.

        Raises:
            JobLostError: an output is missing, or is not what the result describes.
        """
        return read_outputs(folder, result, self.outputs)

    def scores(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Return the numbers among the metrics, by name; none where no metrics were asked for."""
        return scores_of(values.get("metrics"))

    @property
    def _read(self) -> dict[str, UrlSource | VolumeSource]:
        tables = {"data": self.data, "validation": self.validation}
        return {name: table for name, table in tables.items() if isinstance(table, UrlSource | VolumeSource)}


def training_requirements(
    parameters: TrainingParameters,
    settings: NodeSettings,
    tables: Sequence[UrlSource | VolumeSource],
    project: Path | None = None,
    *,
    gpu: bool | None = None,
) -> tuple[str, ...]:
    """Return the packages that a training needs, as pip writes them.

    Args:
        parameters: what stands in `parameters.yml`.
        settings: what `cloudtrain.yml` sets for the node.
        tables: those that the machine reads itself.
        project: the project's folder, if there is one.
        gpu: whether the machine has a GPU; left out, the settings say.

    Raises:
        ConfigError: `requirements`, or the project's `uv.lock`, is not valid.
    """
    shared = processes_of(parameters, settings, to_pod=True) > 1
    return recipe_requirements(
        library_of(parameters.model_type), settings, tables, project, gpu=gpu, backend=parameters.backend, shared=shared
    )


def sharing_of(parameters: TrainingParameters, settings: NodeSettings, *, to_pod: bool) -> dict[str, int]:
    """Return how many processes and machines share a training's fit, as its spec has them."""
    workers = processes_of(parameters, settings, to_pod=to_pod)
    return {"workers": workers, "machines": settings.machines if workers > 1 else 1}


def processes_of(parameters: TrainingParameters, settings: NodeSettings, *, to_pod: bool) -> int:
    """Return how many processes share a training's fit, on all its machines: see `sharing`."""
    if to_pod:
        return processes_on_pod(parameters, settings.gpu, settings.gpu_count) * settings.machines
    return processes_here(parameters, settings.gpu_count, settings.machines)
