"""What is wrong with a training before anything runs, found without a machine, a network or a training library."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ConfigError, TemplateError
from kedro_cloudtrain.jobs.parameters import library_of
from kedro_cloudtrain.jobs.pieces_checks import pieces_problems
from kedro_cloudtrain.jobs.search_checks import of_all, pruner_problems, search_problems
from kedro_cloudtrain.jobs.sharing import processes_here, processes_on_pod, sharing_problems
from kedro_cloudtrain.jobs.spec import TrainingSpec
from kedro_cloudtrain.worker.devices import KERAS_BACKENDS
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.gpus import find_gpu
from kedro_cloudtrain.worker.hyperparameter_conflicts import weight_conflicts
from kedro_cloudtrain.worker.hyperparameter_devices import chosen_device, refused_on
from kedro_cloudtrain.worker.hyperparameters import by_place, check_hyperparameters
from kedro_cloudtrain.worker.roles import SPLITTING
from kedro_cloudtrain.worker.watched_metric import metric_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator


# What Keras's recipes spread a batch over all GPUs by: see worker/blocks.
SPREADING_BACKENDS = ("jax",)


def problems_before(
    parameters: TrainingParameters, generator: TrainingScriptGenerator, *, validation_table: bool = False, local: bool = True
) -> list[str]:
    """Return what is wrong with a training node's parameters, a sentence each.

    Args:
        parameters: as `parameters.yml` has them.
        generator: knows the templates.
        validation_table: whether the node has a table of validation rows.
        local: whether the job will run with this interpreter, which then needs the library.
    """
    try:
        generator.check_model_type(parameters.model_type)
    except TemplateError as error:
        return [error.message]
    if parameters.search is None:
        return _problems_of_fit(parameters, generator, validation_table=validation_table, local=local)

    def check(trial: TrainingParameters) -> list[str]:
        return _problems_of_fit(trial, generator, validation_table=validation_table, local=local)

    return [*search_problems(parameters, parameters.search, check), *_without_rounds(parameters, generator)]


def _problems_of_fit(
    parameters: TrainingParameters, generator: TrainingScriptGenerator, *, validation_table: bool, local: bool
) -> list[str]:
    """Return what is wrong with the parameters of one fit, a sentence each."""
    problems = []
    library = library_of(parameters.model_type)
    if generator.is_shipped(parameters.model_type):
        task = parameters.model_type.removeprefix(f"{library}_")
        try:
            check_hyperparameters(library, parameters.hyperparameters, task)
            if parameters.feature_columns is not None:
                by_place(library, parameters.hyperparameters, parameters.feature_columns)
        except InputError as error:
            problems.append(str(error))
        if parameters.metric is not None:
            weighted = parameters.weight_column is not None
            problems += metric_problems(library, task, parameters.metric, parameters.hyperparameters, weighted=weighted)
        problems += _exact_categories(library, parameters)
        problems += pieces_problems(parameters) if parameters.in_pieces else []
        problems += [*missing_library(library, parameters.backend), *_missing_gpu(library, parameters.hyperparameters)] if local else []
    else:
        problems += _unused(parameters, generator)
    problems += _without_folds(parameters, generator)
    problems += weight_conflicts(parameters.hyperparameters) if parameters.class_weight is not None else []
    if parameters.model_type.endswith("_regression"):
        of_classes = {"class_weight": parameters.class_weight, "validation.stratified": parameters.validation.stratified}
        problems += [
            f"`{name}` is for a classification, and a regression has no classes: remove it." for name, value in of_classes.items() if value
        ]
    if parameters.validation.dataset is not None and not validation_table:
        name = parameters.validation.dataset
        problems.append(
            f'`validation.dataset` is {name!r}, which is not an input of the node: write training_node(…, validation="{name}"), so that '
            "Kedro knows that the node needs it."
        )
    if validation_table:
        keys = [key for key in (*SPLITTING, "fraction", "folds") if getattr(parameters.validation, key) is not None]
        problems += [f"The node has a table of validation rows, and `validation.{key}` asks for others: keep one of them." for key in keys]
    return problems


def _unused(parameters: TrainingParameters, generator: TrainingScriptGenerator) -> Iterator[str]:
    """Yield the parameters that a project's own template ignores: the script is the same without them."""
    without = {"categorical_columns": (), "weight_column": None, "class_weight": None, "metric": None, "in_pieces": None}
    names = [name for name, nothing in without.items() if getattr(parameters, name) != nothing]
    try:
        script = _script(parameters, generator) if names else ""
        for name in names:
            weighs = name not in ("weight_column", "class_weight") or ".weight" in script
            if not weighs or _script(parameters.model_copy(update={name: without[name]}), generator) == script:
                yield f"The template `{parameters.model_type}` makes no use of `{name}`: take it out, or use it in the template."
    except TemplateError:
        return  # Why it makes no script is another problem.


