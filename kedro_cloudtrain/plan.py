"""Which node goes where, what it reads, and what is wrong with it: the runner's map, and what `plan` prints."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.entries import dataset_source, dataset_volume
from kedro_cloudtrain.errors import CloudTrainError, ConfigError, SourceError
from kedro_cloudtrain.folder import JOBS
from kedro_cloudtrain.jobs import TrainingParameters, library_of
from kedro_cloudtrain.nodes import TrainingFunction
from kedro_cloudtrain.preflight import problems_before
from kedro_cloudtrain.sources import UrlSource, VolumeSource
from kedro_cloudtrain.volumes import DirectoryVolume, table_location
from kedro_cloudtrain.worker.errors import nearest
from kedro_cloudtrain.worker.tables import column_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from kedro.io import CatalogProtocol
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import NodeSettings, Settings
    from kedro_cloudtrain.jobs import OutputKind
    from kedro_cloudtrain.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.volumes import Volume

# More than this of a file on a network volume is not brought here for its header.
_LARGEST_LOOK_BYTES = 64 * 1024 * 1024
_READ_WHOLE = ("xlsx", "xls")


@dataclasses.dataclass(frozen=True)
class TrainingInputs:
    """The names of what a training node reads, as the pipeline calls them.

    Attributes:
        data: the dataset to train on.
        parameters: the parameters.
        validation: the dataset of the validation rows, if it is one of its own.
    """

    data: str
    parameters: str
    validation: str | None = None

    @property
    def tables(self) -> list[str]:
        """The datasets among them."""
        return [name for name in (self.data, self.validation) if name is not None]


@dataclasses.dataclass
class NodePlan:
    """Where a node goes.

    Attributes:
        node: the node.
        where: the backend's name, or `here` for an ordinary node.
        inputs: what a training node reads; None for an ordinary node.
        parameters: what a training node is to do, where that is known before the run.
        sources: where its tables are, those that a machine reads itself.
        volume: holds the job folder, and the tables that are keys.
        settings: what `cloudtrain.yml` says of the node.
        problems: what is wrong, a sentence each.
    """

    node: Node
    where: str = "here"
    inputs: TrainingInputs | None = None
    parameters: TrainingParameters | None = None
    sources: dict[str, UrlSource | VolumeSource] = dataclasses.field(default_factory=dict)
    volume: Volume | None = None
    settings: NodeSettings | None = None
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def kind(self) -> str:
        """What is trained: the library, or the name of a template."""
        return library_of(self.parameters.model_type) if self.parameters is not None else ""

    @property
    def reads(self) -> str:
        """Say what the machine reads."""
        if self.inputs is None:
            return "–"
        return ", ".join(self._reads_one(name) for name in self.inputs.tables)

    def _reads_one(self, name: str) -> str:
        match self.sources.get(name):
            case UrlSource() as source:
                return source.redacted
            case VolumeSource() as source:
                return source.key
            case _:
                return f"{name}, sent from here"


def training_inputs(node: Node) -> TrainingInputs | None:
    """Give what a training node reads; None for any other node."""
    return TrainingInputs(*node.inputs) if isinstance(node.func, TrainingFunction) else None


def output_kinds(node: Node) -> tuple[OutputKind, ...]:
    """Give what a training node gives, in the order of its outputs; nothing for any other node."""
    return node.func.kinds if isinstance(node.func, TrainingFunction) else ()


@dataclasses.dataclass(frozen=True)
class Planner:
    """Plans nodes.

    Attributes:
        catalog: where the datasets are.
        settings: `cloudtrain.yml`.
        generator: knows the templates.
        project: the project's folder.
    """

    catalog: CatalogProtocol[Any, Any]
    settings: Settings
    generator: TrainingScriptGenerator
    project: Path

    def plan(self, nodes: Iterable[Node]) -> list[NodePlan]:
        """Plan each node; no network is asked."""
        return [self._plan(node) for node in nodes]

    def _plan(self, node: Node) -> NodePlan:
        inputs = training_inputs(node)
        if inputs is None:
            return NodePlan(node)
        settings = self.settings.for_node(node.name, node.tags, node.namespace)
        plan = NodePlan(node, where=self.settings.backend, inputs=inputs, settings=settings)
        try:
            plan.volume = self.settings.volume.make(self.project)
        except ConfigError as error:
            plan.problems.append(error.message)
            return plan
        if plan.where == "runpod" and isinstance(plan.volume, DirectoryVolume):
            plan.problems.append(
                f"backend runpod needs a network volume, and {plan.volume.name} is a directory here: "
                "volume: {id: …, data_center: …} in the environment's cloudtrain.yml."
            )
        for name in inputs.tables:
            dataset = self.catalog.get(name)
            source = dataset_source(dataset)
            if isinstance(source, VolumeSource):
                self._on_volume(plan, name, source, dataset_volume(dataset))
            elif source is not None:
                plan.sources[name] = source
        self._read_parameters(plan, inputs)
        return plan

    def _on_volume(self, plan: NodePlan, name: str, source: VolumeSource, volume: Volume) -> None:
        """Take in a table that is a key: a machine reads it where it has that volume."""
        here = isinstance(volume, DirectoryVolume)
        if plan.where == "local":
            # What is on a network volume is brought here by the dataset itself, and sent along.
            if here:
                plan.sources[name], plan.volume = source, volume
            return
        plan.sources[name] = source
        if plan.volume is not None and not plan.volume.mounted:
            plan.problems.append(
                f"`{name}` is a key on {volume.name}, and pods without a network volume read URLs alone ({plan.volume.name} keeps their "
                "jobs). Give the entry a dataset_url, or name a network volume: volume: {id: …, data_center: …} in cloudtrain.yml."
            )
        elif here:
            plan.problems.append(
                f"`{name}` is on {volume.name}, a directory here, which no pod can read. Give the entry the network volume "
                f"(volume: ${{globals:volume}}), and put the file there: kedro cloudtrain upload {volume.name}/{source.key} {source.key}"
            )
        elif volume != plan.volume:
            mounted = plan.volume.name if plan.volume is not None else "none"
            plan.problems.append(f"`{name}` is on the volume {volume.name}, and the pod mounts {mounted}: a pod mounts one. Keep it there.")

    def _read_parameters(self, plan: NodePlan, inputs: TrainingInputs) -> None:
        if not inputs.parameters.startswith(("params:", "parameters")):
            return  # Another node makes them: they are checked when they are there.
        dataset = self.catalog.get(inputs.parameters)
        if dataset is None:
            return  # Kedro says so itself, in its own words.
        try:
            plan.parameters = TrainingParameters.parse(dataset.load(), where=where_parameters_stand(inputs.parameters))
        except ConfigError as error:
            plan.problems.append(error.message)
            return
        plan.problems += problems_before(
            plan.parameters, self.generator, validation_table=inputs.validation is not None, here=plan.where == "local"
        )


def where_parameters_stand(name: str) -> str:
    """Name the place of a node's parameters as a user knows it."""
    return f"`{name.removeprefix('params:')}` in parameters.yml"


