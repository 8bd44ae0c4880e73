"""`cloudtrain.yml` as checked settings: the only place that knows its keys."""

from __future__ import annotations

import dataclasses
import fnmatch
from typing import TYPE_CHECKING, Any, Literal, Self

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.volumes import make_volume
from kedro_cloudtrain.wording import KeyPath, did_you_mean, problems_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.storage.volumes import Volume

# Cached on RunPod's hosts (its docs, "Pods: official templates"), so that a pod starts without a pull.
DEFAULT_IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"

DEFAULT_VOLUME = "data/volume"


class NodeSettings(BaseModel):
    """What holds for one node, or, below `defaults`, for each; all but `timeout_s`, `upload_warn_mb` and the checkpoints is for pods.

    Attributes:
        timeout_s: when its job is ended, in seconds from its start.
        gpu: GPU types in the order of liking, by the names of `kedro cloudtrain gpus`; `auto` takes the cheapest that does; `none` takes
            a CPU pod.
        gpu_count: how many of them.
        vcpu_count: vCPUs of a CPU pod, a power of two.
        image: the container's image.
        min_cuda_version: the lowest CUDA version of the host's driver; an older host fails the image's start.
        disk_gb: the container's own disk.
        requirements: what is installed, as pip writes it: for a training, beside what the recipe needs; for a function of yours, instead
            of what the project's pyproject.toml or requirements.txt asks for.
        install: whether anything is installed; false where the image has it all.
        max_cost_usd: the most that the node may cost, its attempts together.
        max_price_per_hour_usd: dearer machines are left out.
        startup_timeout_s: when a pod that does not start is given up for another.
        retries: how many more pods are tried after one that was lost.
        wait_for_capacity_s: how long to wait for a machine when none is free.
        upload_warn_mb: an input that exists only here and is larger than this, in megabytes, is sent with a warning.
        group: nodes of the same group that are ready at the same time share a machine, and run there one after another; `timeout_s` and
            `max_cost_usd` are then for all of them together.
        checkpoint_every_s: how often a fit, or a function that uses `Checkpoint`, writes a state to go on from, in seconds.
        checkpoint_every_rounds: how often instead, in rounds; CatBoost, which writes its own, goes by the seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: float = Field(86_400, gt=0)
    gpu: Literal["auto", "none"] | tuple[str, ...] = "auto"
    gpu_count: int = Field(1, ge=1)
    vcpu_count: int = Field(4, ge=2)
    image: str = Field(DEFAULT_IMAGE, min_length=1)
    min_cuda_version: str = Field("12.8", pattern=r"^\d+\.\d+$")
    disk_gb: int = Field(20, ge=20)
    requirements: tuple[str, ...] = ()
    install: bool = True
    max_cost_usd: float | None = Field(None, gt=0)
    max_price_per_hour_usd: float | None = Field(None, gt=0)
    startup_timeout_s: float = Field(900, gt=0)
    retries: int = Field(2, ge=0)
    wait_for_capacity_s: float = Field(0, ge=0)
    upload_warn_mb: float = Field(50, ge=0)
    group: str | None = Field(None, min_length=1)
    checkpoint_every_s: float = Field(60, gt=0)
    checkpoint_every_rounds: int | None = Field(None, ge=1)

    @field_validator("gpu", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        if isinstance(value, str):
            return value.lower() if value.lower() in ("auto", "none") else (value,)
        if isinstance(value, list | tuple) and not value:
            raise ValueError("name at least one GPU, or write auto or none")
        return "none" if value is None else value

    @field_validator("vcpu_count")
    @classmethod
    def _power_of_two(cls, count: int) -> int:
        if count & (count - 1):
            raise ValueError("a CPU pod has 2, 4, 8, 16 or 32 vCPUs")
        return count

    @field_validator("requirements")
    @classmethod
    def _as_pip_writes_them(cls, requirements: tuple[str, ...]) -> tuple[str, ...]:
        for requirement in requirements:
            try:
                Requirement(requirement)
            except InvalidRequirement:
                raise ValueError(f"{requirement!r} is no requirement; one is written polars>=1.2, or polars==1.2.0") from None
        return requirements


class RunSettings(BaseModel):
    """What holds for a run as a whole.

    Attributes:
        max_pods: how many jobs run at once; left out, one on this computer, which has all its cores, and eight on pods.
        max_cost_usd: the most that the run may cost.
        cache: whether finished work is taken instead of being done again.
        detach: whether the run is left once the jobs that are ready have been started.
        on_failure: whether the jobs at work beside a node that fails are let finish, and kept, or are cancelled.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pods: int | None = Field(None, ge=1)
    max_cost_usd: float | None = Field(None, gt=0)
    cache: bool = True
    detach: bool = False
    on_failure: Literal["finish", "cancel"] = "finish"


