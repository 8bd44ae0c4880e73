"""What a machine must know to do a job, and what it says when it is done, as plain JSON."""

from __future__ import annotations

import enum
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from kedro_cloudtrain.errors import ConfigError, SourceError
from kedro_cloudtrain.storage.sources import UploadSource, UrlSource, VolumeSource, make_source
from kedro_cloudtrain.wording import problems_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Source = UrlSource | VolumeSource | UploadSource
OutputKind = Literal["model", "metrics", "history", "importance", "predictions"]
LIBRARIES = ("xgboost", "lightgbm", "catboost", "keras")
OUTPUT_KINDS: tuple[OutputKind, ...] = ("model", "metrics", "history", "importance", "predictions")


class JobState(enum.StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REUSED = "reused"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    LOST = "lost"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (JobState.WAITING, JobState.STARTING, JobState.RUNNING)


class Validation(BaseModel):
    """Which rows are held out: a fraction, a column that says it, the latest by a time column, or another dataset.

    Example:
        ```yaml
        validation: {fraction: 0.2, test_fraction: 0.1, seed: 42}
        ```
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fraction: float | None = Field(None, gt=0, lt=1)
    test_fraction: float | None = Field(None, gt=0, lt=1)
    seed: int | None = Field(None, ge=0, lt=2**32)
    column: str | None = None
    time_column: str | None = None
    dataset: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("column", "time_column", "dataset") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(f'`validation.{way}`' for way in ways)} exclude one another: keep one of them")
        if ways and ways[0] in ("column", "dataset"):
            extra = [name for name in ("fraction", "test_fraction", "seed") if getattr(self, name) is not None]
            if extra:
                raise ValueError(f"`validation.{extra[0]}` means nothing beside `validation.{ways[0]}`: drop it")
        if (self.fraction or 0.2) + (self.test_fraction or 0) >= 1:
            raise ValueError("`validation.fraction` and `validation.test_fraction` leave no rows to fit: their sum must be below 1")
        return self


class TrainingParameters(BaseModel):
    """What a user writes under a model's name in `parameters.yml`.

    Example:
        ```yaml
        species:
          model_type: xgboost_multiclass_classification
          target_column: species
          feature_columns: [bill_length_mm, bill_depth_mm, island]
          hyperparameters: {n_estimators: 300, max_depth: 4, learning_rate: 0.1}
          validation: {fraction: 0.2, seed: 42}
          early_stopping_rounds: 30
        ```
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model_type: str = Field(min_length=1)
    target_column: str = Field(min_length=1)
    feature_columns: tuple[str, ...] | None = None
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    validation: Validation = Validation()
    early_stopping_rounds: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0, lt=2**32)

    @field_validator("feature_columns")
    @classmethod
    def _some_columns_once(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns is not None and not columns:
            raise ValueError("name at least one column, or leave feature_columns out to take every column but the target")
        repeated = sorted({column for column in columns or () if (columns or ()).count(column) > 1})
        if repeated:
            raise ValueError(f"{repeated[0]!r} stands there twice: name each column once")
        return columns

    @model_validator(mode="after")
    def _target_is_no_feature(self) -> Self:
        if self.target_column in (self.feature_columns or ()):
            raise ValueError(
                f"the target `{self.target_column}` is among `feature_columns`, where a model would read its answer: take it out"
            )
        return self

    @model_validator(mode="after")
    def _part_is_no_feature(self) -> Self:
        if self.validation.column is not None and self.validation.column in (self.feature_columns or ()):
            raise ValueError(
                f"`{self.validation.column}` is validation.column, which says the part that a row is in, and is among `feature_columns`: "
                "take it out of one of them"
            )
        return self

    @classmethod
    def parse(cls, values: object, where: str) -> TrainingParameters:
        """Check what stands under `where`.

        Raises:
            ConfigError: naming each key that is unknown, missing or of a wrong value.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"{where} is {values!r}: a mapping with model_type and target_column is wanted there.")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            said = [sentence for _, sentence in problems_of(error, cls)]
            raise ConfigError(f"{where}: " + "\n".join(said)) from None


class JobSpec(TrainingParameters):
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
    ) -> JobSpec:
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
    """Say a source as the plain fields of a `JobSpec`."""
    fields: dict[str, JsonValue] = {"file_format": source.file_format}
    match source:
        case UrlSource():
            fields["dataset_url"] = source.url
            fields["load_args"] = dict(source.load_args)
        case VolumeSource():
            fields["dataset_key"] = source.key
            fields["load_args"] = dict(source.load_args)
        case UploadSource():
            fields["dataset_file"] = source.file
    return {name: value for name, value in fields.items() if value}


class Fingerprint(BaseModel):
    """What names a piece of work: the same work finds the same folder, wherever and by whomever it is asked for again.

    GPU, budget, backend and paths have no part in it.

    Attributes:
        script: sha256 of the rendered script, which holds parameters, columns and seeds.
        inputs: each input's identity (ETag, or size and time, or the content's sha256) by the input's name; None where it has none.
        code: sha256 of the code that the script imports.
        requirements: what the job installs, as pip writes it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    script: str
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    code: str = ""
    requirements: tuple[str, ...] = ()

    @classmethod
    def of(cls, script: str, inputs: Mapping[str, JsonValue], code: str, requirements: Sequence[str] = ()) -> Self:
        """Name the work of a script."""
        digest = hashlib.sha256(script.encode()).hexdigest()
        return cls(script=digest, inputs=dict(inputs), code=code, requirements=tuple(requirements))

    @property
    def digest(self) -> str:
        """64 hexadecimal digits."""
        work = json.dumps([self.script, self.inputs, self.code, self.requirements], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(work.encode()).hexdigest()

    @property
    def unidentified(self) -> list[str]:
        """The inputs that have no identity: they are never taken for unchanged."""
        return [name for name, identity in self.inputs.items() if identity is None]


def library_of(model_type: str) -> str:
    """Name the library of a shipped recipe; a template of one's own is called by its own name."""
    return next((library for library in LIBRARIES if model_type.startswith(f"{library}_")), model_type)


def job_name(node: str, digest: str) -> str:
    """Name a job and its folder: the node's name as a file name, and the first twelve digits of its fingerprint."""
    return f"{re.sub(r'[^A-Za-z0-9_]+', '-', node).strip('-')[:80] or 'job'}-{digest[:12]}"


class JobFailure(BaseModel):
    """What the script raised, as the machine wrote it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str = "Exception"
    message: str = ""
    traceback: str = ""
    stage: str = "start"
    input_error: bool = False


class JobOutput(BaseModel):
    """One output, in the job folder or on the volume.

    Attributes:
        size: in bytes.
        path: where it is in the job folder.
        sha256: of what is there.
        files: for a folder, the paths of its files.
        key: where the machine has saved it on the volume, instead.
        modified_ns: the time of that file, in nanoseconds, as the machine saw it.
        md5: of that file, where it is on a network volume.
        stored: by what an entry's file on another store is known to be the same: `etag`, `modified`, `size`, and its `version`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    size: int
    path: str = ""
    sha256: str = ""
    files: tuple[str, ...] = ()
    key: str | None = None
    modified_ns: int | None = None
    md5: str | None = None
    stored: dict[str, JsonValue] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its files in the job folder."""
        return self.files or ((self.path,) if self.path else ())


class JobResult(BaseModel):
    """`result.json`: what the machine says when it is done; the script writes it, or, where it could not, what runs it on a pod."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: Literal["succeeded", "failed", "timed out", "lost", "cancelled"]
    attempt: str | None = None
    error: JobFailure | None = None
    outputs: dict[str, JobOutput] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    rows: dict[str, int] = Field(default_factory=dict)
    bytes_read: int = 0
    device: str = "cpu"
    device_name: str = ""
    peak_memory_bytes: int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    started_at: float | None = None
    finished_at: float | None = None


class JobProgress(BaseModel):
    """One line of `progress.jsonl`: a round, of how many, what it measured, seconds since the fit began."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    step: int
    of: int
    metrics: dict[str, float | None] = Field(default_factory=dict)
    seconds: float = 0.0

    @property
    def in_rounds(self) -> bool:
        """Whether there is more than one: a call of a function is one that begins and ends."""
        return self.of > 1

    @property
    def seconds_left(self) -> float:
        """What the rounds to come take at the pace so far."""
        return self.seconds / self.step * (self.of - self.step) if self.step else 0.0


def plain(value: object) -> Any:
    """Turn numpy's and OmegaConf's scalars and sequences into JSON's own, so that a script can hold them.

    Raises:
        ConfigError: for a value that JSON has no word for.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise ConfigError(f"{value!r} ({type(value).__name__}) cannot stand in a script: use numbers, text, lists and mappings.")
