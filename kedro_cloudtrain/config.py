"""`cloudtrain.yml` as checked settings; no other module knows its keys."""

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
    """Settings of one node, or of every node below `defaults`.

    All but `timeout_s`, `cache`, `upload_warn_mb`, `group` and the checkpoints matter to pods alone.

    Attributes:
        timeout_s: the job's deadline, in seconds from its start.
        cache: whether the result of the same work is reused; false for a function that reads more than its inputs: a database, the clock.
        gpu: GPU types in order of preference, by the names of `kedro cloudtrain gpus`; `auto` takes the cheapest that is large enough;
            `none` takes a CPU pod.
        gpu_count: the number of GPUs.
        vcpu_count: the number of vCPUs of a CPU pod, a power of two.
        image: the container's image.
        min_cuda_version: the lowest CUDA version of the host's driver; on an older host the image does not start.
        disk_gb: the size of the container's own disk, in gigabytes.
        requirements: packages to install, as pip writes them: for a training in addition to what its recipe needs; for a function of yours
            instead of what the project's pyproject.toml or requirements.txt asks for.
        install: whether anything is installed; false if the image has all of it.
        max_cost_usd: the most that the node may cost, in US dollars, all its attempts together.
        max_price_per_hour_usd: the highest price of a machine, in US dollars per hour.
        startup_timeout_s: after how many seconds a pod that has not started is given up for another.
        retries: how many more pods are tried after one was lost.
        wait_for_capacity_s: how many seconds to wait for a machine when none is free.
        upload_warn_mb: the size in megabytes above which an input that exists in the client's process alone is sent with a warning.
        group: nodes of the same group that are ready at the same time share a machine and run on it one after another; `timeout_s` and
            `max_cost_usd` are then for all of them together.
        checkpoint_every_s: how many seconds apart a fit, or a function that uses `Checkpoint`, saves a state to resume from.
        checkpoint_every_rounds: how many rounds apart instead; CatBoost, which writes its own, goes by the seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: float = Field(86_400, gt=0)
    cache: bool = True
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
    def _names_or_a_word(cls, value: object) -> object:
        if isinstance(value, str):
            return value.lower() if value.lower() in ("auto", "none") else (value,)
        if isinstance(value, list | tuple) and not value:
            raise ValueError("name at least one GPU, or write auto or none")
        return "none" if value is None else value

    @field_validator("vcpu_count")
    @classmethod
    def _check_power_of_two(cls, count: int) -> int:
        if count & (count - 1):
            raise ValueError("a CPU pod has 2, 4, 8, 16 or 32 vCPUs")
        return count

    @field_validator("requirements")
    @classmethod
    def _check_requirements(cls, requirements: tuple[str, ...]) -> tuple[str, ...]:
        for requirement in requirements:
            try:
                Requirement(requirement)
            except InvalidRequirement:
                raise ValueError(f"{requirement!r} is not a valid requirement; write, for example, polars>=1.2 or polars==1.2.0") from None
        return requirements


class RunSettings(BaseModel):
    """Settings of a run as a whole.

    Attributes:
        max_pods: how many jobs run at once; left out, one on this computer, which has all its cores, and eight on pods.
        max_cost_usd: the most that the run may cost, in US dollars.
        cache: whether the results of finished jobs are reused, of those nodes that do not say otherwise.
        detach: whether the run ends as soon as the jobs that are ready have been started.
        on_failure: what becomes of the jobs that are running when a node fails: `finish` lets them finish and keeps their results,
            `cancel` ends them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pods: int | None = Field(None, ge=1)
    max_cost_usd: float | None = Field(None, gt=0)
    cache: bool = True
    detach: bool = False
    on_failure: Literal["finish", "cancel"] = "finish"


class VolumeSettings(BaseModel):
    """Where the volume is: a directory on this computer, a network volume, or a bucket.

    Attributes:
        path: the path of a directory on this computer, relative to the project.
        id: the id of a network volume of RunPod's.
        data_center: the network volume's data centre.
        endpoint_url: the address of the network volume's S3 API, if its data centre is newer than this package; or that of a bucket that is
            not AWS's.
        bucket: the name of an S3 bucket that keeps the jobs where there is no network volume; pods then read tables by URL alone.
        region: the bucket's region.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = Field(None, min_length=1)
    id: str | None = Field(None, min_length=1)
    data_center: str | None = Field(None, min_length=1)
    endpoint_url: str | None = None
    bucket: str | None = Field(None, min_length=1)
    region: str | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.bucket is not None:
            if self.id is not None or self.path is not None or self.data_center is not None:
                raise ValueError("`volume` has a `bucket` and a `path` or an `id`: keep one of them")
            return self
        if self.region is not None:
            raise ValueError("`region` is a bucket's, and `volume` names no bucket; a network volume has `data_center`")
        if self.id is None and self.data_center is None and self.endpoint_url is None:
            return self
        if self.path is not None:
            raise ValueError("`volume` has a `path`, for a directory, and an `id`, for a network volume: keep one of them")
        if self.id is None or self.data_center is None:
            raise ValueError("a network volume needs `id` and `data_center`: volume: {id: abc123xyz, data_center: EU-RO-1}")
        return self

    def __str__(self) -> str:
        if self.bucket is not None:
            return f"bucket {self.bucket}"
        return f"{self.id} in {self.data_center}" if self.id is not None else self.path or DEFAULT_VOLUME

    def make(self, project: Path) -> Volume:
        """Make the volume.

        Args:
            project: the project's folder, which `path` is relative to.

        Raises:
            ConfigError: the data centre has no S3 API.
        """
        if self.id is not None or self.bucket is not None:
            return make_volume(self.model_dump(exclude={"path"}, exclude_none=True))
        return DirectoryVolume(project / (self.path or DEFAULT_VOLUME))


class Settings(BaseModel):
    """All settings of `cloudtrain.yml`.

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
        merged = self.defaults.model_dump()
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


