"""The executor of a run: ordinary tasks stay here, a machine node's task waits for its machine."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from kedro.runner import Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from kedro.pipeline.node import Node

    from kedro_cloudtrain.backends import Backend
    from kedro_cloudtrain.config import RunSettings
    from kedro_cloudtrain.jobs.receipt import Receipt
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.planning.planner import NodePlan
    from kedro_cloudtrain.running.display import Display
    from kedro_cloudtrain.running.group import Group
    from kedro_cloudtrain.running.slots import Slots
# So many jobs more are prepared meanwhile, or have their outputs saved: a machine that is free does not wait for that.
_AHEAD = 2


class CloudTrainExecutor(Executor):
    """Passes ordinary tasks to the executor that is here for them, and any other to a thread that waits for its machine.

    Left by an exception of a node, it waits for what runs, as Kedro's own runners do, or ends it where `on_failure` says cancel; left by
    Ctrl-C, it ends what runs.
    """

    def __init__(
        self,
        plans: dict[Node, NodePlan],
        backend: Backend,
        display: Display,
        generator: TrainingScriptGenerator,
        receipts: list[Receipt],
        jobs: int,
        slots: Slots,
        run: RunSettings,
        here: Executor,
    ) -> None:
        from kedro_cloudtrain.running.display import Row  # late, as above

        self._plans = plans
        self._backend = backend
        self._display = display
        self._generator = generator
        self._receipts = receipts
        self._run = run
        self._here = here
        self._slots = slots
        self._machines = ThreadPoolExecutor(jobs + _AHEAD, "cloudtrain-machine")
        self._groups, self._members = self._group_nodes()
        for plan in plans.values():
            display.add(Row(plan.node.name, plan.kind, plan.reads))

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a task of Kedro's; one for a machine becomes a `CloudTask`."""
        if not isinstance(task, Task) or task.node not in self._plans:
            return self._here.submit(task, *args, **kwargs)
        from kedro_cloudtrain.plugin.task import CloudTask

        plan = self._plans[task.node]
        group = self._groups.get(plan.group)
        backend = self._backend if group is None else group
        turns = self._slots if group is None else group
        cloud_task = CloudTask(task, plan, backend, self._display, self._generator, self._receipts, self._run, self._slots, turns)
        if group is None or self._members is None:
            return self._machines.submit(cloud_task)
        group.expect()
        return self._members.submit(group.come, cloud_task)

    def _group_nodes(self) -> tuple[dict[str | None, Group], ThreadPoolExecutor | None]:
        """Give the groups by their names, and a thread for each of their nodes: they wait for their machine together."""
        grouped = [plan.group for plan in self._plans.values() if plan.group is not None]
        if not grouped:
            return {}, None
        from kedro_cloudtrain.running.group import Group

        groups: dict[str | None, Group] = {
            name: Group(name, self._backend, self._generator, self._machines, self._slots, self._receipts) for name in set(grouped)
        }
        return groups, ThreadPoolExecutor(len(grouped), "cloudtrain-member")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for all kinds of threads."""
        self._machines.shutdown(wait, cancel_futures=cancel_futures)
        if self._members is not None:
            # None of theirs waits to be begun: each has its thread.
            self._members.shutdown(wait)
        self._here.shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool | None:
        if error is not None and not self._run.detach:
            self._slots.close()
        interrupted = error is not None and not isinstance(error, Exception)
        if interrupted or (error is not None and self._run.on_failure == "cancel" and not self._run.detach):
            self._backend.close()
        try:
            # Where jobs are left at work, all that are ready are looked at, and those that have a turn begun.
            self.shutdown(wait=True, cancel_futures=error is not None and not self._run.detach)
        finally:
            self._backend.close()
        failure = self._slots.failure() if self._run.detach and error is not None else None
        if failure is not None and failure is not error:
            raise failure from None
        return None
