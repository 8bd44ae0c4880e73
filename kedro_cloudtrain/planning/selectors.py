"""Which nodes the keys of `nodes` in cloudtrain.yml select."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_cloudtrain.config import selects
from kedro_cloudtrain.planning.training import is_training
from kedro_cloudtrain.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import Settings


def unmatched_selectors(settings: Settings, nodes: Iterable[Node]) -> list[str]:
    """Say which keys of `nodes` in cloudtrain.yml mean no node of a project: misspelt, they send nothing anywhere.

    Args:
        settings: `cloudtrain.yml`.
        nodes: those of all registered pipelines.
    """
    known = list(nodes)
    names = {node.name for node in known}
    tags = {tag for node in known for tag in node.tags}
    namespaces = {node.namespace for node in known if node.namespace}
    said = []
    for selector in settings.nodes:
        if any(selects(selector, node.name, node.tags, node.namespace) for node in known):
            continue
        kind, _, value = selector.partition(":")
        near = did_you_mean(value or selector, sorted({"tag": tags, "namespace": namespaces}.get(kind, names)))
        said.append(f"`{selector}` under `nodes` in cloudtrain.yml means no node of the project.{near}")
    return said


def goes_to_machine(settings: Settings, node: Node) -> bool:
    """Tell whether a node goes to a machine: a training node always, any other where `nodes` names it."""
    return is_training(node) or settings.names_node(node.name, node.tags, node.namespace)