# The keys of `--runner-params`, each with the path of its setting.
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


# Those that are no settings: what a run is held to, and the threads of its ordinary nodes.
RUN_PARAMETERS = ("plan", "max_workers")


def make_settings(values: Mapping[str, Any] | None, runner_params: Mapping[str, Any] | None = None, files: Sequence[Path] = ()) -> Settings:
    """Make settings of the content of `cloudtrain.yml`, overridden by `--runner-params`.

    Args:
        values: the content of all environments' files, merged; None if the project has no such file.
        runner_params: values for keys of `RUNNER_PARAMETERS`; they override those of every node.
        files: the files that the values come from, the one that takes precedence first; an error names the file and the line.

    Raises:
        ConfigError: a key is unknown or missing, or its value is not valid; the message names each of them.
    """
    # A key without a value, such as `nodes:` above lines that are commented out, is as if it was left out.
    merged = {key: value for key, value in (values or {}).items() if value is not None or key not in _SECTIONS}
    if isinstance(merged.get("nodes"), dict):
        merged["nodes"] = {selector: {} if node is None else node for selector, node in merged["nodes"].items()}
    for name, value in (runner_params or {}).items():
        if name not in RUNNER_PARAMETERS:
            known = [*RUNNER_PARAMETERS, *RUN_PARAMETERS]
            raise ConfigError(
                f"--runner-params: `{name}` is not a runner parameter.{did_you_mean(name, known)} There are: {', '.join(known)}."
            )
        _put(merged, RUNNER_PARAMETERS[name], value)
        if RUNNER_PARAMETERS[name][0] == "defaults" and isinstance(merged.get("nodes"), dict):
            merged["nodes"] = {selector: _without(node, name) for selector, node in merged["nodes"].items()}
    if isinstance(merged.get("volume"), dict):
        merged["volume"] = _keep_one_kind(merged["volume"], files)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        lines = [f"{_place(path, files)}{sentence}" for path, sentence in problems_of(error, Settings)]
        raise ConfigError("\n".join(lines)) from None


_SECTIONS = ("volume", "defaults", "nodes", "run")
# The keys of each kind of volume.
_VOLUME_KINDS = ({"path"}, {"id", "data_center"}, {"bucket", "region"})


def _keep_one_kind(volume: dict[str, Any], files: Sequence[Path]) -> dict[str, Any]:
    """Keep the volume of the file that takes precedence, if it was merged with another environment's volume of another kind."""
    present = [kind for kind in _VOLUME_KINDS if kind & set(volume)]
    keys_by_file = [keys for keys in map(_volume_keys, files) if keys is not None]
    if len(present) == 1 or len(keys_by_file) == 1 or not keys_by_file:
        return volume  # Two kinds in one file are a mistake, which the check of the settings reports.
    # A volume that is written elsewhere (`${globals:volume}`) is of the kind that no other file names.
    others = set().union(*keys_by_file[1:])
    winning = [kind for kind in present if kind & keys_by_file[0]] or [kind for kind in present if not kind & others]
    losing = set().union(*(kind for kind in present if kind not in winning))
    return {key: value for key, value in volume.items() if key not in losing} if winning else volume


def _volume_keys(file: Path) -> set[str] | None:
    """Return the keys of `volume` in a file: an empty set if they are written elsewhere, None if the file has no volume."""
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    nodes = {name.value: value for name, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    if "volume" not in nodes:
        return None
    return {name.value for name, _ in nodes["volume"].value} if isinstance(nodes["volume"], yaml.MappingNode) else set()


def _put(values: dict[str, Any], path: Sequence[str], value: object) -> None:
    for key in path[:-1]:
        inner = values.get(key)
        values[key] = values = dict(inner) if isinstance(inner, dict) else {}
    values[path[-1]] = value


def _without(values: object, key: str) -> object:
    return {name: value for name, value in values.items() if name != key} if isinstance(values, dict) else values


def _place(path: KeyPath, files: Sequence[Path]) -> str:
    """Return the file and the line of a key, as a message begins; the first file that has the key is the one whose value counts."""
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
    """A project's `cloudtrain.yml`, unchecked: a broken one must not fail a run by another runner.

    Attributes:
        path: the project's folder.
        values: the merged content of the environments' `cloudtrain.yml` files.
        files: these files, the one that takes precedence first.
        error: why they could not be read; None if they could.
        package: the name of the project's own package.
    """

    path: Path
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Sequence[Path] = ()
    error: str | None = None
    package: str | None = None

    def settings(self, runner_params: Mapping[str, Any] | None = None) -> Settings:
        """Return the checked settings, overridden by `--runner-params`.

        Raises:
            ConfigError: the files could not be read, or a setting is not valid; the message names file, line and key.
        """
        if self.error is not None:
            raise ConfigError(self.error)
        return make_settings(self.values, runner_params, self.files)

    @property
    def templates(self) -> Path | None:
        """The folder of the project's own templates; None if there is none."""
        folder = self.path / "templates"
        return folder if folder.is_dir() else None
