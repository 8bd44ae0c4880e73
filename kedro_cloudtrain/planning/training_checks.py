"""Check a training node's parameters against its outputs, settings and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.datasets import ModelDataset, ModelsDataset
from kedro_cloudtrain.jobs.pieces_checks import source_problems
from kedro_cloudtrain.jobs.preflight import problems_here, problems_on_pod, without_partitions, without_search
from kedro_cloudtrain.planning.training_outputs import output_kinds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro.io import CatalogProtocol

    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.planning.training import TrainingPlan


def many_jobs_problems(plan: TrainingPlan, parameters: TrainingParameters) -> Iterator[str]:
    """Yield where a node's outputs and settings do not fit its search or `partitioned`, or the lack of them."""
    kinds = output_kinds(plan.node)
    if (problem := without_search(parameters, kinds)) is not None:
        yield problem
    yield from without_partitions(parameters, kinds, validation_table=plan.inputs.validation is not None)
    jobs = "trials" if parameters.search is not None else "trainings" if parameters.partitioned is not None else None
    if jobs is not None and plan.settings.group is not None:
        yield (
            f"its {jobs} have machines of their own, and `group: {plan.settings.group}` puts the node on another: take it out in "
            "cloudtrain.yml."
        )


def model_problems(plan: TrainingPlan, parameters: TrainingParameters, catalog: CatalogProtocol[Any, Any]) -> Iterator[str]:
    """Yield that a model's dataset saves one model where there are many, or many where there is one."""
    for kind, name in zip(output_kinds(plan.node), plan.node.outputs, strict=True):
        dataset = catalog.get(name) if kind == "model" else None
        if isinstance(dataset, ModelDataset) and parameters.partitioned is not None:
            yield (
                f"its output `{name}` is a ModelDataset, and a partitioned node makes a dict of models: write `type: "
                "kedro_cloudtrain.ModelsDataset` in the entry."
            )
        elif isinstance(dataset, ModelsDataset) and parameters.partitioned is None:
            yield (
                f"its output `{name}` is a ModelsDataset, and the node makes one model: write `type: kedro_cloudtrain.ModelDataset` in the "
                "entry, or add `partitioned` to the parameters."
            )


def pod_problems(plan: TrainingPlan, parameters: TrainingParameters, generator: TrainingScriptGenerator) -> list[str]:
    """Return why a shipped recipe does not train on the machines that its settings ask for."""
    if not generator.is_shipped(parameters.model_type):
        return []
    if plan.where != "runpod":
        return list(problems_here(parameters, plan.settings.gpu_count))
    return list(problems_on_pod(parameters, plan.settings.gpu, plan.settings.gpu_count))


def piece_problems(plan: TrainingPlan, parameters: TrainingParameters) -> Iterator[str]:
    """Yield which of a node's tables cannot be read in pieces, where they are to be."""
    if parameters.in_pieces:
        yield from source_problems((name, plan.sources[name]) for name in plan.inputs.tables if name in plan.sources)
