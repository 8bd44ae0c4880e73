"""A Kedro node whose job this package knows: Kedro-Viz shows its latest job."""

from __future__ import annotations

import functools
import inspect
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.pipeline import node as kedro_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kedro.pipeline.node import Node

_NODE_ARGUMENTS = inspect.signature(kedro_node).parameters


def machine_node(
    function: Callable[..., Any],
    inputs: list[str],
    outputs: str | dict[str, str],
    *,
    name: str | None,
    tags: str | Iterable[str] | None,
    namespace: str | None,
) -> Node:
    """Make an ordinary node of Kedro's, with a preview where Kedro has one."""
    preview: dict[str, Any] = {}
    if name is not None and "preview_fn" in _NODE_ARGUMENTS:
        # For Kedro-Viz, where Kedro has it.
        preview["preview_fn"] = functools.partial(_preview, f"{namespace}.{name}" if namespace else name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*preview_fn.*experimental")
        return kedro_node(function, inputs, outputs, name=name, tags=tags, namespace=namespace, **preview)


def _preview(name: str) -> Any:
    """Return what Kedro-Viz shows of a node: the receipt of its latest job in the project that is open, and its script."""
    from kedro.pipeline.preview_contract import TextPreview

    from kedro_cloudtrain.runs.preview import node_text

    return TextPreview(content=node_text(Path.cwd(), name), meta={"language": "python"})
