"""What a machine must know to do a job, as plain JSON; never a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.jobs.parameters import OutputKind, TrainingParameters
from kedro_cloudtrain.storage.sources import SentSource, UrlSource, VolumeSource, make_source

if TYPE_CHECKING:
    from collections.abc import Sequence


Source = UrlSource | VolumeSource | SentSource


class TrainingSpec(TrainingParameters):
    """All that a machine must know, as plain JSON; never a secret.

    Raises:
        ValidationError: from the constructor, with one of the two fixed messages where both or neither of `dataset_url` and
            `dataset_key` are given. `dataset_file` is a table that exists nowhere but here, sent along below `inputs/`.
    """

    name: str = Field(min_length=1)
    dataset_url: str | None = None
    dataset_key: str | None = None
    dataset_file: str | None = None
    file_format: str | None = None
    load_args: dict[str, JsonValue] = Field(default_factory=dict)
    validation_source: dict[str, JsonValue] | None = None
    outputs: tuple[OutputKind, ...] = ("model", "metrics")

    @field_validator("dataset_url", "dataset_key", "dataset_file", mode="before")
    @classmethod
    def _blank_is_not_given(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.dataset_file is not None and (self.dataset_url or self.dataset_key):
            raise ValueError("`dataset_file` excludes `dataset_url` and `dataset_key`: keep one of them")
        if self.dataset_file is None:
            try:
                source = make_source(dataset_url=self.dataset_url, dataset_key=self.dataset_key, file_format=self.file_format)
            except SourceError as error:
                raise ValueError(error.message) from None
            if isinstance(source, UrlSource) and source.secret_query:
                raise ValueError("the URL holds a credential: take the job's source from make_source, which keeps it apart")
        return self

    @classmethod
    def make(
        cls,
        name: str,
        parameters: TrainingParameters,
        source: Source,
        *,
        validation_source: Source | None = None,
        outputs: Sequence[OutputKind] = ("model", "metrics"),
    ) -> TrainingSpec:
        """Put a node's name, its parameters and its sources together."""
        return cls.model_validate(
            {
                **parameters.model_dump(),
                **source_fields(source),
                "name": name,
                "validation_source": source_fields(validation_source) if validation_source is not None else None,
                "outputs": tuple(outputs),
            }
        )

    @property
    def source(self) -> dict[str, JsonValue]:
        """The one source, under the name of its kind: `dataset_url`, `dataset_key` or `dataset_file`."""
        fields: dict[str, JsonValue] = {
            "dataset_url": self.dataset_url,
            "dataset_key": self.dataset_key,
            "dataset_file": self.dataset_file,
            "file_format": self.file_format,
            "load_args": dict(self.load_args),
        }
        return {name: value for name, value in fields.items() if value}


def source_fields(source: Source) -> dict[str, JsonValue]:
    """Say a source as the plain fields of a `TrainingSpec`."""
    fields: dict[str, JsonValue] = {"file_format": source.file_format}
    match source:
        case UrlSource():
            fields["dataset_url"] = source.url
            fields["load_args"] = dict(source.load_args)
        case VolumeSource():
            fields["dataset_key"] = source.key
            fields["load_args"] = dict(source.load_args)
        case SentSource():
            fields["dataset_file"] = source.file
    return {name: value for name, value in fields.items() if value}


Names = str | tuple[str, ...] | dict[str, str] | None


class FunctionSpec(BaseModel):
    """All that a machine must know to call a function, as plain JSON; never a secret.

    Attributes:
        name: the node's name.
        function: where it is imported from: `shop.pipelines.training.nodes:train`.
        arguments: the datasets that it is given, in order, or by the arguments' names.
        inputs: where each of them is: `dataset_key`, `dataset_url` or `dataset_file`, as in a training's spec.
        parameters: those that stand in the script, by their datasets' names.
        returns: the datasets that take what it returns, as the node has them.
        saves: where the machine saves some of them itself.
        entries: what it loads and saves by the catalog entries' own classes: the entries, by their names.
        load_versions: the versions of those that are loaded and are versioned.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    function: str
    arguments: tuple[str, ...] | dict[str, str] = ()
    inputs: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    returns: Names = None
    saves: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    entries: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    load_versions: dict[str, str] = Field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module to import."""
        return self.function.partition(":")[0]

    @property
    def qualname(self) -> str:
        """The function's name there."""
        return self.function.partition(":")[2]


def is_parameter(name: str) -> bool:
    """Tell whether a dataset is Kedro's `parameters`, or one of them."""
    return name == "parameters" or name.startswith("params:")
