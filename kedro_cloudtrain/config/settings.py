"""All settings of `cloudtrain.yml`, and which of them are a node's."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from kedro_cloudtrain.config.node import NodeSettings
from kedro_cloudtrain.config.run import RunSettings
from kedro_cloudtrain.config.volume import VolumeSettings
from kedro_cloudtrain.settings_model import SettingsModel

if TYPE_CHECKING:
    from collections.abc import Collection


class Settings(SettingsModel):
    """All settings of `cloudtrain.yml`.

    Attributes:
        backend: where nodes run that go to a machine: `local`, a process on this computer, or `runpod`, a pod.
        volume: where the keys of `dataset_key` and the job folders are.
        defaults: the settings of every node that goes to a machine.
        nodes: the settings of some nodes, by name, glob, `tag:TAG` or `namespace:NAMESPACE`; what is named here goes to a machine.
        run: the settings of a run as a whole.

    Example:
        ```yaml
        backend: local
        volume: {path: data/volume}
        defaults: {timeout_s: 7200}
        nodes: {train_flights: {timeout_s: 14400}, "tag:slow": {timeout_s: 43200}}
        run: {max_pods: 2}
        ```
    """

    backend: Literal["local", "runpod"] = "local"
    volume: VolumeSettings = VolumeSettings()
    defaults: NodeSettings = NodeSettings()
    nodes: dict[str, NodeSettings] = Field(default_factory=dict)
    run: RunSettings = RunSettings()

    @field_validator("nodes")
    @classmethod
    def _check_selectors(cls, nodes: dict[str, NodeSettings]) -> dict[str, NodeSettings]:
        for selector in nodes:
            kind, colon, _ = selector.partition(":")
            # Kedro names a node that has no name by its function and datasets: `f([params:a]) -> [b]`.
            if colon and kind.isidentifier() and kind not in ("tag", "namespace"):
                raise ValueError(f"{selector!r} begins with `{kind}:`, and a key is a node's name, a glob, tag:TAG or namespace:NAMESPACE")
        return nodes

    def names_node(self, name: str, tags: Collection[str] = (), namespace: str | None = None) -> bool:
        """Return whether a key of `nodes` matches a node, which then runs on a machine whatever its function is."""
        return any(selects(selector, name, tags, namespace) for selector in self.nodes)

    def for_node(self, name: str, tags: Collection[str] = (), namespace: str | None = None) -> NodeSettings:
        """Return a node's settings: the defaults, overridden by each key of `nodes` that matches it, its exact name last.

        Args:
            name: the node's name.
            tags: its tags.
            namespace: its namespace, if it has one.
        """
        # What nobody has set stays unset: the rest of the program then chooses by the job.
        merged = self.defaults.model_dump(exclude_unset=True)
        matching = [selector for selector in self.nodes if selects(selector, name, tags, namespace)]
        for selector in sorted(matching, key=lambda selector: selector == name):
            merged |= self.nodes[selector].model_dump(exclude_unset=True)
        return NodeSettings.model_validate(merged)


def selects(selector: str, name: str, tags: Collection[str], namespace: str | None) -> bool:
    """Return whether a key of `nodes` matches a node: by its name, a glob, `tag:TAG` or `namespace:NAMESPACE`."""
    kind, _, value = selector.partition(":")
    if kind == "tag":
        return value in tags
    if kind == "namespace":
        return namespace is not None and f"{namespace}.".startswith(f"{value}.")
    # A name that Kedro has made has brackets, which mean something else in a glob: `f([params:a]) -> [b]`.
    return selector == name or fnmatch.fnmatchcase(name, selector)