class VolumeSettings(BaseModel):
    """Where the volume is: a directory here, or a network volume.

    Attributes:
        path: a directory here, relative to the project.
        id: a network volume of RunPod's.
        data_center: where that is.
        endpoint_url: of its S3 API, for a data centre that is newer than those known here; or of a bucket that is not AWS's.
        bucket: an S3 bucket that keeps the jobs of pods where there is no network volume; they read URLs alone, then.
        region: of the bucket.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = Field(None, min_length=1)
    id: str | None = Field(None, min_length=1)
    data_center: str | None = Field(None, min_length=1)
    endpoint_url: str | None = None
    bucket: str | None = Field(None, min_length=1)
    region: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.bucket is not None:
            if self.id is not None or self.path is not None or self.data_center is not None:
                raise ValueError("`volume` has a `bucket` beside a `path` or an `id`: keep one of them")
            return self
        if self.region is not None:
            raise ValueError("`region` is a bucket's; a network volume has `data_center`")
        if self.id is None and self.data_center is None and self.endpoint_url is None:
            return self
        if self.path is not None:
            raise ValueError("`volume` has a `path` and an `id`: it is a directory here, or a network volume: keep one of them")
        if self.id is None or self.data_center is None:
            raise ValueError("a network volume needs `id` and `data_center`: volume: {id: abc123xyz, data_center: EU-RO-1}")
        return self

    def __str__(self) -> str:
        if self.bucket is not None:
            return f"bucket {self.bucket}"
        return f"{self.id} in {self.data_center}" if self.id is not None else self.path or DEFAULT_VOLUME

    def make(self, project: Path) -> Volume:
        """Give the volume itself.

        Raises:
            ConfigError: the data centre has no S3 API.
        """
        if self.id is not None or self.bucket is not None:
            return make_volume(self.model_dump(exclude={"path"}, exclude_none=True))
        return DirectoryVolume(project / (self.path or DEFAULT_VOLUME))


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

    backend: Literal["local", "runpod"] = "local"
    volume: VolumeSettings = VolumeSettings()
    defaults: NodeSettings = NodeSettings()
    nodes: dict[str, NodeSettings] = Field(default_factory=dict)
    run: RunSettings = RunSettings()

    @field_validator("nodes")
    @classmethod
    def _known_selectors(cls, nodes: dict[str, NodeSettings]) -> dict[str, NodeSettings]:
        for selector in nodes:
            kind, colon, _ = selector.partition(":")
            # A node without a name of its own is called by its function and datasets, `f([params:a]) -> [b]`.
            if colon and kind.isidentifier() and kind not in ("tag", "namespace"):
                raise ValueError(f"{selector!r} begins with `{kind}:`; a selector is a node's name, a glob, tag:TAG or namespace:NAMESPACE")
        return nodes

    def names_node(self, name: str, tags: Collection[str] = (), namespace: str | None = None) -> bool:
        """Tell whether `nodes` names a node, so that it goes to a machine whatever its function is."""
        return any(selects(selector, name, tags, namespace) for selector in self.nodes)

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
    # A name that was left to Kedro has brackets in it: `f([params:a]) -> [b]`.
    return selector == name or fnmatch.fnmatchcase(name, selector)


# Each key of `--runner-params`, and the setting that it stands for.
RUNNER_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "backend": ("backend",),
    "max_pods": ("run", "max_pods"),
    "cache": ("run", "cache"),
    "detach": ("run", "detach"),
    "on_failure": ("run", "on_failure"),
    "timeout_s": ("defaults", "timeout_s"),
    "gpu": ("defaults", "gpu"),
    "max_cost_usd": ("run", "max_cost_usd"),
    "retries": ("defaults", "retries"),
    "install": ("defaults", "install"),
    "wait_for_capacity_s": ("defaults", "wait_for_capacity_s"),
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
            known = ", ".join([*RUNNER_PARAMETERS, "max_workers"])
            raise ConfigError(
                f"--runner-params: `{name}` is not a runner parameter.{did_you_mean(name, RUNNER_PARAMETERS)} Known: {known}."
            )
        _put(merged, RUNNER_PARAMETERS[name], value)
        if RUNNER_PARAMETERS[name][0] == "defaults" and isinstance(merged.get("nodes"), dict):
            merged["nodes"] = {selector: _without(node, name) for selector, node in merged["nodes"].items()}
    if isinstance(merged.get("volume"), dict):
        merged["volume"] = _of_one_kind(merged["volume"], files)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        said = [f"{_place(path, files)}{sentence}" for path, sentence in problems_of(error, Settings)]
        raise ConfigError("\n".join(said)) from None


# The keys by which each kind of volume is known.
_VOLUME_KINDS = ({"path"}, {"id", "data_center"}, {"bucket", "region"})


def _of_one_kind(volume: dict[str, Any], files: Sequence[Path]) -> dict[str, Any]:
    """Leave the volume that the winning file names, where another environment's is of another kind and the two were merged."""
    present = [kind for kind in _VOLUME_KINDS if kind & set(volume)]
    named = [keys for keys in map(_volume_keys, files) if keys is not None]
    if len(present) == 1 or len(named) == 1 or not named:
        return volume  # Both in one file are a mistake.
    # One that stands elsewhere (`${globals:volume}`) is of the kind that the others do not name.
    others = set().union(*named[1:])
    winning = [kind for kind in present if kind & named[0]] or [kind for kind in present if not kind & others]
    lost = set().union(*(kind for kind in present if kind not in winning))
    return {key: value for key, value in volume.items() if key not in lost} if winning else volume


def _volume_keys(file: Path) -> set[str] | None:
    """Name the keys of `volume` in a file: none where it stands elsewhere; None where the file has no volume."""
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    said = {name.value: value for name, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    if "volume" not in said:
        return None
    return {name.value for name, _ in said["volume"].value} if isinstance(said["volume"], yaml.MappingNode) else set()


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
        package: the project's own package.
    """

    path: Path
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Sequence[Path] = ()
    error: str | None = None
    package: str | None = None

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
