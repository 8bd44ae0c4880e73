"""What a machine must know to do a job, as plain JSON; never a secret."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SerializerFunctionWrapHandler, field_validator, model_serializer

from kedro_cloudtrain.jobs.parameters import OutputKind, TrainingParameters
from kedro_cloudtrain.jobs.paths import texts_of_json
from kedro_cloudtrain.secrecy import split_secret
from kedro_cloudtrain.storage.sources import SentSource, UrlSource, VersionedSource, VolumeSource

Source = UrlSource | VolumeSource | SentSource
SourceFields = dict[str, JsonValue]
# In the type of an entry, its backend or its format.
_UNPICKLES = re.compile("pickle|joblib|dill|torch", re.IGNORECASE)
Names = str | tuple[str, ...] | dict[str, str] | None


class TrainingSpec(BaseModel):
    """All that a machine must know to train a model, as plain JSON; never a secret.

    Attributes:
        name: the node's name.
        parameters: what the user wrote in `parameters.yml`.
        sources: the table's fields (see `source_fields`) as `data`; as `validation` those of the validation rows, if they have a table
            of their own.
        outputs: the outputs to save.
        workers: how many processes share the fit, one for each GPU or machine.
        machines: how many machines those are to stand for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    parameters: TrainingParameters
    sources: dict[Literal["data", "validation"], SourceFields]
    outputs: tuple[OutputKind, ...] = ("model", "metrics")
    workers: int = Field(1, ge=1)
    machines: int = Field(1, ge=1)

    @model_serializer(mode="wrap")
    def _leave_out_one_worker(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A fit in one process keeps the fingerprint of older releases.
        return {name: value for name, value in serialize(self).items() if name not in ("workers", "machines") or value > 1}

    @field_validator("sources")
    @classmethod
    def _no_secret_in_a_url(cls, sources: dict[str, dict[str, JsonValue]]) -> dict[str, dict[str, JsonValue]]:
        if any(split_secret(str(fields.get("dataset_url", "")))[1] for fields in sources.values()):
            raise ValueError("the URL holds a credential: make the source by make_source, which keeps it apart")
        return sources


class FunctionSpec(BaseModel):
    """All that a machine must know to call a function, as plain JSON; never a secret.

    Attributes:
        name: the node's name.
        function: the path that imports it: `shop.pipelines.training.nodes:train`.
        arguments: the datasets to pass, in order, or by the arguments' names.
        inputs: the fields of each dataset's source (see `source_fields`), by the dataset's name.
        parameters: the values that stand in the script itself, by their datasets' names.
        returns: the datasets that take what the function returns, as the node names them.
        saves: the sources of those that the machine saves itself, with `save_args`, and `versioned` where each save makes a version.
        entries: the catalog entries that the machine loads and saves by their own classes, by name.
        files: the lists of sent files of entries on the client's computer, by the entries' names and the argument that takes their place.
        validators: the validators of what the machine loads and saves itself, as Kedro's catalog has them.
        lazy: the outputs whose datasets save a dict of callables by calling them.
        load_versions: the versions to load, by the names of versioned entries.
        machines: how many machines share the work.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    function: str
    arguments: tuple[str, ...] | dict[str, str] = ()
    inputs: dict[str, SourceFields] = Field(default_factory=dict)
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    returns: Names = None
    saves: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    entries: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    files: dict[str, dict[str, str]] = Field(default_factory=dict)
    validators: dict[str, JsonValue] = Field(default_factory=dict)
    lazy: tuple[str, ...] = ()
    load_versions: dict[str, str] = Field(default_factory=dict)
    machines: int = Field(1, ge=1)

    @model_serializer(mode="wrap")
    def _leave_out_one_machine(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if name != "machines" or value > 1}

    @property
    def module(self) -> str:
        """The module to import."""
        return self.function.partition(":")[0]

    @property
    def qualname(self) -> str:
        """The function's name in its module."""
        return self.function.partition(":")[2]


class PredictionSpec(BaseModel):
    """All that a machine must know to predict a table's rows, as plain JSON; never a secret.

    Attributes:
        name: the node's name.
        predicts_by: the model's dataset.
        library: the model's library.
        sources: the fields of the table's source (see `source_fields`) as `data`.
        files: the sent list of the files of the model's folder as `model`.
        keep: the columns of the table that stand beside each row's prediction.
        save: the place on the volume that the machine saves the predictions to; None where they come back.
        workers: how many processes share the prediction, one for each machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    predicts_by: str
    library: str
    sources: dict[Literal["data"], SourceFields]
    files: dict[Literal["model"], str]
    keep: tuple[str, ...] = ()
    save: dict[str, JsonValue] | None = None
    workers: int = Field(1, ge=1)

    @model_serializer(mode="wrap")
    def _leave_out_one_worker(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A prediction by one process keeps the fingerprint of older releases.
        return {name: value for name, value in serialize(self).items() if name != "workers" or value > 1}


def source_fields(source: Source) -> SourceFields:
    """Return a source as plain fields: its place as `dataset_url`, `dataset_key` or `dataset_file`, its format and its `load_args`."""
    fields: SourceFields = {"file_format": source.file_format}
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


def save_fields(source: VolumeSource, save_args: Mapping[str, JsonValue] | None = None) -> dict[str, JsonValue]:
    """Return where on the volume a machine saves a table, as plain fields.

    The version that a run saves is none of them: it is not part of the work.
    """
    versioned: dict[str, JsonValue] = {"versioned": True} if isinstance(source, VersionedSource) else {}
    return {**source_fields(source), **({} if save_args is None else {"save_args": dict(save_args)}), **versioned}


def model_type_of(spec: Mapping[str, Any]) -> str | None:
    """Return the model type that a `job.json` names; None if its job is not a training.

    Older job folders hold a training's parameters beside its name.
    """
    parameters = spec.get("parameters")
    model_type = {**spec, **(parameters if isinstance(parameters, dict) else {})}.get("model_type")
    return model_type if isinstance(model_type, str) else None


def work_of(spec: Mapping[str, Any]) -> str | None:
    """Return what the job of a `job.json` does, in a word: the function that it calls, what it trains, or what it predicts by."""
    function, model = spec.get("function"), spec.get("predicts_by")
    return str(function) if function else f"predicts by {model}" if model else model_type_of(spec)


def validator_module(validator: JsonValue) -> str:
    """Return the module that has a validator's function or class, from the validator as Kedro's catalog has it."""
    path = validator["class"] if isinstance(validator, dict) else validator
    return str(path).rpartition(".")[0]


def dotted_names(entry: JsonValue | Mapping[str, JsonValue]) -> Iterator[str]:
    """Yield what may be the name of a class or a module in an entry's configuration: `shop.datasets.Doubling`, of its type or below it."""
    yield from (text for text in texts_of_json(entry) if all(part.isidentifier() for part in text.split(".")) and "." in text)


def unpickles(entry: JsonValue | Mapping[str, JsonValue]) -> bool:
    """Return whether an entry may load objects of any class, of which its configuration says nothing."""
    return any(_UNPICKLES.search(text) for text in texts_of_json(entry))


def is_parameter(name: str) -> bool:
    """Return whether a dataset is Kedro's `parameters`, or one of them."""
    return name == "parameters" or name.startswith("params:")
