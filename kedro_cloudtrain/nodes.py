"""`training_node`: a Kedro node that trains a model."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.parameters import NODE_OUTPUTS, OUTPUT_KINDS
from kedro_cloudtrain.machine_node import machine_node

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro.pipeline.node import Node

    from kedro_cloudtrain.jobs.parameters import NodeOutput, OutputKind


class TrainingFunction:
    """The function of a training node. Any runner other than `cloudtrain` calls it, and it trains on this computer.

    Attributes:
        kinds: the kinds of the node's outputs, in their order.
    """

    def __init__(self, kinds: tuple[NodeOutput, ...]) -> None:
        self.kinds = kinds
        # Kedro and Kedro-Viz show a function's name, docstring and source.
        functools.update_wrapper(self, train)

    def __repr__(self) -> str:
        return f"TrainingFunction({', '.join(self.kinds)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrainingFunction) and other.kinds == self.kinds

    def __hash__(self) -> int:
        return hash(self.kinds)

    def __call__(self, data: Any, parameters: dict[str, Any], validation: Any = None) -> dict[str, Any]:
        """Train on this computer; see `train`."""
        return train(data, parameters, validation, kinds=self.kinds)


def train(
    data: Any,
    parameters: dict[str, Any],
    validation: Any = None,
    *,
    kinds: tuple[str, ...] = OUTPUT_KINDS,
) -> dict[str, Any]:
    """Train a model on this computer, by the script that a machine would run, in a process of its own.

    Args:
        data: the table, a DataFrame; or, where `partitioned`, a dict of partitions.
        parameters: the model's parameters, as `parameters.yml` has them; see `TrainingParameters`.
        validation: the validation rows, a DataFrame, if they are a table of their own.
        kinds: the outputs to return.

    Returns:
        The value of each kind: `model` a `TrainedModel`, `metrics` a dict, `history`, `importance`, `predictions`
        and, of a search, `trials` DataFrames. Where `partitioned`, `model` is a dict of models, and `leaderboard` a DataFrame.

    Raises:
        ConfigError: a parameter is not valid.
        JobError: the job has failed, or was ended.
    """
    # Kedro resolves the annotations of every node's function at run time: those above need no import of ours.
    # The imports are late, because defining a pipeline needs none of them.
    from kedro_cloudtrain.backends.local import LocalBackend
    from kedro_cloudtrain.jobs.parameters import TrainingParameters, library_of
    from kedro_cloudtrain.jobs.preflight import check_training, without_partitions, without_search
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.running.display import Row
    from kedro_cloudtrain.running.prepare import prepare
    from kedro_cloudtrain.running.scratch import own_templates, scratch_volume
    from kedro_cloudtrain.running.training import TrainingOrder

    checked = TrainingParameters.parse(parameters, where="The training node's parameters")
    generator = TrainingScriptGenerator(own_templates())
    check_training(checked, generator, validation_table=validation is not None)
    problems = [
        *filter(None, [without_search(checked, kinds)]),
        *without_partitions(checked, kinds, validation_table=validation is not None),
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    training = TrainingOrder(
        node=checked.model_type,
        parameters=checked,
        data=data,
        validation=validation,
        outputs=cast("tuple[OutputKind, ...]", tuple(kind for kind in kinds if kind in OUTPUT_KINDS)),
        volume=scratch_volume(),
    )
    watcher = Row(checked.model_type, library_of(checked.model_type), "the given table")
    if checked.partitioned is not None:
        from kedro_cloudtrain.running.partitioned import PartitionedTraining
        from kedro_cloudtrain.running.trial_machines import OwnMachines

        machines = OwnMachines(LocalBackend())
        place = "the training node's parameters"
        return PartitionedTraining(training, checked.partitioned, generator, machines, watcher, place=place).run([])
    if checked.search is not None:
        from kedro_cloudtrain.running.search import TrainingSearch
        from kedro_cloudtrain.running.trial_machines import OwnMachines

        return TrainingSearch(training, generator, OwnMachines(LocalBackend()), watcher).run([])
    return prepare(training, generator).run(LocalBackend(), watcher, [])


def training_node(
    data: str,
    parameters: str,
    *,
    model: str | None = None,
    metrics: str | None = None,
    history: str | None = None,
    importance: str | None = None,
    predictions: str | None = None,
    trials: str | None = None,
    leaderboard: str | None = None,
    validation: str | None = None,
    name: str | None = None,
    tags: str | Iterable[str] | None = None,
    namespace: str | None = None,
) -> Node:
    """Make a node that trains a model: on a machine under `--runner=cloudtrain`, on this computer under any other runner.

    Args:
        data: the dataset to train on.
        parameters: the parameters of the model, for example `params:species`; see `TrainingParameters`.
        model: the dataset that the model is saved to, a `TrainedModel`; where `partitioned`, a dict of models, by a `ModelsDataset`.
        metrics: the dataset that the metrics are saved to, a dict of names and numbers.
        history: the dataset that the training history is saved to, a DataFrame with a row for each round.
        importance: the dataset that the features' importance is saved to, a DataFrame.
        predictions: the dataset that the predictions for the validation rows are saved to, a DataFrame.
        trials: the dataset that the trials of a search are saved to, a DataFrame with a row for each; see `Search`.
        leaderboard: the dataset that a row for each group is saved to, a DataFrame; see `Partitioned`.
        validation: the dataset of the validation rows, if they are a table of their own.
        name: the node's name.
        tags: the node's tags.
        namespace: the node's namespace.

    Raises:
        ConfigError: no output is named.

    Example:
        ```python
        training_node("penguins", "params:species", model="species_model", metrics="species_metrics", name="train_species")
        ```
    """
    datasets: dict[NodeOutput, str | None] = {
        "model": model,
        "metrics": metrics,
        "history": history,
        "importance": importance,
        "predictions": predictions,
        "trials": trials,
        "leaderboard": leaderboard,
    }
    outputs: dict[str, str] = {kind: dataset for kind in NODE_OUTPUTS if (dataset := datasets[kind])}
    if not outputs:
        raise ConfigError(
            f"training_node({data!r}, {parameters!r}) has no outputs. Name at least one of {', '.join(OUTPUT_KINDS)}: "
            f'for example model="my_model".'
        )
    return machine_node(
        TrainingFunction(tuple(kind for kind in NODE_OUTPUTS if kind in outputs)),
        [data, parameters] if validation is None else [data, parameters, validation],
        outputs,
        name=name,
        tags=tags,
        namespace=namespace,
    )
