"""A prediction node before the run: what it reads, which model it predicts by, and what keeps the two from going together."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import CloudTrainError, ConfigError
from kedro_cloudtrain.jobs.preflight import missing_library
from kedro_cloudtrain.planning.catalog import reason
from kedro_cloudtrain.planning.entries import can_tell_existence, is_on_this_computer
from kedro_cloudtrain.planning.known_model import KnownModel
from kedro_cloudtrain.planning.outputs import saved_on_volume
from kedro_cloudtrain.planning.plan import MachinePlan
from kedro_cloudtrain.planning.sampled_features import SampledFeatures
from kedro_cloudtrain.planning.training import TrainingPlan
from kedro_cloudtrain.planning.training_outputs import output_kinds
from kedro_cloudtrain.planning.validators import validator_of
from kedro_cloudtrain.prediction import PredictionFunction
from kedro_cloudtrain.running.prediction import PREDICTIONS, PredictionOrder, model_of, prediction_requirements, prediction_workload
from kedro_cloudtrain.worker.predictions import PREDICTION, PROBABILITY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from kedro.io import CatalogProtocol
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.planning.plan import NodePlan
    from kedro_cloudtrain.planning.reading import Reading
    from kedro_cloudtrain.planning.sample import Sample
    from kedro_cloudtrain.storage.sources import VolumeSource

# What pandas writes by itself, and no argument that the machine would have to heed.
_PLAIN_SAVING: tuple[dict[str, Any], ...] = ({}, {"index": False})


@dataclasses.dataclass(frozen=True)
class PredictionInputs:
    """The names of a prediction node's inputs, as the pipeline has them.

    Attributes:
        data: the table.
        model: the model.
    """

    data: str
    model: str

    @classmethod
    def of(cls, node: Node) -> PredictionInputs:
        """Return the inputs of a prediction node."""
        return cls(*node.inputs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionPlan(MachinePlan):
    """A node that predicts a table's rows.

    Attributes:
        inputs: the names of what it reads.
        keep: the columns of the table that stand beside each row's prediction.
        model: what is known of the model; None where nothing is.
        save: the place on the volume that the machine saves the predictions to; None where they come back.
        project: the project's folder.
    """

    inputs: PredictionInputs
    keep: tuple[str, ...] = ()
    model: KnownModel | None = None
    save: VolumeSource | None = None
    project: Path | None = None

    @property
    def noun(self) -> str:
        """What kind of node it is."""
        return "prediction"

    @property
    def kind(self) -> str:
        """What runs on the machine: `xgboost prediction`."""
        return " ".join(filter(None, [self.model.library if self.model is not None else "", "prediction"]))

    @property
    def tables(self) -> list[str]:
        """The table and the model."""
        return [self.inputs.data, self.inputs.model]

    @property
    def checked_tables(self) -> list[str]:
        """The table."""
        return [self.inputs.data]

    @property
    def needs_rows(self) -> bool:
        """Whether a table without rows is a mistake: it is not, it gets an empty table of predictions."""
        return False

    @property
    def input_names(self) -> dict[str, str]:
        """The table and the model."""
        return {"data": self.inputs.data, "model": self.inputs.model}

    @property
    def column_count(self) -> int | None:
        """The features and the kept columns; None where they are not known."""
        features = self.model.features if self.model is not None else None
        return None if features is None else len({*features, *self.keep})

    def workload(self, size_bytes: int | None, shape: tuple[int, int] | None = None) -> Workload:
        """Return how much there is to compute with."""
        if self.model is None:
            return super().workload(size_bytes)
        rows, columns = shape if shape is not None else (None, None)
        formats = [source.file_format for source in self.sources.values()]
        return prediction_workload(self.model.library, formats, size_bytes, (rows, self.column_count or columns))

    @property
    def columns(self) -> Mapping[str, Sequence[str]]:
        """The columns that the table needs to have, by what names them."""
        features = self.model.features if self.model is not None else None
        return {
            f"the table, or train `{self.inputs.model}` on columns that it has": features or (),
            f"`keep` of {self.node.name} in the pipeline": self.keep,
        }

    def sample_of(self, name: str) -> Sample | None:
        """Return what the model needs of the table; None where the run trains the model."""
        if name != self.inputs.data or self.model is None or self.model.trained is None:
            return None
        return SampledFeatures(self.model.trained, self.inputs.model)

    def saved_by_machine(self, name: str) -> bool:
        """Return whether the machine saves the predictions itself, instead of the client through the catalog."""
        return name in self.node.outputs and self.save is not None

    def requirements(self, *, gpu: bool) -> tuple[str, ...]:
        """Return what a pod would install for the node; nothing is known where nothing is known of the model."""
        model = self.model
        if model is None:
            return ()
        sources = list(self.sources.values())
        return prediction_requirements(model.library, model.versions, self.settings, sources, self.project, gpu=gpu, backend=model.backend)

    def order(self, inputs: Mapping[str, Any], generator: TrainingScriptGenerator) -> PredictionOrder:  # noqa: ARG002  # no template to check
        """Return the prediction that the node asks for.

        Args:
            inputs: the model, and the table or the source that the machine reads.
            generator: knows the templates.

        Raises:
            ConfigError: the model's dataset does not hold a model, or its library is not installed; or a kept column has the name of a
                column of predictions.
        """
        names = self.inputs
        model = model_of(inputs[names.model], f"`{names.model}` of {self.node.name}")
        if problems := list(_model_problems(self.with_model(KnownModel.of(model)))):
            raise ConfigError("\n".join(problems))
        return PredictionOrder(
            node=self.node.name,
            model_name=names.model,
            model=model,
            data=inputs[names.data],
            volume=self.volume,
            keep=self.keep,
            save=self.save,
            settings=self.settings,
            project=self.project,
        )

    def outputs(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the node's output by its dataset."""
        return {self.node.outputs[0]: values[PREDICTIONS]}

    def with_model(self, model: KnownModel) -> PredictionPlan:
        """Return the plan with what is known of its model."""
        return dataclasses.replace(self, model=model)

    def with_trained(self, plans: Sequence[NodePlan]) -> PredictionPlan:
        """Return the plan with what is known of its model where another node of the run trains that.

        Args:
            plans: those of the run's nodes.
        """
        for plan in plans:
            if isinstance(plan, TrainingPlan) and plan.parameters is not None:
                kinds = dict(zip(plan.node.outputs, output_kinds(plan.node), strict=True))
                if (kind := kinds.get(self.inputs.model, "model")) != "model":
                    problem = f"its model `{self.inputs.model}` is the `{kind}` of {plan.node.name}: name the `model` of that node."
                    return dataclasses.replace(self, problems=(*self.problems, problem))
                models = [name for name, kind in kinds.items() if kind == "model"]
                if self.inputs.model in models and plan.partitioned is not None:
                    problem = (
                        f"its model `{self.inputs.model}` is a dict of models, of the partitioned node {plan.node.name}, and a prediction "
                        "node takes one: let a node of your own predict each group's rows by its model."
                    )
                    return dataclasses.replace(self, problems=(*self.problems, problem))
                if self.inputs.model in models and self.model is None:
                    planned = self.with_model(KnownModel.to_be_trained(plan.parameters))
                    return dataclasses.replace(planned, problems=(*self.problems, *_model_problems(planned)))
        return self

    @property
    def _columns_named_by(self) -> str:
        return f", its columns are those of the model `{self.inputs.model}`, and `keep` of the node in the pipeline"