def look_at_sources(plan: NodePlan, *, volume_answers: bool = True) -> dict[str, int | None]:
    """Ask each source whether it is there and has the columns; add what is wrong to the plan's problems.

    Args:
        plan: the node.
        volume_answers: False where the volume is known not to; what is on it is not asked for then.

    Returns:
        Each table's size in bytes, None where its server does not say.
    """
    from kedro_cloudtrain.volumes import source_identity  # noqa: PLC0415

    sizes: dict[str, int | None] = {}
    for name, source in plan.sources.items():
        if isinstance(source, VolumeSource) and not volume_answers:
            continue
        try:
            identity = source_identity(source, plan.volume)
            sizes[name] = identity.size if identity is not None else None
            columns = _columns(source, plan.volume, sizes[name])
        except (CloudTrainError, ValueError) as error:
            plan.problems.append(f"`{name}`: {error}")
            continue
        if plan.parameters is not None and columns is not None:
            plan.problems += _missing_columns(name, plan.parameters, columns, where_parameters_stand(_parameters_of(plan)))
    return sizes


def _parameters_of(plan: NodePlan) -> str:
    if plan.inputs is None:
        raise SourceError(f"{plan.node.name} is no training node.")
    return plan.inputs.parameters


def _missing_columns(name: str, parameters: TrainingParameters, columns: list[str], where: str) -> list[str]:
    wanted: Mapping[str, list[str]] = {
        "target_column": [parameters.target_column],
        "feature_columns": list(parameters.feature_columns or ()),
        "validation.column": [parameters.validation.column] if parameters.validation.column else [],
        "validation.time_column": [parameters.validation.time_column] if parameters.validation.time_column else [],
    }
    said = []
    for key, names in wanted.items():
        for column in names:
            if column not in columns:
                close = nearest(column, columns)
                hint = f" Closest: {close}." if close else ""
                shown = ", ".join(columns[:8]) + (", …" if len(columns) > 8 else "")  # noqa: PLR2004  # a line's worth
                said.append(f"`{name}` has no column `{column}`.{hint} Columns: {shown} ({len(columns)}). Fix {key} of {where}.")
    return said


def _columns(source: UrlSource | VolumeSource, volume: Volume | None, size_bytes: int | None) -> list[str] | None:
    """Read a table's columns; None where that would bring too much of it here."""
    if isinstance(source, UrlSource):
        return column_names(source.location)
    if volume is None:
        raise SourceError(f"{source.key} is on no volume.")
    location = table_location(source, volume)
    if location.in_pieces and location.format in _READ_WHOLE and (size_bytes or 0) > _LARGEST_LOOK_BYTES:
        return None
    return column_names(location)


def volumes_of(planner: Planner) -> list[Path]:
    """Give the folders of jobs on the volumes that a project names: the one of its settings, then those of its datasets."""
    volumes = [planner.settings.volume.make(planner.project)]
    for name in list(planner.catalog):
        dataset = planner.catalog.get(name)
        if isinstance(dataset_source(dataset), VolumeSource):
            volumes.append(dataset_volume(dataset))
    return list(dict.fromkeys(volume.folder(JOBS).resolve() for volume in volumes))
