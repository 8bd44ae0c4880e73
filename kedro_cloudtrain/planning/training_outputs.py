"""The outputs of a training node, by their kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.parameters import OUTPUT_KINDS
from kedro_cloudtrain.nodes import TrainingFunction

if TYPE_CHECKING:
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.jobs.parameters import NodeOutput, OutputKind


def output_kinds(node: Node) -> tuple[NodeOutput, ...]:
    """Return the kinds of a training node's outputs, in the order of its outputs."""
    return node.func.kinds if isinstance(node.func, TrainingFunction) else ()


def job_outputs(node: Node) -> tuple[OutputKind, ...]:
    """Return the kinds of outputs that a training node's job makes."""
    return tuple(kind for kind in output_kinds(node) if kind in OUTPUT_KINDS)
