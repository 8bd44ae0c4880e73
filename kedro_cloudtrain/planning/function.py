"""A node that calls a user's function on a machine, before the run: whether a machine can import it, and what it saves there."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.datasets import CloudDataset
from kedro_cloudtrain.errors import CloudTrainError, ConfigError, SourceError
from kedro_cloudtrain.jobs.importable import reason_against
from kedro_cloudtrain.jobs.requirements import is_path, project_requirements
from kedro_cloudtrain.jobs.spec import is_parameter
from kedro_cloudtrain.planning.entries import remote_entry
from kedro_cloudtrain.planning.plan import MachinePlan
from kedro_cloudtrain.running.function import FunctionOrder
from kedro_cloudtrain.storage.sources import VolumeSource
from kedro_cloudtrain.storage.volumes import same_volume
from kedro_cloudtrain.worker.values import is_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kedro.io import CatalogProtocol
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.code import Codes
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.planning.reading import Reading


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionPlan(MachinePlan):
    """A node of a user's own that goes to a machine.

    Attributes:
        project: the project's folder.
        codes: the code that goes along with its functions.
        saves: the outputs that the machine saves on the volume itself: where, and with which arguments of the writer.
    """

    project: Path
    codes: Codes
    saves: Mapping[str, tuple[VolumeSource, dict[str, Any]]] = dataclasses.field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The function's name."""
        return getattr(self.node.func, "__name__", "")

    @property
    def tables(self) -> list[str]:
        """The datasets that the function is given, without the parameters."""
        return table_names(self.node)

    def saved_by_machine(self, name: str) -> bool:
        """Return whether the machine saves an output itself, instead of the client through the catalog."""
        return name in self.saves or name in self.entries

    def order(self, inputs: Mapping[str, Any], generator: TrainingScriptGenerator) -> FunctionOrder:  # noqa: ARG002  # no template to check
        """Return the call that the node asks for.

        Args:
            inputs: the value of each of the node's inputs, or the source that the machine reads.
            generator: knows the templates.
        """
        node: Any = self.node
        # As the node has them: Kedro's own lists of names have lost which argument is which.
        arguments, returns = node._inputs, node._outputs  # noqa: SLF001
        if not isinstance(arguments, dict):
            arguments = (arguments,) if isinstance(arguments, str) else tuple(arguments or ())
        return FunctionOrder(
            node=node.name,
            function=node.func,
            arguments=arguments,
            argument_values=inputs,
            returns=tuple(returns) if isinstance(returns, list) else returns,
            volume=self.volume,
            project=self.project,
            codes=self.codes,
            saves=self.saves,
            entries=self.entries,
            settings=self.settings,
        )

    def explain(self, error: CloudTrainError) -> CloudTrainError:
        """Return an error of the job with the node's name, and where in the project a user corrects what it is about."""
        if isinstance(error, SourceError) and not (self.sources or self.entries):
            return SourceError(f"{self.node.name}: {error.message}")
        return super().explain(error)


def table_names(node: Node) -> list[str]:
    """Return the inputs of a node that are not parameters, each once."""
    return [name for name in dict.fromkeys(node.inputs) if not is_parameter(name)]


def plan_function(
    node: Node, reading: Reading, settings: NodeSettings, catalog: CatalogProtocol[Any, Any], project: Path, codes: Codes
) -> FunctionPlan:
    """Plan a node that calls a user's function.

    Args:
        node: the node.
        reading: what the machine reads itself.
        settings: what `cloudtrain.yml` sets for the node.
        catalog: holds its datasets.
        project: the project's folder.
        codes: the code that goes along with its functions.
    """
    plan = FunctionPlan(
        node,
        tuple(reading.problems),
        reading.where,
        settings=settings,
        volume=reading.volume,
        sources=reading.sources,
        made=reading.made,
        project=project,
        codes=codes,
    )
    problems = [*plan.problems]
    reason = reason_against(node.func)
    if reason is not None:
        problems.append(f"it cannot go to a machine: {reason}")
    problems += _requirement_problems(plan)
    entries = {
        name: entry
        for name in [*plan.tables, *node.outputs]
        if name not in plan.sources and (entry := remote_entry(name, catalog.get(name), ambient=plan.where == "local")) is not None
    }
    saves = {name: place for name in node.outputs if (place := _saved_on_volume(plan, catalog.get(name))) is not None}
    return dataclasses.replace(plan, problems=tuple(problems), entries=entries, saves=saves)


def _requirement_problems(plan: FunctionPlan) -> Iterator[str]:
    """Name what no machine could install of the project's requirements; a node's own `requirements` were checked with its settings."""
    if plan.settings.requirements:
        return
    try:
        lines = project_requirements(plan.project)
    except ConfigError as error:
        yield error.message
        return
    if plan.where == "runpod" and plan.settings.install:
        for line in lines:
            if is_path(line):
                yield (
                    f"the project requires {line}, a path on this computer, which no pod has. Give it by URL; or list what the node needs "
                    "under `requirements` in cloudtrain.yml: a package of yours that is installed with pip install -e travels by itself."
                )


def _saved_on_volume(plan: FunctionPlan, dataset: Any) -> tuple[VolumeSource, dict[str, Any]] | None:
    """Return where a machine saves an output itself, a key on its volume; None where the output comes back to the client."""
    if not isinstance(dataset, CloudDataset) or not isinstance(dataset.source, VolumeSource):
        return None
    reachable = plan.volume.mounted and same_volume(dataset.volume, plan.volume)
    return (dataset.source, dataset.save_args) if reachable and is_json(dataset.save_args) else None
