"""The script of a training node before the run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import TemplateError
from kedro_cloudtrain.jobs.spec import TrainingSpec, source_fields
from kedro_cloudtrain.planning.training_outputs import job_outputs
from kedro_cloudtrain.running.training import sharing_of
from kedro_cloudtrain.storage.sources import SentSource
from kedro_cloudtrain.worker.row_selection import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.planning.training import TrainingPlan


def planned_script(plan: TrainingPlan, parameters: TrainingParameters, generator: TrainingScriptGenerator) -> str:
    """Return the script of a training before the run; a table that is to be sent has no name in it yet.

    Raises:
        TemplateError: the template makes no script.
    """
    tables = {"data": plan.inputs.data, "validation": plan.inputs.validation}
    sources = {kind: source_fields(plan.sources.get(name, SentSource("table"))) for kind, name in tables.items() if name is not None}
    shared = sharing_of(parameters, plan.settings, to_pod=plan.where == "runpod")
    spec = TrainingSpec(name=plan.node.name, parameters=parameters, sources=sources, outputs=job_outputs(plan.node), **shared)
    return generator.render(spec)


def script_problems(plan: TrainingPlan, parameters: TrainingParameters, generator: TrainingScriptGenerator) -> Iterator[str]:
    """Yield why a template of the project's own makes no script, or one that would train each group on all rows."""
    data, partitioned = plan.sources.get(plan.inputs.data), parameters.partitioned
    try:
        script = planned_script(plan, parameters, generator)
        if data is not None and partitioned is not None:
            selecting = dataclasses.replace(data, load_args={**data.load_args, ROWS: {partitioned.label: "a"}})
            if planned_script(dataclasses.replace(plan, sources={plan.inputs.data: selecting}), parameters, generator) == script:
                yield (
                    f"The template `{parameters.model_type}` makes no use of the source's `load_args`, by which a machine reads the rows "
                    "of a group: pass them to job.read(…)."
                )
    except TemplateError as error:
        yield error.message
