"""What is wrong with a node that several machines are to share."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.sharing import SHARED_BY_PROCESSES, sharing_problems
from kedro_cloudtrain.planning.prediction import PredictionPlan
from kedro_cloudtrain.planning.training import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_cloudtrain.planning.plan import MachinePlan


def machines_problems(plan: MachinePlan) -> Iterator[str]:
    """Yield why several machines cannot share a node's work."""
    machines = plan.settings.machines
    if machines == 1:
        return
    one = "set machines: 1 for the node in cloudtrain.yml"
    if plan.where == "runpod":
        yield f"`machines` is {machines}, and on RunPod a node has one machine: {one}, and gpu_count for more GPUs on it."
    elif isinstance(plan, PredictionPlan):
        yield f"`machines` is {machines}, and a prediction goes through its table in pieces on one machine: {one}."
    elif isinstance(plan, TrainingPlan) and plan.parameters is not None and plan.kind not in SHARED_BY_PROCESSES:
        yield f"`machines` is {machines}, and {plan.kind} trains on one machine: {one}, or take {' or '.join(SHARED_BY_PROCESSES)}."
    elif isinstance(plan, TrainingPlan) and plan.parameters is not None and plan.parameters.in_pieces:
        yield f"`machines` is {machines}, and a table in pieces is fitted on one machine: {one}, or take `in_pieces` out of the parameters."
    elif isinstance(plan, TrainingPlan) and plan.parameters is not None:
        yield from sharing_problems(plan.parameters, machines, local=True)
    elif importlib.util.find_spec("distributed") is None:
        yield (
            f"`machines` is {machines}, for which distributed is not installed in this environment: "
            f'pip install "kedro-cloudtrain[dask]", or {one}.'
        )
