"""A training node before the run: what it reads, what it trains, and what is wrong with its parameters."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro.io import MemoryDataset

from kedro_cloudtrain.errors import CloudTrainError, ConfigError, HyperparameterError
from kedro_cloudtrain.jobs.parameters import TrainingParameters, library_of, task_of
from kedro_cloudtrain.jobs.preflight import check_training, problems_before
from kedro_cloudtrain.jobs.search_checks import described
from kedro_cloudtrain.nodes import TrainingFunction
from kedro_cloudtrain.planning.entries import place_within
from kedro_cloudtrain.planning.plan import MachinePlan, NodePlan
from kedro_cloudtrain.planning.target import SampledTarget
from kedro_cloudtrain.planning.training_checks import many_jobs_problems, model_problems, piece_problems, pod_problems
from kedro_cloudtrain.planning.training_outputs import job_outputs, output_kinds
from kedro_cloudtrain.planning.training_script import script_problems
from kedro_cloudtrain.running.training import TrainingOrder, pieces_chosen, training_requirements, training_workload
from kedro_cloudtrain.worker.hyperparameters import named_columns
from kedro_cloudtrain.worker.roles import SPLITTING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from kedro.io import CatalogProtocol
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.partitioned import Partitioned
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.jobs.search_space import Search
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.planning.reading import Reading
    from kedro_cloudtrain.running.order import Order
    from kedro_cloudtrain.worker.target import Task


@dataclasses.dataclass(frozen=True)
class TrainingInputs:
    """The names of a training node's inputs, as the pipeline has them.

    Attributes:
        data: the dataset to train on.
        parameters: the parameters.
        validation: the dataset of the validation rows, if it is one of its own.
    """

    data: str
    parameters: str
    validation: str | None = None

    @classmethod
    def of(cls, node: Node) -> TrainingInputs:
        """Return the inputs of a training node."""
        return cls(*node.inputs)

    @property
    def tables(self) -> list[str]:
        """The datasets among them."""
        return [name for name in (self.data, self.validation) if name is not None]

    @property
    def parameters_place(self) -> str:
        """Where a user finds the parameters."""
        return f"`{self.parameters.removeprefix('params:')}` in parameters.yml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingPlan(MachinePlan):
    """A node that trains a model.

    Attributes:
        inputs: the names of what it reads.
        parameters: what it trains; None where another node makes the parameters.
        task: what the model learns; None where a template of the project's own decides.
        project: the project's folder.
    """

    inputs: TrainingInputs
    parameters: TrainingParameters | None = None
    task: Task | None = None
    project: Path | None = None

    def sample_of(self, name: str) -> SampledTarget | None:
        """Return the target that the training has in one of its tables; None where its task is not known."""
        if self.parameters is None or self.task is None:
            return None
        held_out = name == self.inputs.validation and name != self.inputs.data
        return SampledTarget(self.parameters, self.task, self.inputs.parameters_place, held_out)

    @property
    def noun(self) -> str:
        """What kind of node it is."""
        return "training"

    @property
    def kind(self) -> str:
        """The library that trains, or the name of a template."""
        return library_of(self.parameters.model_type) if self.parameters is not None else ""

    @property
    def model_type(self) -> str | None:
        """What is trained; None where another node makes the parameters."""
        return self.parameters.model_type if self.parameters is not None else None

    @property
    def search(self) -> Search | None:
        """What is searched; None for a training that fits one model."""
        return self.parameters.search if self.parameters is not None else None

    @property
    def partitioned(self) -> Partitioned | None:
        """How the data is divided, a training for each part; None for one of all rows."""
        return self.parameters.partitioned if self.parameters is not None else None

    @property
    def jobs_at_once(self) -> int:
        """The trials of a search that run at once, or the trainings of a partitioned node."""
        if self.partitioned is not None:
            return self.partitioned.max_pods
        return 1 if self.search is None else min(self.search.parallel, self.search.most_trials)

    @property
    def notes(self) -> list[str]:
        """How many trials a search has, and what ends it; or what there is a training for."""
        if self.partitioned is not None:
            return [self.partitioned.described()]
        return [] if self.parameters is None or self.search is None else [described(self.parameters, self.search)]

    @property
    def tables(self) -> list[str]:
        """The table, and that of the validation rows."""
        return self.inputs.tables

    @property
    def input_names(self) -> dict[str, str]:
        """The table that is trained on, and that of the validation rows."""
        return dict(zip(("data", "validation"), self.tables, strict=False))

    @property
    def sized_tables(self) -> list[str]:
        """The table that is trained on."""
        return [self.inputs.data]

    @property
    def checked_tables(self) -> list[str]:
        """The tables, once it is known which columns they need."""
        return self.tables if self.columns else []

    @property
    def column_count(self) -> int | None:
        """The features and the target; None for all columns."""
        return self.parameters.column_count if self.parameters is not None else None

    def workload(self, size_bytes: int | None, shape: tuple[int, int] | None = None) -> Workload:
        """Return how much there is to compute with, and the device that the hyperparameters leave."""
        if self.parameters is None:
            return super().workload(size_bytes)
        rows, columns = shape if shape is not None else (None, None)
        return training_workload(self.parameters, rows, self.column_count or columns, size_bytes)

    def notes_of_size(self, size_bytes: int | None, shape: tuple[int, int] | None) -> list[str]:
        """Return whether the table is read in pieces, and why."""
        if self.parameters is None or self.task is None or (self.where != "local" and not self.parameters.in_pieces):
            return []
        note = pieces_chosen(self.parameters, self.workload(size_bytes, shape), self.sources)[1]
        return [note] if note else []

    @property
    def columns(self) -> Mapping[str, Sequence[str]]:
        """The columns that each table needs to have, by the parameter that names them."""
        if self.parameters is None:
            return {}
        validation, place = self.parameters.validation, self.inputs.parameters_place
        constrained = named_columns(self.parameters.hyperparameters) if self.parameters.feature_columns is None else {}
        return {
            **{f"hyperparameters.{name} of {place}": columns for name, columns in constrained.items()},
            f"target_column of {place}": [self.parameters.target_column],
            f"feature_columns of {place}": self.parameters.feature_columns or (),
            f"categorical_columns of {place}": self.parameters.categorical_columns if self.parameters.feature_columns is None else (),
            f"partitioned.group_column of {place}": [name for name in [self._group_column] if name is not None],
            f"weight_column of {place}": [self.parameters.weight_column] if self.parameters.weight_column else [],
            **{f"validation.{key} of {place}": [name] for key in SPLITTING if (name := getattr(validation, key)) is not None},
        }

    def features_of(self, columns: Sequence[str]) -> Sequence[str]:
        """Return the columns that a model learns from, of those that a table has."""
        if self.parameters is None:
            return ()
        validation = self.parameters.validation
        unused = (
            *(self.parameters.target_column, self.parameters.weight_column, self._group_column),
            *(validation.column, validation.group_column),
        )
        return self.parameters.feature_columns or [name for name in columns if name not in unused]

    def requirements(self, *, gpu: bool) -> tuple[str, ...]:
        """Return what a pod would install for the node; nothing is known where another node makes the parameters."""
        if self.parameters is None:
            return ()
        tables = [self.sources[name] for name in self.inputs.tables if name in self.sources]
        return training_requirements(self.parameters, self.settings, tables, self.project, gpu=gpu)

    def order(self, inputs: Mapping[str, Any], generator: TrainingScriptGenerator) -> TrainingOrder:
        """Return the training that the node asks for.

        Args:
            inputs: the value of each of the node's inputs, or the source that the machine reads.
            generator: knows the templates.

        Raises:
            ConfigError: parameters that another node has made, or a hook has changed, are not valid.
        """
        names = self.inputs
        parameters = TrainingParameters.parse(inputs[names.parameters], where=names.parameters_place)
        if parameters != self.parameters:
            check_training(parameters, generator, validation_table=names.validation is not None, local=self.where == "local")
            problems = [
                *many_jobs_problems(self, parameters),
                *pod_problems(self, parameters, generator),
                *piece_problems(self, parameters),
            ]
            if problems:
                raise ConfigError("\n".join(problems))
        needed = {column for columns in self.columns.values() for column in columns}
        # A template of the project's own may read more than what is named.
        all_named = parameters == self.parameters and parameters.feature_columns is not None and generator.is_shipped(parameters.model_type)
        return TrainingOrder(
            node=self.node.name,
            columns=frozenset(needed) if all_named else None,
            parameters=parameters,
            data=inputs[names.data],
            validation=inputs[names.validation] if names.validation is not None else None,
            outputs=job_outputs(self.node),
            volume=self.volume,
            settings=self.settings,
            project=self.project,
            to_pod=self.where == "runpod",
        )

    def with_order(self, order: Order, generator: TrainingScriptGenerator) -> TrainingPlan | None:
        """Return the plan with the order's parameters, which a node or a hook may have made, so that its tables are checked against them.

        None for a template of the project's own, which may make its target and its features itself.
        """
        if not isinstance(order, TrainingOrder) or not generator.is_shipped(order.parameters.model_type):
            return None
        return dataclasses.replace(self, parameters=order.parameters, task=task_of(order.parameters.model_type))

    def outputs(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the node's outputs by dataset; the job has left them by kind."""
        return {output: values[kind] for output, kind in zip(self.node.outputs, output_kinds(self.node), strict=True)}

    def explain(self, error: CloudTrainError) -> CloudTrainError:
        """Return a job's error with the node's name, and where in the project to correct its cause."""
        if isinstance(error, HyperparameterError):
            return HyperparameterError(
                f"{self.node.name}: {error.message}\nIt is set in the `hyperparameters` of {self.inputs.parameters_place}."
            )
        return super().explain(error)

    @property
    def _group_column(self) -> str | None:
        return None if self.partitioned is None else self.partitioned.group_column

    @property
    def _columns_named_by(self) -> str:
        return f", its columns are named by {self.inputs.parameters_place}"