def is_prediction(node: Node) -> bool:
    """Return whether a node predicts a table's rows."""
    return isinstance(node.func, PredictionFunction)


def plan_prediction(
    node: Node, reading: Reading, settings: NodeSettings, catalog: CatalogProtocol[Any, Any], project: Path
) -> PredictionPlan:
    """Plan a prediction node.

    Args:
        node: the node.
        reading: what the machine reads itself.
        settings: what `cloudtrain.yml` sets for the node.
        catalog: has its model.
        project: the project's folder.
    """
    function: Any = node.func
    plan = PredictionPlan(
        node,
        tuple(reading.problems),
        reading.where,
        settings=settings,
        volume=reading.volume,
        sources=reading.sources,
        made=reading.made,
        inputs=PredictionInputs.of(node),
        keep=function.keep,
        project=project,
    )
    plan = dataclasses.replace(plan, save=_saved_by_machine(plan, catalog))
    problems = list(_name_problems(plan))
    try:
        model = _model_that_exists(plan, catalog)
    except CloudTrainError as error:
        problems.append(error.message)
        model = None
    if model is not None:
        plan = plan.with_model(model)
        problems += _model_problems(plan)
    return dataclasses.replace(plan, problems=(*plan.problems, *problems))


def _saved_by_machine(plan: PredictionPlan, catalog: CatalogProtocol[Any, Any]) -> VolumeSource | None:
    """Return where the machine saves the predictions itself; None where they come back, and are saved by the catalog."""
    (name,) = plan.node.outputs
    dataset: Any = catalog.get(name)
    source = saved_on_volume(plan, dataset)
    plain = source is not None and source.file_format == "parquet" and dict(dataset.save_args) in _PLAIN_SAVING
    # What validates it is the project's code, of which a prediction has none.
    return source if plain and validator_of(catalog, name, "save") is None else None


def _model_that_exists(plan: PredictionPlan, catalog: CatalogProtocol[Any, Any]) -> KnownModel | None:
    """Return what is known of a model that is on this computer; None where the run trains it, or it is elsewhere, or does not exist.

    Raises:
        ConfigError: it cannot be loaded, or is not a model.
    """
    name = plan.inputs.model
    dataset = catalog.get(name)
    if name in plan.made or dataset is None or not is_on_this_computer(dataset) or not can_tell_existence(dataset) or not dataset.exists():
        return None
    try:
        value = dataset.load()
    except Exception as error:
        raise ConfigError(f"its model `{name}` cannot be loaded: {reason(error)}") from error
    return KnownModel.of(model_of(value, f"its model `{name}`"))


def _name_problems(plan: PredictionPlan) -> Iterator[str]:
    if PREDICTION in plan.keep:
        yield (
            f"`keep` names a column `{PREDICTION}`, which is the name of the predictions' own. Rename the table's in an earlier node, or "
            "leave it out of `keep`."
        )


def _model_problems(plan: PredictionPlan) -> Iterator[str]:
    """Yield what is wrong with a plan by what is known of its model."""
    model = plan.model
    if model is None:
        return
    if plan.where == "local":
        yield from missing_library(model.library, model.backend)
    for label in model.classes or ():
        if f"{PROBABILITY}{label}" in plan.keep:
            yield (
                f"`keep` names a column `{PROBABILITY}{label}`, which is the name of a class's probability. Rename the table's in a node "
                "before, or leave it out of `keep`."
            )
