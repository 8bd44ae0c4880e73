"""What is wrong with a node that several machines are to share."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.pieces_checks import host_memory_gb
from kedro_cloudtrain.jobs.sharing import SHARED_BY_PROCESSES, sharing_problems
from kedro_cloudtrain.planning.plan import MachinePlan
from kedro_cloudtrain.planning.prediction import PredictionPlan
from kedro_cloudtrain.planning.training import TrainingPlan
from kedro_cloudtrain.pod.cores import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_cloudtrain.planning.plan import NodePlan


# ClusterCompute.podCount of RunPod's REST API v2.
_MOST_MACHINES = 250
# What a process of a cluster on this computer takes before it has read any row: Dask, pandas and XGBoost, measured by ru_maxrss.
_PROCESS_GB = 0.23


def machines_problems(plan: MachinePlan, *, detach: bool = False) -> Iterator[str]:
    """Yield why several machines cannot share a node's work.

    Args:
        plan: the node.
        detach: whether the run leaves its jobs running.
    """
    machines = plan.settings.machines
    if machines == 1:
        return
    one = "set machines: 1 for the node in cloudtrain.yml"
    if plan.where != "runpod" and machines * _PROCESS_GB > (memory_gb := host_memory_gb()):
        yield (
            f"`machines` is {machines:,}: here they are processes, which take {machines * _PROCESS_GB:,.1f} GB before they have read a "
            f"row, and this computer has {memory_gb:,.1f} GB. Lower it in cloudtrain.yml."
        )
    if isinstance(plan, PredictionPlan) and (kind := _other_format(plan)) is not None:
        yield (
            f"`machines` is {machines}, and its table `{plan.inputs.data}` is {kind}, whose rows one machine has to count: {one}, or "
            "write the table as parquet."
        )
    elif isinstance(plan, TrainingPlan) and plan.parameters is not None and plan.kind not in SHARED_BY_PROCESSES:
        yield f"`machines` is {machines}, and {plan.kind} trains on one machine: {one}, or take {' or '.join(SHARED_BY_PROCESSES)}."
    elif isinstance(plan, TrainingPlan) and plan.parameters is not None and plan.parameters.in_pieces:
        yield f"`machines` is {machines}, and a table in pieces is fitted on one machine: {one}, or take `in_pieces` out of the parameters."
    elif plan.where == "runpod":
        yield from _cluster_problems(plan, one, detach=detach)
    elif isinstance(plan, TrainingPlan) and plan.parameters is not None:
        yield from sharing_problems(plan.parameters, machines, local=True)
    elif importlib.util.find_spec("distributed") is None:
        yield (
            f"`machines` is {machines}, for which distributed is not installed in this environment: "
            f'pip install "kedro-cloudtrain[dask]", or {one}.'
        )


def machines_notes(plan: NodePlan) -> Iterator[str]:
    """Yield that a node has more processes than this computer has cores."""
    if not isinstance(plan, MachinePlan) or plan.where == "runpod" or plan.settings.machines == 1:
        return
    if plan.settings.machines > (cores := usable_cores()):
        yield f"`machines` is {plan.settings.machines}, and this computer has {cores:g} core{'' if cores == 1 else 's'}, which they share"


def at_once_notes(plan: NodePlan, jobs: int | None, max_pods: int) -> Iterator[str]:
    """Yield that fewer jobs of a node run at once than it asks for.

    Args:
        plan: the node.
        jobs: how many it has in all; None where that is not known.
        max_pods: how many jobs run at once.
    """
    if min(plan.jobs_at_once, jobs or plan.jobs_at_once) > max_pods:
        search = plan.search
        asked = f"`search.parallel` is {search.parallel}" if search is not None else f"`partitioned.max_pods` is {plan.jobs_at_once}"
        yield f"{asked}, but only {max_pods} run{'s' * (max_pods == 1)} at once: raise `run.max_pods`"


def _other_format(plan: PredictionPlan) -> str | None:
    """Return what a prediction's table is, if it is not parquet; what is sent to the machine is."""
    source = plan.sources.get(plan.inputs.data)
    return source.file_format if source is not None and source.file_format != "parquet" else None


def _cluster_problems(plan: MachinePlan, one: str, *, detach: bool) -> Iterator[str]:
    """Yield why no cluster of RunPod can do a node's work."""
    settings = plan.settings
    if settings.machines > _MOST_MACHINES:
        yield f"`machines` is {settings.machines}, and a cluster of RunPod has 2 to {_MOST_MACHINES}. Lower it in cloudtrain.yml."
    several = f"`machines` is {settings.machines}, and"
    if not plan.volume.mounted:
        yield f"{several} the machines of a cluster find one another by a network volume, where {plan.volume.name} is a bucket: {one}."
    if settings.gpu == "none":
        yield f"{several} RunPod's clusters have GPUs, where `gpu` is none: name one in `gpu`, whose machines' cores do the work, or {one}."
    if isinstance(plan, TrainingPlan) and plan.has_many_jobs:
        yield f"{several} the jobs of a search, or of a partitioned node, have one machine each on RunPod: {one}."
    elif plan.group is not None or settings.keep_s:
        name = f"group: {plan.group}" if plan.group is not None else f"keep_s: {settings.keep_s:g}"
        yield f"{several} a cluster runs one job: {one}, or take `{name}` out."
    if detach:
        yield (
            f"{several} a cluster's machines cannot end it by their own keys, so that it must not be left alone: run it without "
            f"`run.detach`, or {one}."
        )
    if isinstance(plan, TrainingPlan) and plan.parameters is not None:
        yield from sharing_problems(plan.parameters, settings.machines)
