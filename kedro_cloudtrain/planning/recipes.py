"""The nodes whose jobs are recipes of this package, trainings and predictions: they go to a machine without being named in the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_cloudtrain.planning.function import table_names
from kedro_cloudtrain.planning.prediction import PredictionInputs, is_prediction
from kedro_cloudtrain.planning.training import TrainingInputs, is_training
from kedro_cloudtrain.planning.training_outputs import output_kinds
from kedro_cloudtrain.running.prediction import PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro.pipeline.node import Node

    from kedro_cloudtrain.jobs.parameters import NodeOutput


def is_recipe(node: Node) -> bool:
    """Return whether a node is one of training or prediction."""
    return is_training(node) or is_prediction(node)


def read_tables(node: Node) -> list[str]:
    """Return the inputs of a node that a machine can read itself, if they are where it reaches them."""
    if is_training(node):
        return TrainingInputs.of(node).tables
    return [PredictionInputs.of(node).data] if is_prediction(node) else table_names(node)


def kinds_of_outputs(node: Node) -> Sequence[NodeOutput]:
    """Return the kinds of a recipe's outputs, in the order of its outputs."""
    return (PREDICTIONS,) if is_prediction(node) else output_kinds(node)
