"""`prediction_node`: a Kedro node that predicts the rows of a table."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.machine_node import machine_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kedro.pipeline.node import Node


class PredictionFunction:
    """The function of a prediction node. Any runner other than `cloudtrain` calls it, and it predicts on this computer.

    Attributes:
        keep: the columns of the table that stand beside each row's prediction.
    """

    def __init__(self, keep: tuple[str, ...]) -> None:
        self.keep = keep
        # Kedro and Kedro-Viz show a function's name, docstring and source.
        functools.update_wrapper(self, predict)

    def __repr__(self) -> str:
        return f"PredictionFunction({', '.join(self.keep)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PredictionFunction) and other.keep == self.keep

    def __hash__(self) -> int:
        return hash(self.keep)

    def __call__(self, data: Any, model: Any) -> Any:
        """Predict on this computer; see `predict`."""
        return predict(data, model, keep=self.keep)


def predict(data: Any, model: Any, *, keep: tuple[str, ...] = ()) -> Any:
    """Predict the rows of a table on this computer, by the script that a machine would run, in a process of its own.

    Args:
        data: the table, a DataFrame.
        model: the model, a `TrainedModel`.
        keep: the columns of the table that stand beside each row's prediction.

    Returns:
        A DataFrame of the kept columns, `prediction`, and of a classification `probability_…` for each class.

    Raises:
        ConfigError: `model` is not a model, or its library is not installed.
        SourceError: the table lacks a column, or has values of another kind than the model was trained on.
        JobError: the job has failed, or was ended.
    """
    # Kedro resolves the annotations of every node's function at run time: those above need no import of ours.
    # The imports are late, because defining a pipeline needs none of them.
    from kedro_cloudtrain.backends.local import LocalBackend
    from kedro_cloudtrain.jobs.preflight import missing_library
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.running.display import Row
    from kedro_cloudtrain.running.prediction import PREDICTIONS, PredictionOrder, model_of
    from kedro_cloudtrain.running.prepare import prepare
    from kedro_cloudtrain.running.scratch import own_templates, scratch_volume

    trained = model_of(model, "The model of the prediction node")
    if problems := missing_library(trained.library):
        raise ConfigError("\n".join(problems))
    order = PredictionOrder(node="predict", model_name="the given model", model=trained, data=data, volume=scratch_volume(), keep=keep)
    watcher = Row("predict", f"{trained.library} prediction", "the given table")
    return prepare(order, TrainingScriptGenerator(own_templates())).run(LocalBackend(), watcher, [])[PREDICTIONS]


def prediction_node(
    data: str,
    model: str,
    *,
    predictions: str,
    keep: Sequence[str] = (),
    name: str | None = None,
    tags: str | Iterable[str] | None = None,
    namespace: str | None = None,
) -> Node:
    """Make a node that predicts the rows of a table: on a machine under `--runner=cloudtrain`, on this computer under any other runner.

    A machine reads the table in pieces, so that its memory does not limit the table. It saves the predictions itself where their dataset
    is a `CloudDataset` with a parquet `dataset_key` on its volume; otherwise they come back, and the catalog saves them.

    Args:
        data: the dataset of the table.
        model: the dataset of the model, which loads a `TrainedModel`: a `ModelDataset`, for example.
        predictions: the dataset that the predictions are saved to, a DataFrame: the kept columns, `prediction`, and of a classification
            `probability_…` for each class.
        keep: the columns of the table that stand beside each row's prediction, such as its key.
        name: the node's name.
        tags: the node's tags.
        namespace: the node's namespace.

    Raises:
        ConfigError: no predictions are named, or `keep` is not a list of columns' names, each once.

    Example:
        ```python
        prediction_node("flights", "delay_model", predictions="scores", keep=["carrier", "date"], name="score_flights")
        ```
    """
    where = f"prediction_node({data!r}, {model!r})"
    if not predictions:
        raise ConfigError(f'{where} has no output. Name the dataset of the predictions: for example predictions="scores".')
    if not isinstance(keep, list | tuple) or not all(isinstance(column, str) for column in keep):
        raise ConfigError(f"`keep` of {where} is {keep!r}: write a list of the names of columns, such as keep=['customer_id'].")
    twice = next((column for column in keep if list(keep).count(column) > 1), None)
    if twice is not None:
        raise ConfigError(f"`keep` of {where} names `{twice}` more than once: name each column once.")
    return machine_node(PredictionFunction(tuple(keep)), [data, model], predictions, name=name, tags=tags, namespace=namespace)
