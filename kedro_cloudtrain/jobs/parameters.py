"""A training's parameters as a user writes them in `parameters.yml`, checked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.column_name import ColumnName  # noqa: TC001  # pydantic reads the annotation
from kedro_cloudtrain.jobs.partitioned import Partitioned  # noqa: TC001  # as above
from kedro_cloudtrain.jobs.search_space import Search  # noqa: TC001  # pydantic reads the annotation
from kedro_cloudtrain.settings_model import SettingsModel
from kedro_cloudtrain.wording import problems_of
from kedro_cloudtrain.worker.roles import SPLITTING

if TYPE_CHECKING:
    from kedro_cloudtrain.worker.target import Task

OutputKind = Literal["model", "metrics", "history", "importance", "predictions"]
NodeOutput = OutputKind | Literal["trials", "leaderboard"]
KerasBackend = Literal["jax", "tensorflow", "torch"]
LIBRARIES = ("xgboost", "lightgbm", "catboost", "keras")
TASKS: tuple[Task, ...] = ("regression", "binary_classification", "multiclass_classification")
OUTPUT_KINDS: tuple[OutputKind, ...] = ("model", "metrics", "history", "importance", "predictions")
# What a node may name: of many jobs also the table of them, which none of them makes.
NODE_OUTPUTS: tuple[NodeOutput, ...] = (*OUTPUT_KINDS, "trials", "leaderboard")


def _check_class_weight(given: object) -> object:
    """Refuse what weighs no classes; return labels as text, which is what JSON has as keys."""
    if isinstance(given, dict):
        weights = plain(given)
        odd = [label for label, weight in weights.items() if not _is_weight(weight)]
        if weights and not odd:
            return weights
        shown = f", and {odd[0]!r} has {weights[odd[0]]!r}" if odd else ""
        raise ValueError(f"a label takes a number from 0 on{shown}")
    if given in ("balanced", None):
        return given
    raise ValueError("write balanced, or a mapping of labels to weights, such as {yes: 3, no: 1}")


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


ClassWeight = Annotated[str | dict[str, float], BeforeValidator(_check_class_weight)]


class Validation(SettingsModel):
    """Which rows are held out: a fraction of the rows or groups; those that a column marks; the latest; all in turn; or a dataset.

    Attributes:
        fraction: the share of the rows, or of the groups, that validate; left out, 0.2.
        folds: cross-validates with this many folds: each part of the rows is held out once, and the model is fitted on all rows.
        keep: `folds` keeps the folds' models, which then predict together, instead of a fit on all rows.
        stratified: whether each fold has its share of each class; left out, true for a classification without groups or times.
        test_fraction: the share that is kept for the test, which neither the fit nor the stopping sees.
        seed: of the random split; left out, that of the training.
        column: the column that has `train`, `validation` or `test` in each row.
        time_column: the column by which the latest rows are held out.
        group_column: the column whose equal values stay in the same part: a customer, a patient.
        dataset: the dataset of the validation rows, which `training_node(…, validation=…)` names by itself.

    Example:
        ```yaml
        validation: {fraction: 0.2, test_fraction: 0.1, seed: 42}
        ```
    """

    fraction: float | None = Field(None, gt=0, lt=1)
    folds: int | None = Field(None, ge=2)
    keep: Literal["folds"] | None = None
    stratified: bool | None = None
    test_fraction: float | None = Field(None, gt=0, lt=1)
    seed: int | None = Field(None, ge=0, lt=2**32)
    column: ColumnName | None = None
    time_column: ColumnName | None = None
    group_column: ColumnName | None = None
    dataset: str | None = None

    @model_validator(mode="after")
    def _check_one_way(self) -> Self:
        ways = [name for name in (*SPLITTING, "dataset") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(f'`validation.{way}`' for way in ways)} exclude one another: keep one of them")
        if self.folds is not None and self.fraction is not None:
            raise ValueError("`validation.folds` and `validation.fraction` exclude one another: keep one of them")
        if self.keep is not None and self.folds is None:
            raise ValueError("`validation.keep` is about the models of `validation.folds`: add those, or remove it")
        if self.keep is not None and self.time_column is not None:
            raise ValueError(
                "`validation.keep` means nothing beside `validation.time_column`: the first folds are fitted on the oldest rows alone. "
                "Remove it, and the model is fitted on all rows"
            )
        if self.stratified is not None and self.folds is None:
            raise ValueError("`validation.stratified` is about `validation.folds`: add those, or remove it")
        if self.stratified and self.time_column is not None:
            raise ValueError(
                "`validation.stratified` means nothing beside `validation.time_column`: its folds follow one another. Remove it"
            )
        if ways and ways[0] in ("column", "dataset"):
            extra = [name for name in ("fraction", "folds", "test_fraction", "seed") if getattr(self, name) is not None]
            if extra:
                raise ValueError(f"`validation.{extra[0]}` means nothing beside `validation.{ways[0]}`: remove it")
        held_out = 1 / self.folds if self.folds is not None else self.fraction or 0.2
        if held_out + (self.test_fraction or 0) >= 1:
            by = "folds" if self.folds is not None else "fraction"
            default = "" if self.folds is not None or self.fraction is not None else ", left out,"
            raise ValueError(
                f"`validation.{by}`{default} holds out {held_out:g} of the rows, `validation.test_fraction` {self.test_fraction or 0:g}: "
                "they leave no rows to fit. Together they must be below 1"
            )
        return self


class TrainingParameters(SettingsModel):
    """What a user writes under a model's name in `parameters.yml`.

    Attributes:
        model_type: a recipe, or the name of a template of your own.
        target_column: the column to predict.
        feature_columns: the columns to predict from; left out, every column that has no other role.
        categorical_columns: the features whose whole numbers are codes of categories; left out, numbers are quantities.
        weight_column: how much each row counts, in the fit and in the metrics; left out, all rows count alike.
        class_weight: `balanced`, or a weight for each label: how much a class counts in the fit; left out, all classes count alike.
        hyperparameters: by the library's own names, a misspelt one is an error; left out, the library's defaults.
        search: what of the hyperparameters is searched, and how; left out, one model is fitted.
        partitioned: trains a model for each group of the rows, or each partition; left out, one model of all rows.
        validation: which rows are held out.
        early_stopping_rounds: ends the fit when the validation rows have not improved for this many rounds; left out, no early stopping.
        metric: what early stopping watches, by its name in the metrics file; left out, the loss.
        seed: of the fit, and of the split unless `validation.seed` is given; left out, 42.
        backend: what Keras computes with; left out, JAX on a pod, and on this computer the first of these that is installed.
        in_pieces: whether the table is read and fitted in pieces, of which one is in memory at a time; left out, it is so on this computer
            where the table would take more than half of its memory.

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

    model_config = ConfigDict(protected_namespaces=())

    model_type: str = Field(min_length=1, examples=["xgboost_regression"])
    target_column: ColumnName = Field(min_length=1, examples=["price"])
    feature_columns: tuple[ColumnName, ...] | None = None
    categorical_columns: tuple[ColumnName, ...] = ()
    weight_column: ColumnName | None = Field(None, min_length=1)
    class_weight: ClassWeight | None = None
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    search: Search | None = None
    partitioned: Partitioned | None = None
    validation: Validation = Validation()
    early_stopping_rounds: int | None = Field(None, ge=1)
    metric: str | None = Field(None, min_length=1)
    seed: int | None = Field(None, ge=0, lt=2**32)
    backend: KerasBackend | None = None
    in_pieces: bool | None = None

    @field_validator("hyperparameters", mode="before")
    @classmethod
    def _write_keys_as_text(cls, values: object) -> object:
        # YAML has numbers and truths as keys, such as a class's label in class_weights, and JSON has text.
        return plain(values) if isinstance(values, dict) else values

    @field_validator("feature_columns")
    @classmethod
    def _check_features(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns is not None and not columns:
            raise ValueError("name at least one column, or leave out feature_columns to use every column but the target")
        return columns

    @field_validator("feature_columns", "categorical_columns")
    @classmethod
    def _check_names(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        repeated = sorted({column for column in columns or () if (columns or ()).count(column) > 1})
        if repeated:
            raise ValueError(f"it names {repeated[0]!r} twice: name each column once")
        return columns

    @model_validator(mode="after")
    def _target_is_not_a_feature(self) -> Self:
        if self.target_column in (self.feature_columns or ()):
            raise ValueError(
                f"the target `{self.target_column}` is among `feature_columns`, so a model would see its answer: remove it from them"
            )
        return self

    @model_validator(mode="after")
    def _part_is_not_a_feature(self) -> Self:
        if self.validation.column is not None and self.validation.column in (self.feature_columns or ()):
            raise ValueError(
                f"`{self.validation.column}` is validation.column, which marks the part of a row, and is among `feature_columns`: "
                "remove it from one of them"
            )
        return self

    @model_validator(mode="after")
    def _backend_is_of_keras(self) -> Self:
        library = library_of(self.model_type)
        if self.backend is not None and library != "keras":
            raise ValueError(f"`backend` is {self.backend!r}: it is what Keras computes with, and {library} is not Keras. Remove it")
        return self

    @model_validator(mode="after")
    def _searched_is_not_fixed(self) -> Self:
        twice = [name for name in self.hyperparameters if self.search is not None and name in self.search.space]
        if twice:
            raise ValueError(
                f"`{twice[0]}` stands in `hyperparameters` and in `search.space`: it is fixed or searched, so keep one of them"
            )
        return self

    @model_validator(mode="after")
    def _weight_is_nothing_else(self) -> Self:
        if self.weight_column == self.target_column:
            raise ValueError(f"`{self.weight_column}` is weight_column and target_column: they are two columns")
        if self.weight_column in (self.feature_columns or ()):
            raise ValueError(
                f"`{self.weight_column}` is weight_column and is among `feature_columns`: a weight says how much a row counts, and is "
                "not a feature. Remove it from one of them"
            )
        return self

    @model_validator(mode="after")
    def _groups_are_nothing_else(self) -> Self:
        if self.partitioned is None:
            return self
        if self.search is not None:
            raise ValueError(
                "`partitioned` and `search` exclude one another: search once on all rows, and write what it has found into "
                "`hyperparameters`"
            )
        others = {
            self.target_column: "target_column",
            self.weight_column: "weight_column",
            **{name: f"validation.{key}" for key in SPLITTING if (name := getattr(self.validation, key)) is not None},
            **dict.fromkeys(self.categorical_columns, "among `categorical_columns`"),
            **dict.fromkeys(self.feature_columns or (), "among `feature_columns`"),
        }
        column = self.partitioned.group_column
        if column is not None and column in others:
            raise ValueError(
                f"`{column}` is `partitioned.group_column` and {others[column]}: it has one value in all rows of a group, so take it out "
                "of one of them"
            )
        return self

    @model_validator(mode="after")
    def _categories_are_features(self) -> Self:
        others = {
            self.target_column: "target_column",
            self.weight_column: "weight_column",
            self.validation.column: "validation.column",
            **({self.validation.group_column: "validation.group_column"} if self.feature_columns is None else {}),
        }
        for name in self.categorical_columns:
            subject = f"`{name}` is among `categorical_columns`"
            if self.feature_columns is not None and name not in self.feature_columns:
                raise ValueError(f"{subject} and not among `feature_columns`: add it to those, or take it out of these")
            if name in others:
                raise ValueError(f"{subject} and is {others[name]}, which is not a feature: take it out")
        return self

    @property
    def column_count(self) -> int | None:
        """How many columns are read: the features and the target; None for every column of the table."""
        return None if self.feature_columns is None else len(self.feature_columns) + 1

    @classmethod
    def parse(cls, values: object, where: str) -> TrainingParameters:
        """Check the parameters that stand at `where`, which begins a message.

        Raises:
            ConfigError: names each key that is unknown, missing or of a wrong value.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"{where} is {values!r}: write a mapping with model_type and target_column.")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = [sentence for _, sentence in problems_of(error, cls)]
            raise ConfigError(f"{where}: " + "\n".join(problems)) from None


def task_of(model_type: str) -> Task | None:
    """Return what a recipe's model learns; None for a template of another name."""
    return next((task for task in TASKS if model_type == f"{library_of(model_type)}_{task}"), None)


def library_of(model_type: str) -> str:
    """Return the library of a recipe; for a template of the project's own, the template's name."""
    return next((library for library in LIBRARIES if model_type.startswith(f"{library}_")), model_type)


def plain(value: object) -> Any:
    """Turn numpy's and OmegaConf's scalars and sequences into JSON's, so that a script can hold them.

    Raises:
        ConfigError: JSON cannot express a value.
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
