"""From a planned node and its inputs to what is asked of a machine: a training, or a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.preflight import check_training
from kedro_cloudtrain.planning.plan import output_kinds
from kedro_cloudtrain.planning.planner import where_parameters_stand
from kedro_cloudtrain.running.function import FunctionOrder
from kedro_cloudtrain.running.training import TrainingOrder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.planning.planner import NodePlan
    from kedro_cloudtrain.storage.volumes import Volume


def order_of(plan: NodePlan, inputs: Mapping[str, Any], generator: TrainingScriptGenerator) -> TrainingOrder | FunctionOrder:
    """Give what a planned node asks for.

    Args:
        plan: the node's; it goes to a machine.
        inputs: the value of each of the node's inputs, or the source that the machine reads.
        generator: knows the templates.

    Raises:
        ConfigError: the parameters that another node has made, or a hook has changed, cannot be.
    """
    if plan.volume is None or plan.settings is None:
        raise TypeError(f"{plan.node.name} does not go to a machine")
    return _call(plan, inputs, plan.volume, plan.settings) if plan.inputs is None else _training(plan, inputs, generator)


def outputs_of(plan: NodePlan, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give a node's outputs by dataset, of what its job has left."""
    if plan.inputs is None:
        return dict(values)
    return dict(zip(plan.node.outputs, (values[kind] for kind in output_kinds(plan.node)), strict=True))


def explained(plan: NodePlan, error: SourceError) -> SourceError:
    """Say of which node, and where in the project its data is named."""
    if plan.inputs is None and not (plan.sources or plan.entries):
        return SourceError(f"{plan.node.name}: {error.message}")
    tables = " and ".join(f"`{name}`" for name in plan.tables)
    columns = f", its columns are named by {where_parameters_stand(plan.inputs.parameters)}" if plan.inputs is not None else ""
    return SourceError(
        f"{plan.node.name}: {error.message}\nIts data is {tables} of the catalog{columns}. "
        "Each source is looked at, without a run, by: kedro cloudtrain plan"
    )


def _training(plan: NodePlan, inputs: Mapping[str, Any], generator: TrainingScriptGenerator) -> TrainingOrder:
    names = plan.inputs
    if names is None or plan.volume is None or plan.settings is None:
        raise TypeError(f"{plan.node.name} is no training node")
    parameters = TrainingParameters.parse(inputs[names.parameters], where=where_parameters_stand(names.parameters))
    if parameters != plan.parameters:  # Made by another node, or changed by a hook.
        check_training(parameters, generator, validation_table=names.validation is not None, here=plan.where == "local")
    return TrainingOrder(
        node=plan.node.name,
        parameters=parameters,
        data=inputs[names.data],
        validation=inputs[names.validation] if names.validation is not None else None,
        outputs=output_kinds(plan.node),
        volume=plan.volume,
        settings=plan.settings,
    )


def _call(plan: NodePlan, inputs: Mapping[str, Any], volume: Volume, settings: NodeSettings) -> FunctionOrder:
    node: Any = plan.node
    # As the node has them: Kedro's own lists of names have lost which argument is which.
    arguments, returns = node._inputs, node._outputs  # noqa: SLF001
    if not isinstance(arguments, dict):
        arguments = (arguments,) if isinstance(arguments, str) else tuple(arguments or ())
    return FunctionOrder(
        node=node.name,
        function=node.func,
        arguments=arguments,
        inputs=inputs,
        returns=tuple(returns) if isinstance(returns, list) else returns,
        volume=volume,
        project=plan.project,
        codes=plan.codes,
        saves=plan.saves,
        entries=plan.entries,
        settings=settings,
    )
