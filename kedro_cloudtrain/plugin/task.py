"""A node that goes to a machine, as the task that Kedro's scheduler has for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import DetachedError, NotStartedError, SourceError
from kedro_cloudtrain.planning.orders import explained, order_of, outputs_of

if TYPE_CHECKING:
    from kedro.pipeline.node import Node
    from kedro.runner import Task

    from kedro_cloudtrain.backends import Backend
    from kedro_cloudtrain.config import RunSettings
    from kedro_cloudtrain.jobs.receipt import Receipt
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.planning.planner import NodePlan
    from kedro_cloudtrain.running.display import Display
    from kedro_cloudtrain.running.slots import Slots, Turns


class CloudTask:
    """The task of a node that goes to a machine: the machine gets references, and what comes back is saved through the catalog."""

    def __init__(
        self,
        task: Task,
        plan: NodePlan,
        backend: Backend,
        display: Display,
        generator: TrainingScriptGenerator,
        receipts: list[Receipt],
        run: RunSettings,
        slots: Slots,
        turns: Turns,
    ) -> None:
        self._run = run
        self._slots = slots
        self._turns = turns
        self._task = task
        self._plan = plan
        self._backend = backend
        self._display = display
        self._generator = generator
        self._receipts = receipts

    def __call__(self) -> Node:
        """Run the node; give it back, as Kedro's tasks do.

        The hooks are those of any node. A table that the machine reads itself is not loaded here, so it has no loading hooks, and
        `before_node_run` finds its source among the inputs; so it is with what a machine saves itself, and the saving hooks.

        Raises:
            CloudTrainError: the job cannot be, or nothing came of it.
            TypeError: a hook's `before_node_run` gave something else than a dict.
        """
        try:
            return self._run_node()
        except DetachedError:
            raise
        except NotStartedError as error:
            if self._run.detach:
                raise DetachedError(self._task.node.name) from error
            # Kedro reports whichever error it sees first: that is the one by which the run has failed.
            raise self._slots.failure() or error from None
        except Exception as error:
            self._slots.fail(error)
            raise

    def _run_node(self) -> Node:
        task, node, catalog = self._task, self._task.node, self._task.catalog
        hook = self._hook
        inputs = {name: self._input(name) for name in node.inputs}
        about = {"node": node, "catalog": catalog, "is_async": False, "run_id": task.run_id}
        for overrides in hook.before_node_run(inputs=dict(inputs), **about) or []:
            if overrides is not None and not isinstance(overrides, dict):
                raise TypeError(f"'before_node_run' must return either None or a dictionary, got '{type(overrides).__name__}' instead.")
            inputs.update(overrides or {})
        try:
            outputs = self._run_there(inputs)
        except (DetachedError, NotStartedError):
            raise
        except Exception as error:
            self._slots.fail(error)
            hook.on_node_error(error=error, inputs=inputs, **about)
            raise
        hook.after_node_run(inputs=inputs, outputs=outputs, **about)
        for name, value in outputs.items():
            if self._plan.saves_there(name):
                continue
            hook.before_dataset_saved(dataset_name=name, data=value, node=node)
            catalog.save(name, value)
            hook.after_dataset_saved(dataset_name=name, data=value, node=node)
        for name in node.confirms:
            catalog.confirm(name)
        return node

    @property
    def _hook(self) -> Any:
        manager: Any = self._task.hook_manager
        return manager.hook

    def _input(self, name: str) -> Any:
        there = self._plan.there(name)
        if there is not None:
            return there
        hook = self._hook
        hook.before_dataset_loaded(dataset_name=name, node=self._task.node)
        try:
            value = self._task.catalog.load(name)
        except Exception as error:
            if self._is_there(name):
                raise
            said = f"{self._task.node.name}: `{name}` is to be sent from here, and is not there: {self._task.catalog.get(name)}"
            raise SourceError(f"{said}\nCheck its entry in the catalog, or run the node that makes it.") from error
        hook.after_dataset_loaded(dataset_name=name, data=value, node=self._task.node)
        return value

    def _is_there(self, name: str) -> bool:
        with contextlib.suppress(Exception):
            return bool(self._task.catalog.exists(name))
        return True  # Whatever it is: its own error says it.

    def _run_there(self, inputs: dict[str, Any]) -> dict[str, Any]:
        plan = self._plan
        try:
            attempt = order_of(plan, inputs, self._generator).prepare(self._generator)
            values = attempt.run(
                self._backend,
                self._display.row(plan.node.name),
                self._receipts,
                turns=self._turns,
                reuse=self._run.cache,
                detach=self._run.detach,
            )
        except SourceError as error:
            raise explained(plan, error) from error
        return outputs_of(plan, values)
