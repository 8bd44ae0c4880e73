"""A node that calls a user's function on a machine, before the run: whether a machine can import it, and what it saves there."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from kedro_cloudtrain.errors import CloudTrainError, ConfigError, SourceError
from kedro_cloudtrain.jobs.importable import reason_against
from kedro_cloudtrain.jobs.requirements import is_index, is_path, needs_own_index, own_requirements, project_requirements
from kedro_cloudtrain.jobs.spec import is_parameter
from kedro_cloudtrain.planning.entries import local_entry, reason_not_to_send, remote_entry, saves_lazily
from kedro_cloudtrain.planning.outputs import saved_on_volume
from kedro_cloudtrain.planning.plan import MachinePlan
from kedro_cloudtrain.planning.validators import validator_of
from kedro_cloudtrain.running.function import FunctionOrder
from kedro_cloudtrain.running.order import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kedro.io import CatalogProtocol
    from kedro.pipeline.node import Node
    from pydantic import JsonValue

    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.datasets import CloudDataset
    from kedro_cloudtrain.jobs.code import Codes
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.planning.reading import Reading
    from kedro_cloudtrain.storage.local_entry import LocalEntry
    from kedro_cloudtrain.storage.remote_entry import RemoteEntry
    from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionPlan(MachinePlan):
    """A node of a user's own that goes to a machine.

    Attributes:
        project: the project's folder.
        codes: the code that travels with its functions.
        saves: the outputs that the machine saves on the volume itself: where, and with which arguments of the writer.
        local_entries: the catalog entries on this computer whose files are sent, for the machine to load by the entries' own classes.
        validators: the validators of what the machine loads and saves itself.
        lazy: the outputs whose datasets save a dict of callables by calling them: the machine does that.
    """

    project: Path
    codes: Codes
    saves: Mapping[str, tuple[VolumeSource, dict[str, Any]]] = dataclasses.field(default_factory=dict)
    local_entries: Mapping[str, LocalEntry] = dataclasses.field(default_factory=dict)
    validators: Mapping[str, JsonValue] = dataclasses.field(default_factory=dict)
    lazy: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        """What kind of node it is."""
        return "function"

    @property
    def kind(self) -> str:
        """The function's name."""
        return getattr(self.node.func, "__name__", "")

    @property
    def tables(self) -> list[str]:
        """The datasets that the function is given, without the parameters."""
        return table_names(self.node)

    def machine_input(self, name: str) -> UrlSource | VolumeSource | RemoteEntry | LocalEntry | None:
        """Return an input that the machine loads itself; None for one whose value is sent."""
        return super().machine_input(name) or self.local_entries.get(name)

    def saved_by_machine(self, name: str) -> bool:
        """Return whether the machine saves an output itself, instead of the client through the catalog."""
        return name in self.saves or name in self.entries

    def requirements(self, *, gpu: bool) -> tuple[str, ...]:  # noqa: ARG002  # the same for both
        """Return what a pod would install for the node."""
        read = {name: source for name in self.node.inputs if (source := self.machine_input(name)) is not None}
        return self._order(read).requirements

    def imports(self) -> frozenset[str]:
        """Return the installed packages without which the machine could not import the function, by the names of their modules."""
        return self.codes.needed(self.node.func.__module__)

    def order(self, inputs: Mapping[str, Any], generator: TrainingScriptGenerator) -> FunctionOrder:  # noqa: ARG002  # no template to check
        """Return the call that the node asks for.

        Args:
            inputs: the value of each of the node's inputs, or the source that the machine reads.
            generator: knows the templates.
        """
        return self._order(inputs)

    def code_problems(self) -> Iterator[str]:
        """Report why the code that the machine needs cannot travel."""
        if reason_against(self.node.func) is not None:
            return
        try:
            order = self._order({name: source for name in self.node.inputs if (source := self.machine_input(name)) is not None})
            order.code(Inputs())
        except ConfigError as error:
            yield error.message

    def _order(self, inputs: Mapping[str, Any]) -> FunctionOrder:
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
            validators=self.validators,
            lazy=self.lazy,
            to_pod=self.where == "runpod",
            settings=self.settings,
        )

    def explain(self, error: CloudTrainError) -> CloudTrainError:
        """Return a job's error with the node's name, and where in the project to correct its cause."""
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
        codes: the code that travels with its functions.
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
    others = [name for name in plan.tables if name not in plan.sources and name not in entries]
    local_entries = {name: local for name in others if (local := local_entry(name, catalog.get(name))) is not None}
    for name in others:
        reason = reason_not_to_send(catalog.get(name)) if name not in local_entries else None
        if reason is not None:
            problems.append(
                f"its input `{name}` cannot be sent: {reason}. Save the data that the node needs to another entry first, such as a "
                "CloudDataset, or take the node out of `nodes` in cloudtrain.yml."
            )
    lazy = tuple(name for name in node.outputs if name not in entries and saves_lazily(catalog.get(name)))
    places = {name: source for name in node.outputs if (source := saved_on_volume(plan, catalog.get(name))) is not None}
    saves = {name: (source, cast("CloudDataset", catalog.get(name)).save_args) for name, source in places.items()}
    loaded = [name for name in plan.tables if name in {**plan.sources, **entries, **local_entries}]
    saved = [name for name in node.outputs if name in {**saves, **entries}]
    validators = {
        name: validator
        for names, mode in ((loaded, "load"), (saved, "save"))
        for name in names
        if (validator := validator_of(catalog, name, mode)) is not None
    }
    planned = dataclasses.replace(
        plan, problems=tuple(problems), entries=entries, local_entries=local_entries, lazy=lazy, validators=validators, saves=saves
    )
    return dataclasses.replace(planned, problems=(*problems, *planned.code_problems()))


def _requirement_problems(plan: FunctionPlan) -> Iterator[str]:
    """Name what no machine could install of the node's requirements, or of the project's."""
    try:
        given = plan.settings.requirements
        lines = plan.settings.index_lines + (own_requirements(plan.project, given) if given else project_requirements(plan.project))
    except ConfigError as error:
        yield error.message
        return
    if plan.where == "runpod" and plan.settings.install:
        for line in lines:
            if needs_own_index(line) and not any(map(is_index, lines)):
                yield (
                    f"{line} is a local version, which no public index has. Name its index in requirements.txt (--extra-index-url …), or "
                    "ask for the version without what follows the `+`."
                )
            if is_path(line):
                yield (
                    f"the project requires {line}, a path on this computer, which no pod has. Give it by URL; or list what the node needs "
                    "under `requirements` in cloudtrain.yml: a package of yours that is installed with pip install -e travels by itself."
                )
