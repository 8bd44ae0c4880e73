"""Select the nodes that a command is about, by the options of `kedro run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from kedro_cloudtrain.commands.project import find_pipeline, pipeline_option

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kedro.pipeline import Pipeline

    Command = TypeVar("Command", bound=Callable[..., Any])

# By the names of `Pipeline.filter`, in the order of `kedro run --help`: the flags, what they name, and the help.
_FILTERS = {
    "from_inputs": (["--from-inputs"], "dataset", "The nodes that need these datasets, and all after them."),
    "to_outputs": (["--to-outputs"], "dataset", "The nodes that make these datasets, and all before them."),
    "from_nodes": (["--from-nodes"], "node", "These nodes, and all after them."),
    "to_nodes": (["--to-nodes"], "node", "These nodes, and all before them."),
    "node_names": (["--nodes", "-n"], "node", "These nodes alone."),
    "tags": (["--tags", "-t"], "tag", "The nodes that have one of these tags."),
    "node_namespaces": (["--namespaces", "-ns"], "namespace", "The nodes of these namespaces."),
}


def selection_options(command: Command) -> Command:
    """Add to a command the options by which `kedro run` selects nodes, each with commas between several names."""
    for name, (flags, _, help_text) in reversed(_FILTERS.items()):
        command = click.option(*flags, name, default="", callback=_split, help=help_text)(command)
    pipelines = click.option("--pipelines", default="", callback=_split, help="Several registered pipelines, together.")
    return pipeline_option(pipelines(command))


def select(registered: Mapping[str, Pipeline], selection: Mapping[str, Any]) -> Pipeline:
    """Return the nodes that the options of a command select.

    Args:
        registered: the project's pipelines by name.
        selection: what `selection_options` has given the command, by the names of its arguments.

    Raises:
        ClickException: there is no such pipeline, node, tag, dataset or namespace, or no node that meets all options.
    """
    names = selection["pipelines"] or [selection["pipeline"]]
    if selection["pipelines"] and selection["pipeline"]:
        raise click.UsageError("--pipeline and --pipelines cannot be used together: write --pipelines alone.")
    first, *others = (find_pipeline(registered, name) for name in names)
    pipeline = sum(others, start=first)
    filters = {name: selection[name] for name in _FILTERS if selection[name]}
    if not filters:
        return pipeline
    try:
        return pipeline.filter(**filters)
    except ValueError:
        options = " ".join(f"{_FILTERS[name][0][0]}={','.join(values)}" for name, values in filters.items())
        raise click.ClickException(f"No node is selected by {options}.{_hint(pipeline, filters)}") from None


def _split(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    """Split names as `kedro run` does: a node's own name may have commas, in brackets."""
    from kedro.framework.cli.utils import split_node_names, split_string

    split: Any = split_node_names if parameter.name in ("from_nodes", "to_nodes", "node_names", "node_namespaces") else split_string
    names: list[str] = split(context, parameter, value)
    return names


def _hint(pipeline: Pipeline, filters: Mapping[str, list[str]]) -> str:
    """Return which name does not exist, and the closest that does; else that no node matches."""
    from kedro_cloudtrain.wording import did_you_mean, some_of

    spaces = [node.namespace.split(".") for node in pipeline.nodes if node.namespace]
    names = {
        "node": [node.name for node in pipeline.nodes],
        "tag": sorted({tag for node in pipeline.nodes for tag in node.tags}),
        "namespace": sorted({".".join(parts[: end + 1]) for parts in spaces for end in range(len(parts))}),
        "dataset": sorted({name.partition("@")[0] for name in pipeline.datasets()}),
    }
    for name, values in filters.items():
        noun = _FILTERS[name][1]
        existing = names[noun]
        missing = next((value for value in values if value.partition("@")[0] not in existing), None)
        if missing is not None:
            rest = f" The {noun}s are: {some_of(existing)}." if existing else f" No node has a {noun}."
            return f" There is no {noun} {missing!r}.{did_you_mean(missing, existing)}{rest}"
    return " No node matches all of the options." if len(filters) > 1 else " No node matches."
