"""Plan the nodes of a pipeline: where each goes, and what is wrong with it; no network is asked."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.datasets import CloudDataset
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.code import Codes
from kedro_cloudtrain.jobs.importable import reason_against
from kedro_cloudtrain.jobs.parameters import TrainingParameters, library_of
from kedro_cloudtrain.jobs.preflight import problems_before
from kedro_cloudtrain.jobs.requirements import is_path, project_requirements
from kedro_cloudtrain.jobs.spec import is_parameter
from kedro_cloudtrain.planning.entries import dataset_source, dataset_volume, is_read_only, remote_entry
from kedro_cloudtrain.planning.plan import TrainingInputs, training_inputs
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource
from kedro_cloudtrain.storage.volumes import same_volume
from kedro_cloudtrain.worker.values import is_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kedro.io import CatalogProtocol
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import NodeSettings, Settings
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.storage.remote_entry import RemoteEntry
    from kedro_cloudtrain.storage.volumes import Volume


@dataclasses.dataclass
class NodePlan:
    """Where a node goes.

    Attributes:
        node: the node.
        where: the backend's name, or `here` for an ordinary node.
        inputs: what a training node reads; None for any other node.
        parameters: what a training node is to do, where that is known before the run.
        sources: where its tables are, those that a machine reads itself.
        saves: where the machine saves outputs of a user's function itself, with the writer's arguments.
        entries: what it loads and saves on other stores, by the entries' own classes.
        volume: holds the job folder, and the tables that are keys.
        settings: what `cloudtrain.yml` says of the node.
        project: the project's folder.
        codes: the code that goes along with its functions.
        made: which of its tables other nodes of the run make: they need not be there before it.
        problems: what is wrong, a sentence each.
    """

    node: Node
    where: str = "here"
    inputs: TrainingInputs | None = None
    parameters: TrainingParameters | None = None
    sources: dict[str, UrlSource | VolumeSource] = dataclasses.field(default_factory=dict)
    saves: dict[str, tuple[VolumeSource, dict[str, Any]]] = dataclasses.field(default_factory=dict)
    entries: dict[str, RemoteEntry] = dataclasses.field(default_factory=dict)
    volume: Volume | None = None
    settings: NodeSettings | None = None
    project: Path = dataclasses.field(default_factory=Path)
    codes: Codes = dataclasses.field(default_factory=Codes)
    made: frozenset[str] = frozenset()
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def on_machine(self) -> bool:
        """Whether it goes to a machine, or is an ordinary node."""
        return self.where != "here"

    @property
    def group(self) -> str | None:
        """The group whose machine it shares; None where it has one of its own."""
        return self.settings.group if self.on_machine and self.settings is not None else None

    @property
    def kind(self) -> str:
        """What runs there: the library that is trained, the name of a template, or that of a function."""
        if self.inputs is None:
            return getattr(self.node.func, "__name__", "") if self.on_machine else ""
        return library_of(self.parameters.model_type) if self.parameters is not None else ""

    @property
    def tables(self) -> list[str]:
        """What the machine is given beside the parameters."""
        if self.inputs is not None:
            return self.inputs.tables
        return [name for name in dict.fromkeys(self.node.inputs) if not is_parameter(name)] if self.on_machine else []

    def there(self, name: str) -> UrlSource | VolumeSource | RemoteEntry | None:
        """Give an input that a machine reads itself; None for what is sent from here."""
        return self.sources.get(name) or self.entries.get(name)

    def saves_there(self, name: str) -> bool:
        """Tell whether an output is saved by the machine, or comes back and is saved from here."""
        return name in self.saves or name in self.entries

    @property
    def reads(self) -> str:
        """Say what the machine reads."""
        read: dict[str, Any] = self.sources | self.entries
        there = [read[name].redacted for name in self.tables if name in read]
        sent = [name for name in self.tables if name not in read]
        said = [*there, f"{', '.join(sent)} sent from here"] if sent else there
        return ", ".join(said) or "–"


@dataclasses.dataclass(frozen=True)
class Planner:
    """Plans nodes.

    Attributes:
        catalog: where the datasets are.
        settings: `cloudtrain.yml`.
        generator: knows the templates.
        project: the project's folder.
        package: the project's own package, whose code goes along with its functions.
    """

    catalog: CatalogProtocol[Any, Any]
    settings: Settings
    generator: TrainingScriptGenerator
    project: Path
    package: str | None = None

    def plan(self, nodes: Iterable[Node]) -> list[NodePlan]:
        """Plan each node; no network is asked."""
        plans = [self._plan(node) for node in nodes]
        outputs = {name for plan in plans for name in plan.node.outputs}
        for plan in plans:
            plan.made = frozenset(outputs & set(plan.tables))
        for name in {plan.group: None for plan in plans if plan.group is not None}:
            _check_group([plan for plan in plans if plan.group == name])
        return plans

    @functools.cached_property
    def _codes(self) -> Codes:
        return Codes(self.package)

    def _plan(self, node: Node) -> NodePlan:
        inputs = training_inputs(node)
        if inputs is None and not self.settings.names_node(node.name, node.tags, node.namespace):
            return NodePlan(node)
        settings = self.settings.for_node(node.name, node.tags, node.namespace)
        plan = NodePlan(node, self.settings.backend, inputs, settings=settings, project=self.project, codes=self._codes)
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
        if isinstance(plan.volume, DirectoryVolume) and not plan.volume.is_writable():
            plan.problems.append(
                f"the volume {plan.volume.name} cannot be written to, and jobs are kept there. Make it a directory of yours, or name "
                "another one: volume: {path: …} in cloudtrain.yml."
            )
        for name in plan.tables:
            dataset = self.catalog.get(name)
            source = dataset_source(dataset)
            if isinstance(source, VolumeSource):
                self._on_volume(plan, name, source, dataset_volume(dataset))
            elif source is not None:
                plan.sources[name] = source
        if inputs is not None:
            self._read_parameters(plan, inputs)
        else:
            self._read_function(plan)
        return plan

    def _on_volume(self, plan: NodePlan, name: str, source: VolumeSource, volume: Volume) -> None:
        """Take in a table that is a key: a machine reads it where it has that volume."""
        here = isinstance(volume, DirectoryVolume)
        if plan.where == "local":
            # What is on another volume is brought here by the dataset itself, and sent along.
            first = not any(isinstance(other, VolumeSource) for other in plan.sources.values())
            if here and (first or same_volume(volume, plan.volume)):
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

    def _read_function(self, plan: NodePlan) -> None:
        """Take in a user's own function: whether a machine can call it, and which outputs it saves there."""
        node = plan.node
        reason = reason_against(node.func)
        if reason is not None:
            plan.problems.append(f"it cannot go to a machine: {reason}")
        plan.problems += self._requirement_problems(plan)
        for name in node.outputs:
            if is_read_only(self.catalog.get(name)):
                plan.problems.append(f"its output `{name}` is a URL, which is read only. Give the entry a dataset_key.")
        plan.saves = {name: saved for name in node.outputs if (saved := self._saved_there(plan, name)) is not None}
        for name in [*plan.tables, *node.outputs]:
            ambient = plan.where == "local"
            entry = None if name in plan.sources else remote_entry(name, self.catalog.get(name), ambient=ambient)
            if entry is not None:
                plan.entries[name] = entry

    def _requirement_problems(self, plan: NodePlan) -> Iterator[str]:
        """Say what no machine could install of what the project asks for; a function's own `requirements` are checked by its settings."""
        if plan.settings is None or plan.settings.requirements:
            return
        try:
            lines = project_requirements(self.project)
        except ConfigError as error:
            yield error.message
            return
        if plan.where == "runpod" and plan.settings.install:
            for line in lines:
                if is_path(line):
                    yield (
                        f"the project requires {line}, a place on this computer, which no pod has. Give it by URL; or say by "
                        "`requirements` in cloudtrain.yml what the node needs: a package of yours "
                        "that is installed with pip install -e travels by itself."
                    )

    def _saved_there(self, plan: NodePlan, name: str) -> tuple[VolumeSource, dict[str, Any]] | None:
        """Give where a machine saves an output itself: a key on the volume that it has; None where the output comes back."""
        dataset = self.catalog.get(name)
        if not isinstance(dataset, CloudDataset) or not isinstance(dataset.source, VolumeSource) or plan.volume is None:
            return None
        reaches = plan.volume.mounted and same_volume(dataset.volume, plan.volume)
        return (dataset.source, dataset.save_args) if reaches and is_json(dataset.save_args) else None

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


