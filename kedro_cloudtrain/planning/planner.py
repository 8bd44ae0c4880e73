"""Plan the nodes of a pipeline: where each goes, what it reads, and what is wrong with it, without network access."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.code import Codes
from kedro_cloudtrain.planning.catalog import unmade_entries, without_transcoding
from kedro_cloudtrain.planning.function import plan_function, table_names
from kedro_cloudtrain.planning.machines import machines_problems
from kedro_cloudtrain.planning.outputs import output_problems
from kedro_cloudtrain.planning.plan import MachinePlan, NodePlan
from kedro_cloudtrain.planning.prediction import PredictionPlan, is_prediction, plan_prediction
from kedro_cloudtrain.planning.reading import Reading
from kedro_cloudtrain.planning.recipes import is_recipe, kinds_of_outputs, read_tables
from kedro_cloudtrain.planning.selectors import goes_to_machine
from kedro_cloudtrain.planning.training import is_training, plan_training
from kedro_cloudtrain.planning.validators import validator_of, validator_problems
from kedro_cloudtrain.running.group_environment import PER_NODE_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from kedro.io import CatalogProtocol
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import Settings
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.planning.training import TrainingPlan


@dataclasses.dataclass(frozen=True)
class Planner:
    """Plans nodes.

    Attributes:
        catalog: holds the datasets.
        settings: `cloudtrain.yml`.
        generator: knows the templates.
        project: the project's folder.
        package: the project's own package, whose code travels with its functions.
    """

    catalog: CatalogProtocol[Any, Any]
    settings: Settings
    generator: TrainingScriptGenerator
    project: Path
    package: str | None = None

    def plan(self, nodes: Iterable[Node]) -> list[NodePlan]:
        """Plan each node, without network access."""
        nodes = list(nodes)
        self.unmade.update(unmade_entries(self.catalog, [name for node in nodes for name in (*node.inputs, *node.outputs)]))
        outputs = frozenset(without_transcoding(name) for node in nodes for name in node.outputs)
        plans = [self._plan(node, outputs) for node in nodes]
        plans = [plan.with_trained(plans) if isinstance(plan, PredictionPlan) else plan for plan in plans]
        machines = [plan for plan in plans if isinstance(plan, MachinePlan)]
        detach = self.settings.run.detach
        more = {
            plan.node: [
                *_keeping_problems(plan),
                *_preparing_problems(plan, detach=detach),
                *machines_problems(plan, detach=detach),
            ]
            for plan in machines
        }
        shared = [plan for plan in machines if plan.group is not None]
        for name in dict.fromkeys(plan.group for plan in shared):
            for plan, problems in _group_problems([plan for plan in shared if plan.group == name]):
                more.setdefault(plan.node, []).extend(problems)
        return [plan.with_problems(*more.get(plan.node, ())) for plan in plans]

    @functools.cached_property
    def unmade(self) -> dict[str, str]:
        """Why entries of the planned nodes cannot be made, by entry."""
        return {}

    @functools.cached_property
    def codes(self) -> Codes:
        """The code of the project's functions."""
        return Codes(self.package, self.project)

    def _plan(self, node: Node, outputs: frozenset[str]) -> NodePlan:
        ordinary = not goes_to_machine(self.settings, node)
        where = NodePlan.where if ordinary else self.settings.backend
        made = frozenset(name for name in node.inputs if without_transcoding(name) in outputs)
        unmade = [self.unmade[name] for name in dict.fromkeys([*node.inputs, *node.outputs]) if name in self.unmade]
        if unmade:
            return NodePlan(node, tuple(unmade), where, made)
        if ordinary:
            return NodePlan(node, (*output_problems(node, self.catalog), *validator_problems(node, self.catalog)), where, made)
        try:
            volume = self.settings.volume.make(self.project)
        except ConfigError as error:
            return NodePlan(node, (error.message,), where, made)
        tables = read_tables(node)
        reading = Reading(where, volume, made & set(table_names(node)))
        reading.problems += output_problems(node, self.catalog, kinds_of_outputs(node))
        reading.problems += validator_problems(node, self.catalog)
        for name in tables:
            dataset = self.catalog.get(name)
            # A recipe has none of the project's code: what validates its table runs in this process.
            if not is_recipe(node) or validator_of(self.catalog, name, "load") is None:
                reading.add(name, dataset)
            elif where != "local":
                reading.problems.append(
                    f"`{name}` has a validator, which would have to run on the machine that reads it, and a recipe has none of the "
                    "project's code. Validate it in a function node before this one, which may go to a machine as well, and let this one "
                    "read what that node returns."
                )
        settings = self.settings.for_node(node.name, node.tags, node.namespace)
        if is_training(node):
            plan = plan_training(node, reading, settings, self.catalog, self.generator, self.project)
            return plan.with_problems(*self._detached(plan))
        if is_prediction(node):
            return plan_prediction(node, reading, settings, self.catalog, self.project)
        return plan_function(node, reading, settings, self.catalog, self.project, self.codes)

    def _detached(self, plan: TrainingPlan) -> list[str]:
        """Return why a node with many jobs cannot be left running: this client starts each job once those before it are done."""
        if not plan.has_many_jobs or not self.settings.run.detach:
            return []
        if plan.partitioned is not None:
            return ["`run.detach` leaves jobs running, and `partitioned` needs its client until its last training: run it without."]
        return [
            "`run.detach` leaves jobs running, and a search needs its client until its last trial: run it without, or take `search` out."
        ]


