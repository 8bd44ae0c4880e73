"""`cloudtrain.yml` as checked settings: the only place that knows its keys."""

from __future__ import annotations

import dataclasses
import fnmatch
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.problems import KeyPath, nearest, problems_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path


class NodeSettings(BaseModel):
    """What holds for one node, or, below `defaults`, for each.

    Attributes:
        timeout_s: when its job is ended, in seconds from its start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: float = Field(86_400, gt=0)


class RunSettings(BaseModel):
    """What holds for a run as a whole.

    Attributes:
        max_pods: how many jobs run at once; left out, one on this computer, which has all its cores.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pods: int | None = Field(None, ge=1)


class VolumeSettings(BaseModel):
    """Where the volume is.

    Attributes:
        path: a directory here, relative to the project.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field("data/volume", min_length=1)


class Settings(BaseModel):
    """The whole of `cloudtrain.yml`.

    Example:
        ```yaml
        backend: local
        volume: {path: data/volume}
        defaults: {timeout_s: 7200}
        nodes: {train_flights: {timeout_s: 14400}, "tag:slow": {timeout_s: 43200}}
        run: {max_pods: 2}
        ```
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["local"] = "local"
    volume: VolumeSettings = VolumeSettings()
    defaults: NodeSettings = NodeSettings()
    nodes: dict[str, NodeSettings] = Field(default_factory=dict)
    run: RunSettings = RunSettings()

    def for_node(self, name: str, tags: Collection[str] = (), namespace: str | None = None) -> NodeSettings:
        """Give what holds for a node: the defaults, and over them each selector that fits, the exact name last.

        Args:
            name: the node's name.
            tags: its tags.
            namespace: its namespace, if it has one.
        """
        merged = self.defaults.model_dump()
        fitting = [selector for selector in self.nodes if selects(selector, name, tags, namespace)]
        for selector in sorted(fitting, key=lambda selector: selector == name):
            merged |= self.nodes[selector].model_dump(exclude_unset=True)
        return NodeSettings.model_validate(merged)


def selects(selector: str, name: str, tags: Collection[str], namespace: str | None) -> bool:
    """Tell whether a key of `nodes:` means a node: its name, a glob, `tag:TAG` or `namespace:NAMESPACE`."""
    kind, _, value = selector.partition(":")
    if kind == "tag":
        return value in tags
    if kind == "namespace":
        return namespace is not None and f"{namespace}.".startswith(f"{value}.")
    return fnmatch.fnmatchcase(name, selector)


# Each key of `--runner-params`, and the setting that it stands for.
RUNNER_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "backend": ("backend",),
    "max_pods": ("run", "max_pods"),
    "timeout_s": ("defaults", "timeout_s"),
}


def make_settings(values: Mapping[str, Any] | None, runner_params: Mapping[str, Any] | None = None, files: Sequence[Path] = ()) -> Settings:
    """Check what the environments' `cloudtrain.yml` say together, with `--runner-params` over it.

    Args:
        values: the merged content; None where a project has no such file.
        runner_params: keys of `RUNNER_PARAMETERS`; they hold for every node.
        files: the files that the values come from, the one that wins first: an error names the file and the line.

    Raises:
        ConfigError: naming each key that is unknown, missing or of a wrong value.
    """
    merged: dict[str, Any] = dict(values or {})
    for name, value in (runner_params or {}).items():
        if name not in RUNNER_PARAMETERS:
            known = ", ".join(RUNNER_PARAMETERS)
            raise ConfigError(f"--runner-params: `{name}` is not a runner parameter.{nearest(name, RUNNER_PARAMETERS)} Known: {known}.")
        _put(merged, RUNNER_PARAMETERS[name], value)
        if name == "timeout_s" and isinstance(merged.get("nodes"), dict):
            merged["nodes"] = {selector: _without(node, "timeout_s") for selector, node in merged["nodes"].items()}
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        said = [f"{_place(path, files)}{sentence}" for path, sentence in problems_of(error, Settings)]
        raise ConfigError("\n".join(said)) from None


def _put(values: dict[str, Any], path: Sequence[str], value: object) -> None:
    for key in path[:-1]:
        inner = values.get(key)
        values[key] = values = dict(inner) if isinstance(inner, dict) else {}
    values[path[-1]] = value


def _without(values: object, key: str) -> object:
    return {name: value for name, value in values.items() if name != key} if isinstance(values, dict) else values


def _place(path: KeyPath, files: Sequence[Path]) -> str:
    """Say in which file and line a key stands; the first file that has it is the one whose value won."""
    for file in files:
        try:
            line = _line_of(yaml.compose(file.read_text(encoding="utf-8")), path)
        except (OSError, yaml.YAMLError):
            continue
        if line is not None:
            return f"{file}, line {line}: "
    return "cloudtrain.yml or --runner-params: "


def _line_of(node: yaml.Node | None, path: KeyPath) -> int | None:
    line = None
    for key in path:
        if not isinstance(node, yaml.MappingNode):
            return line
        for name, value in node.value:
            if name.value == str(key):
                line, node = name.start_mark.line + 1, value
                break
        else:
            return None
    return line


@dataclasses.dataclass(frozen=True)
class ProjectConfig:
    """What a project says, unchecked: a broken `cloudtrain.yml` does not concern a run by another runner.

    Attributes:
        path: the project's folder.
        values: the merged content of its `cloudtrain.yml` files.
        files: these files, the one that wins first.
        error: why they could not be read, where they could not.
    """

    path: Path
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Sequence[Path] = ()
    error: str | None = None

    def settings(self, runner_params: Mapping[str, Any] | None = None) -> Settings:
        """Check what the project says, with `--runner-params` over it.

        Raises:
            ConfigError: naming file, line and key.
        """
        if self.error is not None:
            raise ConfigError(self.error)
        return make_settings(self.values, runner_params, self.files)

    @property
    def templates(self) -> Path | None:
        """The project's own templates, if it has any."""
        folder = self.path / "templates"
        return folder if folder.is_dir() else None