# What the nodes of a group may say each for itself; everything else is of their machine.
_OF_EACH_NODE = {"requirements", "upload_warn_mb", "checkpoint_every_s", "checkpoint_every_rounds"}


def _check_group(plans: list[NodePlan]) -> None:
    """Add what is wrong with nodes that are to share a machine to the plan of each."""
    first = plans[0]
    if first.where == "runpod" and first.volume is not None and not first.volume.mounted:
        for plan in plans:
            plan.problems.append(f"`group: {plan.group}` needs a network volume or this computer, and {first.volume.name} is a bucket.")
    for plan in plans[1:]:
        ours, theirs = (one.settings.model_dump(exclude=_OF_EACH_NODE) if one.settings is not None else {} for one in (first, plan))
        other = next((key for key in ours if ours[key] != theirs.get(key)), None)
        if other is not None:
            plan.problems.append(
                f"`group: {plan.group}` is one machine, and {plan.node.name} wants `{other}: {theirs[other]}` where {first.node.name} has "
                f"{ours[other]}. Give them the same in cloudtrain.yml, or another group."
            )
        elif plan.volume != first.volume:
            plan.problems.append(
                f"`group: {plan.group}` is one machine, and its nodes read from two volumes. Give them another group each."
            )


def where_parameters_stand(name: str) -> str:
    """Name the place of a node's parameters as a user knows it."""
    return f"`{name.removeprefix('params:')}` in parameters.yml"
