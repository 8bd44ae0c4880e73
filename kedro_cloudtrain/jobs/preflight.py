"""What is wrong with a training before anything runs, found without a machine, a network or a training library."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ConfigError, TemplateError
from kedro_cloudtrain.jobs.parameters import library_of
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


# The libraries whose recipes use no second GPU.
ON_ONE_GPU = ("xgboost", "lightgbm")
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
    problems = []
    try:
        generator.check_model_type(parameters.model_type)
    except TemplateError as error:
        return [error.message]
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
        problems += [*_missing_library(library, parameters.backend), *_missing_gpu(library, parameters.hyperparameters)] if local else []
    else:
        problems += _unused(parameters, generator)
    if parameters.class_weight is not None:
        problems += weight_conflicts(parameters.hyperparameters)
        if parameters.model_type.endswith("_regression"):
            problems.append("`class_weight` is for a classification, and a regression has no classes: remove it.")
    if parameters.validation.dataset is not None and not validation_table:
        name = parameters.validation.dataset
        problems.append(
            f'`validation.dataset` is {name!r}, which is not an input of the node: write training_node(…, validation="{name}"), so that '
            "Kedro knows that the node needs it."
        )
    if validation_table:
        given = [key for key in (*SPLITTING, "fraction") if getattr(parameters.validation, key) is not None]
        problems += [f"The node has a table of validation rows, and `validation.{key}` asks for others: keep one of them." for key in given]
    return problems


def _unused(parameters: TrainingParameters, generator: TrainingScriptGenerator) -> Iterator[str]:
    """Yield the parameters of which a template of the project's own makes nothing: a script that is the same without one."""
    without = {"categorical_columns": (), "weight_column": None, "class_weight": None, "metric": None}
    given = [name for name, nothing in without.items() if getattr(parameters, name) != nothing]
    try:
        script = _script(parameters, generator) if given else ""
        for name in given:
            weighs = name not in ("weight_column", "class_weight") or ".weight" in script
            if not weighs or _script(parameters.model_copy(update={name: without[name]}), generator) == script:
                yield f"The template `{parameters.model_type}` makes no use of `{name}`: take it out, or use it in the template."
    except TemplateError:
        return  # Why it makes no script is another problem.


def _script(parameters: TrainingParameters, generator: TrainingScriptGenerator) -> str:
    return generator.render(TrainingSpec(name="train", parameters=parameters, sources={"data": {"dataset_file": "table"}}))


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
    library, given = library_of(parameters.model_type), parameters.hyperparameters
    task = parameters.model_type.removeprefix(f"{library}_")
    on_gpu, on_cpu = (list(refused_on(device, library, given, task)) for device in ("cuda", "cpu"))
    chosen = chosen_device(library, given)
    if gpu == "none":
        yield from (f"{clause}, or name a GPU in `gpu`." for clause in on_cpu)
        if not on_cpu and chosen is not None and chosen[0] == "cuda":
            name = chosen[1]
            yield f"`hyperparameters.{name}` is {given[name]!r}, and `gpu: none` rents a pod without a GPU: take one of the two out."
        return
    if gpu == "auto":
        yield from (f"{on_gpu[0]}; and {on_cpu[0]}: no machine has both." for _ in range(1) if on_gpu and on_cpu)
    elif chosen is None or chosen[0] == "cuda":
        yield from (f"{clause}, or take a CPU pod: gpu: none." for clause in on_gpu)
    other_backend = library == "keras" and parameters.backend not in (None, *SPREADING_BACKENDS)
    if gpu_count > 1 and (library in ON_ONE_GPU or other_backend):
        name, instead = (f"{library} on {parameters.backend}", ", or leave `backend` to jax") if other_backend else (library, "")
        yield (
            f"`gpu_count` is {gpu_count}, and {name} trains on one GPU at most: the others would be paid for and idle. Set gpu_count: 1 "
            f"for the node in cloudtrain.yml{instead}."
        )


def _missing_gpu(library: str, given: Mapping[str, Any]) -> list[str]:
    sentences = [f"{clause}. This computer has no GPU." for clause in refused_on("cpu", library, given)]
    return sentences if sentences and find_gpu() is None else []


def _missing_library(library: str, backend: str | None = None) -> list[str]:
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
