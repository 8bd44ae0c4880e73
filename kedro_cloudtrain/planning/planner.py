"""Plan the nodes of a pipeline: where each goes, what it reads, and what is wrong with it; no network is asked."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.code import Codes
from kedro_cloudtrain.planning.entries import dataset_source, dataset_volume
from kedro_cloudtrain.planning.function import plan_function, table_names
from kedro_cloudtrain.planning.plan import MachinePlan, NodePlan
from kedro_cloudtrain.planning.selectors import goes_to_machine
from kedro_cloudtrain.planning.training import TrainingInputs, is_training, plan_training
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import VolumeSource
from kedro_cloudtrain.storage.volumes import same_volume

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from kedro.io import CatalogProtocol
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import Settings
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.storage.sources import UrlSource
    from kedro_cloudtrain.storage.volumes import Volume

# What each node of a group may set for itself; everything else is set for their machine.
_PER_NODE_SETTINGS = {"requirements", "upload_warn_mb", "checkpoint_every_s", "checkpoint_every_rounds"}


@dataclasses.dataclass(frozen=True)
class Planner:
    """Plans nodes.

    Attributes:
        catalog: holds the datasets.
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
        nodes = list(nodes)
        outputs = frozenset(name for node in nodes for name in node.outputs)
        plans = [self._plan(node, outputs) for node in nodes]
        shared = [plan for plan in plans if isinstance(plan, MachinePlan) and plan.group is not None]
        more = {
            plan.node: problem
            for name in dict.fromkeys(plan.group for plan in shared)
            for plan, problem in _group_problems([plan for plan in shared if plan.group == name])
        }
        return [plan.with_problems(*more.get(plan.node, ())) for plan in plans]

    @functools.cached_property
    def _codes(self) -> Codes:
        return Codes(self.package)

    def _plan(self, node: Node, outputs: frozenset[str]) -> NodePlan:
        if not goes_to_machine(self.settings, node):
            return NodePlan(node)
        where = self.settings.backend
        try:
            volume = self.settings.volume.make(self.project)
        except ConfigError as error:
            return NodePlan(node, (error.message,), where)
        tables = TrainingInputs.of(node).tables if is_training(node) else table_names(node)
        reading = _Reading(where, volume, list(_volume_problems(where, volume)))
        for name in tables:
            reading.add(name, self.catalog.get(name))
        shared = {
            "node": node,
            "where": where,
            "problems": tuple(reading.problems),
            "settings": self.settings.for_node(node.name, node.tags, node.namespace),
            "volume": reading.volume,
            "sources": reading.sources,
            "made": outputs & set(tables),
        }
        if is_training(node):
            return plan_training(shared, node, self.catalog, self.generator)
        return plan_function(shared, node, self.catalog, self.project, self._codes)


@dataclasses.dataclass
class _Reading:
    """What a machine reads itself, gathered table by table.

    Attributes:
        where: the backend's name.
        volume: the one that the machine has; on this computer, the one of the first table that is a key.
        problems: what is wrong, a sentence each.
        sources: the tables.
    """

    where: str
    volume: Volume
    problems: list[str]
    sources: dict[str, UrlSource | VolumeSource] = dataclasses.field(default_factory=dict)

    def add(self, name: str, dataset: Any) -> None:
        """Add a table, if the machine can read it itself."""
        source = dataset_source(dataset)
        if not isinstance(source, VolumeSource):
            if source is not None:
                self.sources[name] = source
        elif self.where == "local":
            self._add_local(name, source, dataset_volume(dataset))
        else:
            self.sources[name] = source
            self.problems += _mount_problems(name, source, dataset_volume(dataset), self.volume)

    def _add_local(self, name: str, source: VolumeSource, volume: Volume) -> None:
        # A table on another volume is loaded by its dataset, in Kedro's process, and sent along.
        first = not any(isinstance(other, VolumeSource) for other in self.sources.values())
        if isinstance(volume, DirectoryVolume) and (first or same_volume(volume, self.volume)):
            self.sources[name], self.volume = source, volume


def _volume_problems(where: str, volume: Volume) -> Iterator[str]:
    if not isinstance(volume, DirectoryVolume):
        return
    if where == "runpod":
        yield (
            f"backend runpod needs a network volume, and {volume.name} is a directory on this computer: "
            "volume: {id: …, data_center: …} in the environment's cloudtrain.yml."
        )
    if not volume.is_writable():
        yield (
            f"the volume {volume.name} cannot be written to, and jobs are kept there. Make it a directory of yours, or name "
            "another one: volume: {path: …} in cloudtrain.yml."
        )


def _mount_problems(name: str, source: VolumeSource, volume: Volume, mounted: Volume) -> Iterator[str]:
    """Report why a pod cannot read a table that is a key.

    Args:
        name: the table.
        source: its key.
        volume: the volume that it is on.
        mounted: the volume that the pod has.
    """
    if not mounted.mounted:
        yield (
            f"`{name}` is a key on {volume.name}, and pods without a network volume read URLs alone ({mounted.name} keeps their "
            "jobs). Give the entry a dataset_url, or name a network volume: volume: {id: …, data_center: …} in cloudtrain.yml."
        )
    elif isinstance(volume, DirectoryVolume):
        yield (
            f"`{name}` is on {volume.name}, a directory on this computer, which no pod can read. Give the entry the network volume "
            f"(volume: ${{globals:volume}}), and put the file there: kedro cloudtrain upload {volume.name}/{source.key} {source.key}"
        )
    elif volume != mounted:
        yield f"`{name}` is on the volume {volume.name}, and the pod mounts {mounted.name}: a pod mounts one. Keep it there."


def _group_problems(plans: Sequence[MachinePlan]) -> Iterator[tuple[MachinePlan, list[str]]]:
    """Report why nodes cannot share a machine, by the plan of each."""
    first = plans[0]
    for plan in plans:
        problems = []
        if first.where == "runpod" and not first.volume.mounted:
            problems.append(f"`group: {plan.group}` needs a network volume or this computer, and {first.volume.name} is a bucket.")
        first_settings, settings = (shared.settings.model_dump(exclude=_PER_NODE_SETTINGS) for shared in (first, plan))
        other = next((key for key in first_settings if first_settings[key] != settings[key]), None)
        if other is not None:
            problems.append(
                f"`group: {plan.group}` is one machine, and {plan.node.name} wants `{other}: {settings[other]}` where {first.node.name} "
                f"has {first_settings[other]}. Give them the same in cloudtrain.yml, or another group."
            )
        elif plan.volume != first.volume:
            problems.append(f"`group: {plan.group}` is one machine, and its nodes read from two volumes. Give each its own group.")
        yield plan, problems