def _without_folds(parameters: TrainingParameters, generator: TrainingScriptGenerator) -> Iterator[str]:
    """Yield that a template of the project's own, or one that a recipe extends, holds out no folds."""
    try:
        if parameters.validation.folds is not None and ".folds(" not in _script(parameters, generator):
            yield (
                f"The template `{parameters.model_type}` makes no use of `validation.folds`: take it out, or go through job.folds(…) in "
                "the template."
            )
    except (TemplateError, ConfigError):
        return  # Why it makes no script is another problem.


def _without_rounds(parameters: TrainingParameters, generator: TrainingScriptGenerator) -> Iterator[str]:
    """Yield that a search's pruner would have nothing to judge by."""
    if parameters.search is None:
        return
    try:
        script = None if generator.is_shipped(parameters.model_type) else _script(parameters, generator)
    except (TemplateError, ConfigError):
        return  # Why it makes no script is another problem.
    yield from pruner_problems(parameters, parameters.search, script)


def _script(parameters: TrainingParameters, generator: TrainingScriptGenerator) -> str:
    return generator.render(TrainingSpec(name="train", parameters=parameters, sources={"data": {"dataset_file": "table"}}))


def without_search(parameters: TrainingParameters, outputs: Sequence[str]) -> str | None:
    """Return what is wrong with a node that saves trials but has no search; None for any other node."""
    if parameters.search is not None or "trials" not in outputs:
        return None
    return (
        "The node saves `trials`, and its parameters have no `search`: add it beside `hyperparameters`, or take `trials=` out of the node."
    )


def without_partitions(parameters: TrainingParameters, outputs: Sequence[str], *, validation_table: bool = False) -> Iterator[str]:
    """Yield what is wrong with a node that saves a leaderboard and is not partitioned, or that is and has validation rows elsewhere."""
    if parameters.partitioned is None:
        if "leaderboard" in outputs:
            yield (
                "The node saves a `leaderboard`, and its parameters have no `partitioned`: add it beside `hyperparameters`, or take "
                "`leaderboard=` out of the node."
            )
    elif validation_table:
        yield (
            "The node has a table of validation rows, and `partitioned` splits one table: mark the rows by `validation.column`, or let "
            "each group hold out rows of its own."
        )


def check_training(
    parameters: TrainingParameters, generator: TrainingScriptGenerator, *, validation_table: bool = False, local: bool = True
) -> None:
    """Check that a training can run; see `problems_before` for the arguments.

    Raises:
        ConfigError: lists everything that is wrong.
    """
    problems = problems_before(parameters, generator, validation_table=validation_table, local=local)
    if problems:
        raise ConfigError("\n".join(problems))


def problems_on_pod(parameters: TrainingParameters, gpu: str | Sequence[str], gpu_count: int) -> Iterator[str]:
    """Yield what is wrong with a shipped recipe's training on the machines that its settings ask for.

    Args:
        parameters: as `parameters.yml` has them.
        gpu: `auto`, `none`, or GPU types.
        gpu_count: how many GPUs.
    """
    search = parameters.search
    if search is not None:
        yield from dict.fromkeys(of_all(parameters, search, lambda trial: problems_on_pod(trial, gpu, gpu_count)))
        yield from pruner_problems(parameters, search, None, gpu)
        return
    library, hyperparameters = library_of(parameters.model_type), parameters.hyperparameters
    task = parameters.model_type.removeprefix(f"{library}_")
    chosen = chosen_device(library, hyperparameters)
    device = chosen[0] if chosen is not None else {"none": "cpu", "auto": None}.get(str(gpu), "cuda")
    on_gpu, on_cpu = (list(refused_on(kind, library, hyperparameters, task)) for kind in ("cuda", "cpu"))
    yield from _without_gpu(library, hyperparameters)
    if gpu == "none" and chosen is not None and device == "cuda":
        yield (
            f"`hyperparameters.{chosen[1]}` is {hyperparameters[chosen[1]]!r}, and `gpu: none` rents a pod without a GPU: take one of the "
            "two out."
        )
    elif device == "cuda":
        yield from (f"{clause}, or take a CPU pod: gpu: none." for clause in on_gpu)
    elif device == "cpu":
        yield from (f"{clause}{'.' if chosen is not None else ', or name a GPU in `gpu`.'}" for clause in on_cpu)
    elif on_gpu and on_cpu:
        yield f"{on_gpu[0]}; and {on_cpu[0]}: no machine has both."
    if gpu == "none":
        return
    if (
        library == "catboost"
        and hyperparameters.get("devices") is not None
        and (named := _named_devices(hyperparameters["devices"])) < gpu_count
    ):
        yield f"`gpu_count` is {gpu_count}, and `hyperparameters.devices` names {named} of them: leave `devices` out, and all are used."
    other_backend = library == "keras" and parameters.backend not in (None, *SPREADING_BACKENDS)
    if gpu_count > 1 and other_backend:
        yield (
            f"`gpu_count` is {gpu_count}, and keras on {parameters.backend} trains on one GPU at most: the others would be paid for and "
            "idle. Set gpu_count: 1 for the node in cloudtrain.yml, or leave `backend` to jax."
        )
    yield from sharing_problems(parameters, processes_on_pod(parameters, gpu, gpu_count))