def is_training(node: Node) -> bool:
    """Return whether a node trains a model."""
    return isinstance(node.func, TrainingFunction)


def plan_training(
    node: Node,
    reading: Reading,
    settings: NodeSettings,
    catalog: CatalogProtocol[Any, Any],
    generator: TrainingScriptGenerator,
    project: Path,
) -> TrainingPlan:
    """Plan a training node.

    Args:
        node: the node.
        reading: what the machine reads itself.
        settings: what `cloudtrain.yml` sets for the node.
        catalog: holds its parameters.
        generator: knows the templates.
        project: the project's folder.
    """
    plan = TrainingPlan(
        node,
        tuple(reading.problems),
        reading.where,
        settings=settings,
        volume=reading.volume,
        sources=reading.sources,
        made=reading.made,
        inputs=TrainingInputs.of(node),
        project=project,
    )
    names = plan.inputs
    dataset = catalog.get(names.parameters) if names.parameters.startswith(("params:", "parameters")) else None
    if dataset is None:
        return plan  # Another node makes them, or Kedro itself reports that they are missing.
    try:
        parameters = TrainingParameters.parse(dataset.load(), where=names.parameters_place)
    except ConfigError as error:
        return dataclasses.replace(plan, problems=(*plan.problems, error.message))
    problems = problems_before(parameters, generator, validation_table=names.validation is not None, local=plan.where == "local")
    problems += (
        []
        if problems
        else [*many_jobs_problems(plan, parameters), *model_problems(plan, parameters, catalog), *pod_problems(plan, parameters, generator)]
    )
    problems += piece_problems(plan, parameters)
    if not problems and not generator.is_shipped(parameters.model_type):
        problems += script_problems(plan, parameters, generator)
    task = task_of(parameters.model_type) if generator.is_shipped(parameters.model_type) else None
    return dataclasses.replace(plan, parameters=parameters, task=task, problems=(*plan.problems, *problems))


def model_places(plans: Iterable[NodePlan], catalog: CatalogProtocol[Any, Any], project: Path) -> dict[str, str]:
    """Return by node where the catalog saves its model; a model that no entry saves is left out."""
    places: dict[str, str] = {}
    for plan in plans:
        for kind, name in zip(output_kinds(plan.node), plan.node.outputs, strict=False):
            dataset = catalog.get(name) if kind == "model" else None
            if dataset is not None and not isinstance(dataset, MemoryDataset):
                places[plan.node.name] = place_within(dataset, project)
    return places
