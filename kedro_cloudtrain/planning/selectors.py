"""The nodes that the keys of `nodes` in cloudtrain.yml select."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_cloudtrain.config import selects
from kedro_cloudtrain.planning.recipes import is_recipe
from kedro_cloudtrain.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import Settings


def unmatched_selectors(settings: Settings, nodes: Iterable[Node]) -> list[str]:
    """Return a sentence for each key of `nodes` in cloudtrain.yml that selects no node and should: a misspelt key sends nothing anywhere.

    A pattern, a tag or a namespace that nothing has, and nothing similar to it, is not a mistake: one file may serve many projects.

    Args:
        settings: `cloudtrain.yml`.
        nodes: those of all registered pipelines.
    """
    nodes = list(nodes)
    names = {node.name for node in nodes}
    tags = {tag for node in nodes for tag in node.tags}
    namespaces = {node.namespace for node in nodes if node.namespace}
    unmatched = []
    for selector in settings.nodes:
        if any(selects(selector, node.name, node.tags, node.namespace) for node in nodes):
            continue
        kind, _, value = selector.partition(":")
        hint = did_you_mean(value or selector, sorted({"tag": tags, "namespace": namespaces}.get(kind, names)))
        if hint or is_name(selector):
            unmatched.append(f"`{selector}` under `nodes` in cloudtrain.yml selects no node of the project.{hint}")
    return unmatched


def selectors_elsewhere(settings: Settings, nodes: Iterable[Node], registered: Iterable[Node]) -> str | None:
    """Return a sentence about the keys of `nodes` that select nodes of other pipelines alone, or no node; None if there are none."""
    nodes, registered = list(nodes), list(registered)

    def selects_one(selector: str, among: Iterable[Node]) -> bool:
        return any(selects(selector, node.name, node.tags, node.namespace) for node in among)

    idle = [f"`{key}`" for key in settings.nodes if not is_name(key) and not selects_one(key, [*nodes, *registered])]
    elsewhere = [f"`{key}`" for key in settings.nodes if not selects_one(key, nodes) and selects_one(key, registered)]
    place = "under `nodes` in cloudtrain.yml"
    sentences = [
        *([f"{', '.join(idle)} {place} {'selects' if len(idle) == 1 else 'select'} no node."] if idle else []),
        *(
            [f"{', '.join(elsewhere)} {place} {'selects a node' if len(elsewhere) == 1 else 'select nodes'} of another pipeline."]
            if elsewhere
            else []
        ),
    ]
    return " ".join(sentences) or None


def is_name(selector: str) -> bool:
    """Return whether a key is a node's name, and not a pattern, a tag or a namespace."""
    kind, colon, _ = selector.partition(":")
    return not (colon and kind in ("tag", "namespace")) and not set("*?[") & set(selector)


def goes_to_machine(settings: Settings, node: Node) -> bool:
    """Return whether a node goes to a machine: one of training or prediction always does, any other if `nodes` names it."""
    return is_recipe(node) or settings.names_node(node.name, node.tags, node.namespace)