def problems_here(parameters: TrainingParameters, gpu_count: int) -> Iterator[str]:
    """Yield what is wrong with a shipped recipe's training on this computer's GPUs.

    Args:
        parameters: as `parameters.yml` has them.
        gpu_count: how many of them are to share a fit.
    """
    search = parameters.search
    if search is not None:
        yield from dict.fromkeys(of_all(parameters, search, lambda trial: problems_here(trial, gpu_count)))
        return
    yield from sharing_problems(parameters, processes_here(parameters, gpu_count), local=True)


def _without_gpu(library: str, hyperparameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the hyperparameters that ask for a GPU on a pod, where LightGBM's wheel has none; a build on this computer may have one."""
    for name in ("device", "device_type"):
        if library == "lightgbm" and str(hyperparameters.get(name) or "cpu").lower() != "cpu":
            yield f"`hyperparameters.{name}` is {hyperparameters[name]!r}, and LightGBM's wheel computes on a CPU alone: leave it out."


def _named_devices(devices: Any) -> int:
    """Return how many GPUs CatBoost's `devices` names: `0:1:3`, `0-3`, or a list."""
    parts = [str(device) for device in devices] if isinstance(devices, list | tuple) else str(devices).split(":")
    ranges = [part.partition("-") for part in parts]
    return sum(int(last) - int(first) + 1 if first.isdigit() and last.isdigit() else 1 for first, _, last in ranges)


def _exact_categories(library: str, parameters: TrainingParameters) -> Iterator[str]:
    if library == "xgboost" and parameters.hyperparameters.get("tree_method") == "exact" and parameters.categorical_columns:
        name = parameters.categorical_columns[0]
        yield f"`hyperparameters.tree_method` is 'exact', which takes no categories, and `categorical_columns` names `{name}`: use hist."


def _missing_gpu(library: str, hyperparameters: Mapping[str, Any]) -> list[str]:
    sentences = [f"{clause}. This computer has no GPU." for clause in refused_on("cpu", library, hyperparameters)]
    return sentences if sentences and find_gpu() is None else []


def missing_library(library: str, backend: str | None = None) -> list[str]:
    """Return that a library, or what Keras is to compute with, is not installed on this computer; nothing where it is.

    Args:
        library: xgboost, lightgbm, catboost or keras.
        backend: what Keras is to compute with; None for any that is installed.
    """
    named = (os.environ.get("KERAS_BACKEND") or backend) if library == "keras" else None
    extra = "tensorflow" if named == "tensorflow" else library
    install = f'pip install "kedro-cloudtrain[{extra}]"' + (" torch" if named == "torch" else "")
    if importlib.util.find_spec(library) is None:
        return [f"{library} is not installed in this environment: {install}"]
    if library == "keras":
        backends = [named] if named else [*KERAS_BACKENDS]
        if not any(importlib.util.find_spec(backend) is not None for backend in backends):
            names = backends[0] if len(backends) == 1 else f"{', '.join(backends[:-1])} or {backends[-1]}"
            which = "which is not" if len(backends) == 1 else "none of which is"
            return [f"keras needs {names}, {which} installed in this environment: {install}"]
    return []
