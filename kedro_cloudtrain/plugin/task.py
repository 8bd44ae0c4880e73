"""A node that goes to a machine, as the task that Kedro's scheduler has for it."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError

from kedro_cloudtrain.errors import DetachedError, DiskError, HyperparameterError, JobCancelledError, NotStartedError, SourceError
from kedro_cloudtrain.planning.catalog import reason
from kedro_cloudtrain.planning.entries import as_cached, place_of
from kedro_cloudtrain.planning.inspection import unfit_inputs
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.runs.recorder import first_line
from kedro_cloudtrain.storage.disk import LOCAL_ERRORS, disk_error
from kedro_cloudtrain.storage.local_entry import LocalEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro.pipeline.node import Node
    from kedro.runner import Task

    from kedro_cloudtrain.backends.backend import Backend
    from kedro_cloudtrain.jobs.partitioned import Partitioned
    from kedro_cloudtrain.planning.plan import MachinePlan
    from kedro_cloudtrain.running.group import GroupBackend
    from kedro_cloudtrain.running.order import Order
    from kedro_cloudtrain.running.run import Run
    from kedro_cloudtrain.running.slots import SlotSource
    from kedro_cloudtrain.running.trial_machines import KeptMachines, OwnMachines


logger = logging.getLogger("kedro.cloudtrain")


class CloudTask:
    """The task of a node that goes to a machine: the machine gets references, and what comes back is saved through the catalog.

    Args:
        run: the run.
        plan: the node's plan.
        task: Kedro's own task.
        group: the group whose machine runs the job, and has its slot; None for a machine of the run's backend.
    """

    def __init__(self, run: Run, plan: MachinePlan, task: Task, group: GroupBackend | None = None) -> None:
        self._run = run
        self._plan = plan
        self._task = task
        self._group = group
        self._backend: Backend = group if group is not None else run.backend
        self._slots: SlotSource = group.gathering if group is not None else run.slots

    def __call__(self) -> Node:
        """Run the node and return it, as Kedro's tasks do.

        The hooks are those of any node. A table that the machine reads itself is not loaded in this process, so no loading hooks are
        called for it, and `before_node_run` finds its source among the inputs. The same holds for what a machine saves itself.

        Raises:
            CloudTrainError: the job is not possible, or left no outputs.
            TypeError: a hook's `before_node_run` returned something other than a dict.
        """
        try:
            return self._run_node()
        except DetachedError:
            raise
        except NotStartedError as error:
            if self._run.settings.detach:
                raise DetachedError(self._task.node.name) from error
            # Kedro reports the first error that it sees: raise the one by which the run has failed.
            raise self._run.slots.failure() or error from None
        except Exception as error:
            self._run.slots.fail(error)
            raise

    def _run_node(self) -> Node:
        task, node, catalog = self._task, self._task.node, self._task.catalog
        hook = self._hook
        inputs = {name: self._input(name) for name in node.inputs}
        context = {"node": node, "catalog": catalog, "is_async": False, "run_id": task.run_id}
        for overrides in hook.before_node_run(inputs=dict(inputs), **context) or []:
            if overrides is not None and not isinstance(overrides, dict):
                raise TypeError(f"'before_node_run' must return either None or a dictionary, got '{type(overrides).__name__}' instead.")
            inputs.update(overrides or {})
        try:
            outputs = self._outputs(inputs)
        except (DetachedError, NotStartedError):
            raise
        except Exception as error:
            self._run.slots.fail(error)
            # Kedro reports the first one alone.
            if self._run.slots.failure() is not error and not isinstance(error, JobCancelledError):
                text = first_line(error)
                named = text if text.startswith(f"{node.name}: ") else f"{node.name}: {text}"
                logger.error("Also failed: %s", named, extra={"markup": False})  # noqa: TRY400  # no stack is needed
            hook.on_node_error(error=error, inputs=inputs, **context)
            raise
        hook.after_node_run(inputs=inputs, outputs=outputs, **context)
        for name, value in outputs.items():
            if self._plan.saved_by_machine(name):
                continue
            hook.before_dataset_saved(dataset_name=name, data=value, node=node)
            self._save(name, value)
            hook.after_dataset_saved(dataset_name=name, data=value, node=node)
        for name in node.confirms:
            catalog.confirm(name)
        return node

    def _save(self, name: str, value: Any) -> None:
        """Save an output.

        Raises:
            DiskError: this computer's disk does not take it; the job's result is kept.
        """
        try:
            self._task.catalog.save(name, value)
        except (DatasetError, OSError) as error:
            refusal = error if isinstance(error, OSError) else error.__cause__
            if isinstance(refusal, OSError) and refusal.errno in LOCAL_ERRORS:
                place = Path(refusal.filename or place_of(self._task.catalog.get(name)))
                refusal = disk_error(refusal, place)
            if isinstance(refusal, DiskError):
                reason = f"{self._task.node.name}: `{name}` cannot be saved: {refusal.message} The job's own result is kept for that run."
                raise DiskError(reason) from error
            raise

    @property
    def _hook(self) -> Any:
        manager: Any = self._task.hook_manager
        return manager.hook

    def _input(self, name: str) -> Any:
        """Return an input's value, or the source that the machine reads."""
        source = self._plan.machine_input(name)
        if isinstance(source, LocalEntry):
            source = as_cached(source, self._task.catalog.get(name))
        if source is not None:
            return source
        hook = self._hook
        hook.before_dataset_loaded(dataset_name=name, node=self._task.node)
        try:
            value = self._task.catalog.load(name)
        except Exception as error:
            dataset = self._task.catalog.get(name)
            if self._exists(name) and isinstance(error, DatasetError) and type(dataset).__module__.startswith("kedro_datasets."):
                # A dataset of the project's own may fail by a mistake in its code, which its traceback shows.
                raise SourceError(
                    f"{self._task.node.name}: `{name}` cannot be loaded: {reason(error)} Check its entry in the catalog."
                ) from error
            if self._exists(name):
                raise
            raise SourceError(
                f"{self._task.node.name}: `{name}` cannot be sent to the machine, since it does not exist: "
                f"{place_of(self._task.catalog.get(name))}\nCheck its entry in the catalog, or run the node that makes it."
            ) from error
        hook.after_dataset_loaded(dataset_name=name, data=value, node=self._task.node)
        return value

    def _exists(self, name: str) -> bool:
        with contextlib.suppress(Exception):
            return bool(self._task.catalog.exists(name))
        return True  # The error of the load itself says more.

    def _outputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Run the node's job and return the node's outputs."""
        run, plan = self._run, self._plan
        try:
            order = plan.order(inputs, run.generator)
            check = partial(self._refuse_unfit, order, inputs)
            row = run.display.row(plan.node.name)
            reuse = run.settings.cache and plan.settings.cache
            if isinstance(order, TrainingOrder) and order.parameters.search is not None:
                check()
                return plan.outputs(self._search(order, reuse=reuse))
            if isinstance(order, TrainingOrder) and order.parameters.partitioned is not None:
                check()
                return plan.outputs(self._partitioned(order, order.parameters.partitioned, reuse=reuse))
            job = prepare(order, run.generator, project_id=run.project_id)
            row.reads = plan.reads  # by now with the versions that were chosen
            values = job.run(self._backend, row, run.receipts, slots=self._slots, reuse=reuse, detach=run.settings.detach, check=check)
        except (SourceError, HyperparameterError) as error:
            raise plan.explain(error) from error
        except OSError as error:
            if error.errno not in LOCAL_ERRORS:
                raise
            raise disk_error(error, Path(error.filename or tempfile.gettempdir())) from error
        return plan.outputs(values)

    def _refuse_unfit(self, order: Order, inputs: Mapping[str, Any]) -> None:
        """Raise if a look at the tables shows a problem for which a pod would be paid in vain.

        Raises:
            SourceError: with every problem that was found.
        """
        plan = self._plan.with_order(order, self._run.generator) if self._plan.where == "runpod" else None
        problems = list(unfit_inputs(plan, inputs)) if plan is not None else []
        if problems:
            raise SourceError("\n".join(problems))

    def _search(self, order: TrainingOrder, *, reuse: bool) -> dict[str, Any]:
        """Search the hyperparameters of a training, and return its outputs by kind."""
        from kedro_cloudtrain.running.search import STUDIES, TrainingSearch

        run, parallel = self._run, order.parameters.search.parallel if order.parameters.search is not None else 1
        search = TrainingSearch(
            order,
            run.generator,
            self._machines(order, parallel),
            run.display.row(order.node),
            reuse=reuse,
            project_id=run.project_id,
            studies=None if order.project is None else order.project / STUDIES,
        )
        return search.run(run.receipts)

    def _partitioned(self, order: TrainingOrder, partitioned: Partitioned, *, reuse: bool) -> dict[str, Any]:
        """Train a model for each group, and return the outputs by kind."""
        from kedro_cloudtrain.running.partitioned import PartitionedTraining

        run, (data, parameters, *_) = self._run, self._task.node.inputs
        training = PartitionedTraining(
            order,
            partitioned,
            run.generator,
            self._machines(order, partitioned.max_pods),
            run.display.row(order.node),
            place=f"`{parameters.removeprefix('params:')}` in parameters.yml",
            what=data,
            reuse=reuse,
            project_id=run.project_id,
        )
        return training.run(run.receipts)

    def _machines(self, order: TrainingOrder, parallel: int) -> OwnMachines | KeptMachines:
        """Return where many jobs of one node run.

        Args:
            order: what the node asks for.
            parallel: how many of them run at once.
        """
        from kedro_cloudtrain.running.trial_machines import KeptMachines, OwnMachines, TrialSlots

        run = self._run
        if self._group is not None:
            # Another node has made the parameters: that this node has many jobs was not known when it got its machine.
            return OwnMachines(self._group, self._group.gathering)
        if order.to_pod and not order.volume.mounted:
            return OwnMachines(run.backend, TrialSlots(run.slots))  # A pod does not see what comes into a bucket later.
        return KeptMachines(run, order.node, parallel, order.settings)
