"""`training_node`: one line for a model, and it is an ordinary Kedro node."""

from __future__ import annotations

import atexit
import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kedro.pipeline import node as kedro_node

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.parameters import OUTPUT_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro.pipeline.node import Node

    from kedro_cloudtrain.jobs.parameters import OutputKind


class TrainingFunction:
    """What a training node calls under any runner but ours: it trains here, by the same script.

    Attributes:
        kinds: the outputs that the node has, in the order of its outputs.
    """

    def __init__(self, kinds: tuple[OutputKind, ...]) -> None:
        self.kinds = kinds
        # Name, docstring and source as Kedro and Kedro-Viz show them.
        functools.update_wrapper(self, train)

    def __repr__(self) -> str:
        return f"TrainingFunction({', '.join(self.kinds)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrainingFunction) and other.kinds == self.kinds

    def __hash__(self) -> int:
        return hash(self.kinds)

    def __call__(self, data: Any, parameters: dict[str, Any], validation: Any = None) -> dict[str, Any]:
        """Train here; see `train`."""
        return train(data, parameters, validation, kinds=self.kinds)


def train(
    data: Any,
    parameters: dict[str, Any],
    validation: Any = None,
    *,
    kinds: tuple[str, ...] = OUTPUT_KINDS,
) -> dict[str, Any]:
    """Train a model on this computer: the script that a machine would run, as a child process.

    Its annotations are ones that Kedro can resolve at run time, which looks at those of every node.

    Args:
        data: the table, a DataFrame.
        parameters: what stands under the model's name in `parameters.yml`.
        validation: the validation rows, where they are a table of their own.
        kinds: which outputs to give.

    Returns:
        Each kind's value: `model` a `TrainedModel`, `metrics` a dict, `history`, `importance` and `predictions` DataFrames.

    Raises:
        ConfigError: a parameter is not what it can be.
        JobError: no model came of it.
    """
    # Late: a pipeline is defined by this module, and only one that trains needs what trains.
    from kedro_cloudtrain.backends.local import LocalBackend
    from kedro_cloudtrain.jobs.parameters import TrainingParameters, library_of
    from kedro_cloudtrain.jobs.preflight import check_training
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.running.display import Row
    from kedro_cloudtrain.running.prepare import prepare
    from kedro_cloudtrain.running.training import TrainingOrder
    from kedro_cloudtrain.storage.directory import DirectoryVolume

    checked = TrainingParameters.parse(parameters, where="The training node's parameters")
    templates = Path("templates")
    generator = TrainingScriptGenerator(templates if templates.is_dir() else None)
    check_training(checked, generator, validation_table=validation is not None)
    training = TrainingOrder(
        node=checked.model_type,
        parameters=checked,
        data=data,
        validation=validation,
        outputs=cast("tuple[OutputKind, ...]", kinds),
        volume=DirectoryVolume(_scratch_volume()),
    )
    watcher = Row(checked.model_type, library_of(checked.model_type), "the table that it was given")
    return prepare(training, generator).run(LocalBackend(), watcher, [])


@functools.cache
def _scratch_volume() -> Path:
    """Give a folder for the jobs of this process; it goes when the process ends, and a model that was not saved goes with it."""
    folder = tempfile.TemporaryDirectory(prefix="cloudtrain-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def training_node(
    data: str,
    parameters: str,
    *,
    model: str | None = None,
    metrics: str | None = None,
    history: str | None = None,
    importance: str | None = None,
    predictions: str | None = None,
    validation: str | None = None,
    name: str | None = None,
    tags: str | Iterable[str] | None = None,
    namespace: str | None = None,
) -> Node:
    """Give a node that trains a model: on a machine under `--runner=cloudtrain`, here under any other runner.

    Args:
        data: the dataset to train on.
        parameters: the parameters that say what to train, `params:species` say; see `TrainingParameters`.
        model: the dataset that takes the model.
        metrics: the dataset that takes the metrics, a dict of names and numbers.
        history: the dataset that takes a row a round, a DataFrame.
        importance: the dataset that takes the features' importance, a DataFrame.
        predictions: the dataset that takes the predictions of the validation rows, a DataFrame.
        validation: the dataset of the validation rows, where they are a table of their own.
        name: the node's name.
        tags: the node's tags.
        namespace: the node's namespace.

    Raises:
        ConfigError: the node would give nothing.

    Example:
        ```python
        training_node("penguins", "params:species", model="species_model", metrics="species_metrics", name="train_species")
        ```
    """
    wanted: dict[OutputKind, str | None] = {
        "model": model,
        "metrics": metrics,
        "history": history,
        "importance": importance,
        "predictions": predictions,
    }
    outputs: dict[str, str] = {kind: name_ for kind in OUTPUT_KINDS if (name_ := wanted[kind])}
    if not outputs:
        raise ConfigError(
            f"training_node({data!r}, {parameters!r}) would give nothing: name at least one of {', '.join(OUTPUT_KINDS)}, "
            f'model="my_model" say.'
        )
    return kedro_node(
        TrainingFunction(tuple(kind for kind in OUTPUT_KINDS if kind in outputs)),
        [data, parameters] if validation is None else [data, parameters, validation],
        outputs,
        name=name,
        tags=tags,
        namespace=namespace,
    )
