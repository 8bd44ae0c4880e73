"""How many processes of a machine share a fit: one for each of its GPUs, where the library uses no more than one from a process."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.jobs.parameters import library_of, task_of
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.gpus import find_gpu
from kedro_cloudtrain.worker.hyperparameter_devices import Rule, needed_device
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.parquet_copy import unreadable_in_pieces
from kedro_cloudtrain.worker.row_selection import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.jobs.spec import SourceFields, TrainingSpec

# CatBoost, and Keras on JAX, use all GPUs of a machine from a single process.
SHARED_BY_PROCESSES = ("xgboost", "lightgbm")
# What a library has in a single process alone.
_ALONE: dict[str, tuple[Rule, ...]] = {
    # Dask gives each process the bins of its rows, and `approx` makes its own anew each round.
    "xgboost": (Rule(("tree_method",), refused=("approx",), instead="use hist"),),
    # LightGBM's parameters: "tree_learner", "linear_tree" (for `serial` alone). By features, each process would need all rows.
    "lightgbm": (
        Rule(
            ("tree_learner", "tree_learner_type", "tree", "tree_type"),
            refused=("serial", "feature", "feature_parallel"),
            instead="use data or voting",
        ),
        Rule(("linear_tree", "linear_trees"), refused=(True,)),
    ),
}


def processes_on_pod(parameters: TrainingParameters, gpu: str | Sequence[str], gpu_count: int) -> int:
    """Return how many processes of a pod share the fit.

    Args:
        parameters: as `parameters.yml` has them.
        gpu: `auto`, `none`, or GPU types.
        gpu_count: how many GPUs.
    """
    library, task = library_of(parameters.model_type), task_of(parameters.model_type)
    # `auto` sends LightGBM to a CPU pod, whose cores one process uses as well; and one process fits a table in pieces.
    if (
        parameters.in_pieces
        or task is None
        or library not in SHARED_BY_PROCESSES
        or gpu == "none"
        or (gpu == "auto" and library == "lightgbm")
    ):
        return 1
    needed = needed_device(library, parameters.hyperparameters, task)
    return 1 if needed is not None and needed[0] == "cpu" else gpu_count


def processes_here(parameters: TrainingParameters, gpu_count: int, machines: int = 1) -> int:
    """Return how many processes of this computer share the fit.

    Args:
        parameters: as `parameters.yml` has them.
        gpu_count: how many GPUs are to share it, if this computer has them and the library uses them.
        machines: how many machines are to: here they are processes.
    """
    library = library_of(parameters.model_type)
    if parameters.in_pieces or task_of(parameters.model_type) is None or library not in SHARED_BY_PROCESSES:
        return 1
    wanted = 1 if library == "lightgbm" else processes_on_pod(parameters, "auto", gpu_count)
    gpu = find_gpu() if wanted > machines else None
    return wanted if gpu is not None and gpu.count >= wanted else machines


def reading_of(spec: TrainingSpec, *, shipped: bool) -> dict[str, Any]:
    """Return how a training's table is read, as its template takes it, with the class that its script uses.

    Args:
        spec: the training.
        shipped: whether the template is a shipped one: a project's own may be the copy of one that reads the table in one process.
    """
    in_pieces, reads_own = bool(spec.parameters.in_pieces), shipped and each_reads_its_own(spec)
    job_class = "SharedTraining" if reads_own else "TrainingInPieces" if in_pieces else "TrainingJob"
    return {"in_pieces": in_pieces, "reads_own": reads_own, "job_class": job_class}


def each_reads_its_own(spec: TrainingSpec) -> bool:
    """Return whether each process of a fit reads its own part of the table.

    On one machine the job's own process reads it, and hands out the rows. It does so on several, too, for what all rows at once are needed:
    folds, validation rows that are a table of their own, the rows of one group, and formats of which only a whole file can be read.
    """
    source = spec.sources["data"]
    load_args = source.get("load_args")
    args = load_args if isinstance(load_args, dict) else {}
    return (
        min(spec.machines, spec.workers) > 1
        and spec.parameters.validation.folds is None
        and "validation" not in spec.sources
        and ROWS not in args
        and unreadable_in_pieces(_format_of(source), args) is None
    )


def _format_of(source: SourceFields) -> str:
    file_format, place = source.get("file_format"), next(str(value) for name, value in source.items() if name.startswith("dataset_"))
    try:
        return Location(place, None if file_format is None else str(file_format)).format
    except InputError:
        return ""  # The job will tell.


def sharing_problems(parameters: TrainingParameters, processes: int, *, local: bool = False) -> Iterator[str]:
    """Yield what is wrong with a fit that several processes share.

    Args:
        parameters: as `parameters.yml` has them.
        processes: how many.
        local: whether they are this computer's, which then needs Dask.
    """
    if processes == 1:
        return
    library, hyperparameters = library_of(parameters.model_type), parameters.hyperparameters
    for rule in _ALONE[library]:
        if (name := rule.broken_by(hyperparameters, "")) is not None:
            yield (
                f"`hyperparameters.{name}` is {hyperparameters[name]!r}, which {library} does not have where {processes} processes share a "
                f"fit, one for each GPU or machine: {rule.instead}, or set gpu_count: 1 and machines: 1 for the node in cloudtrain.yml."
            )
    missing = [name for name in ("dask", "distributed") if importlib.util.find_spec(name) is None] if local else []
    if missing:
        yield (
            f"{processes} processes are to share the fit, for which {missing[0]} is not installed in this environment: "
            'pip install "kedro-cloudtrain[dask]", or set gpu_count: 1 and machines: 1 for the node in cloudtrain.yml.'
        )
