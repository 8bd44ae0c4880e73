"""What is known of a node before the run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.nodes import TrainingFunction

if TYPE_CHECKING:
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.jobs.parameters import OutputKind


@dataclasses.dataclass(frozen=True)
class TrainingInputs:
    """The names of what a training node reads, as the pipeline calls them.

    Attributes:
        data: the dataset to train on.
        parameters: the parameters.
        validation: the dataset of the validation rows, if it is one of its own.
    """

    data: str
    parameters: str
    validation: str | None = None

    @property
    def tables(self) -> list[str]:
        """The datasets among them."""
        return [name for name in (self.data, self.validation) if name is not None]


def training_inputs(node: Node) -> TrainingInputs | None:
    """Give what a training node reads; None for any other node."""
    return TrainingInputs(*node.inputs) if isinstance(node.func, TrainingFunction) else None


def output_kinds(node: Node) -> tuple[OutputKind, ...]:
    """Give what a training node gives, in the order of its outputs; nothing for any other node."""
    return node.func.kinds if isinstance(node.func, TrainingFunction) else ()