def _keeping_problems(plan: MachinePlan) -> Iterator[str]:
    """Yield why a node's machine cannot be kept for more jobs."""
    keep_s, timeout_s = plan.settings.keep_s, plan.settings.timeout_s
    if keep_s > timeout_s:
        yield (
            f"`keep_s: {keep_s:g}` is more than `timeout_s: {timeout_s:g}`, after which the machine ends whatever it does. Lower keep_s, "
            "or raise timeout_s, in cloudtrain.yml."
        )
    if keep_s and plan.where == "runpod" and not plan.volume.mounted:
        yield (
            f"`keep_s: {keep_s:g}` needs a network volume or this computer, and {plan.volume.name} is a bucket, of which a pod reads only "
            "files that were named when it started. Leave keep_s out in cloudtrain.yml."
        )


def _preparing_problems(plan: MachinePlan, *, detach: bool) -> Iterator[str]:
    """Yield why no CPU pod can make a node's environment."""
    if not plan.settings.prepare or plan.settings.gpu == "none" or plan.where != "runpod":
        return
    if not plan.volume.mounted:
        yield (
            f"`prepare: true` keeps the environment on a network volume, and {plan.volume.name} is a bucket: each pod makes its own. Leave "
            "prepare out in cloudtrain.yml."
        )
    elif detach:
        yield (
            "`prepare: true` waits for a CPU pod before it asks for one with a GPU, and `run.detach` waits for nothing. Run it without "
            "`run.detach` once, which leaves the environment on the volume, or take `prepare` out in cloudtrain.yml."
        )


def _group_problems(plans: Sequence[MachinePlan]) -> Iterator[tuple[MachinePlan, list[str]]]:
    """Report why nodes cannot share a machine, by the plan of each."""
    first = plans[0]
    for plan in plans:
        problems = []
        if first.where == "runpod" and not first.volume.mounted:
            problems.append(f"`group: {plan.group}` needs a network volume or this computer, and {first.volume.name} is a bucket.")
        first_settings, settings = (shared.settings.model_dump(exclude=set(PER_NODE_SETTINGS)) for shared in (first, plan))
        other = next((key for key in first_settings if first_settings[key] != settings[key]), None)
        if other is not None:
            problems.append(
                f"`group: {plan.group}` is one machine, and {plan.node.name} wants `{other}: {settings[other]}` where {first.node.name} "
                f"has {first_settings[other]}. Give them the same in cloudtrain.yml, or another group."
            )
        elif plan.volume != first.volume:
            problems.append(f"`group: {plan.group}` is one machine, and its nodes read from two volumes. Give each its own group.")
        yield plan, problems
