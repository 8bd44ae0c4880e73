"""The executor of a run: an ordinary node's task stays in this process, a machine node's task waits for its machine in a thread."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from kedro.runner import Task

from kedro_cloudtrain.plugin.task import CloudTask
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.group import GroupBackend
from kedro_cloudtrain.storage.threads import DaemonExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from kedro.pipeline.node import Node

    from kedro_cloudtrain.planning.plan import MachinePlan
    from kedro_cloudtrain.running.run import Run

# So many more jobs than there are slots are prepared meanwhile, or have their outputs saved: a free machine does not wait for that.
_AHEAD = 2
# After Ctrl-C, for what a thread still has to do once its machine is ended; one that hangs is left behind.
_INTERRUPTED_S = 2.0


class CloudTrainExecutor(Executor):
    """Passes an ordinary node's task to the executor of this process, and any other to a thread that waits for its machine.

    Left by an exception of a node, it waits for the jobs that run, as Kedro's own runners do, or ends them where `on_failure` is
    `cancel`; left by Ctrl-C, it ends them.

    Args:
        run: the run.
        plans: the plan of each node that goes to a machine.
        ordinary: runs the ordinary nodes.
    """

    def __init__(self, run: Run, plans: Mapping[Node, MachinePlan], ordinary: DaemonExecutor) -> None:
        self._run = run
        self._plans = plans
        self._ordinary = ordinary
        self._machines = DaemonExecutor(run.slots.count + _AHEAD, "cloudtrain-machine")
        grouped = [plan.group for plan in plans.values() if plan.group is not None]
        self._groups = {name: GroupBackend(name, run, self._machines) for name in set(grouped)}
        # A thread for each of their nodes: they wait for their machine together.
        self._members = DaemonExecutor(len(grouped), "cloudtrain-member") if grouped else None
        for plan in plans.values():
            run.display.add(Row(plan.node.name, plan.kind, plan.reads))

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a task of Kedro's; that of a machine node becomes a `CloudTask`."""
        if not isinstance(task, Task) or task.node not in self._plans:
            return self._ordinary.submit(task, *args, **kwargs)
        plan = self._plans[task.node]
        if plan.group is None or self._members is None:
            return self._machines.submit(CloudTask(self._run, plan, task, self._run.slots))
        group = self._groups[plan.group]
        group.gathering.announce()
        cloud_task = CloudTask(dataclasses.replace(self._run, backend=group), plan, task, group.gathering)
        return self._members.submit(group.gathering.run_announced, cloud_task)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the threads of every kind."""
        self._machines.shutdown(wait, cancel_futures=cancel_futures)
        if self._members is not None:
            # None of these waits to be started: each has its thread.
            self._members.shutdown(wait)
        self._ordinary.shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool | None:
        run, detach = self._run, self._run.settings.detach
        interrupted = error is not None and not isinstance(error, Exception)
        if interrupted or (error is not None and not detach):
            run.slots.close()
        if interrupted or (error is not None and run.settings.on_failure == "cancel" and not detach):
            run.backend.close()
        if interrupted:
            ends_at = time.monotonic() + _INTERRUPTED_S
            for executor in (self._machines, self._members, self._ordinary):
                if executor is not None:
                    executor.close(max(0.0, ends_at - time.monotonic()), cancel_futures=True)
            run.backend.close()
            return None
        try:
            # Where jobs are left running, all that are ready are prepared, and those that find a slot are started.
            self.shutdown(wait=True, cancel_futures=error is not None and not detach)
        finally:
            run.backend.close()
        failure = run.slots.failure() if detach and error is not None else None
        if failure is not None and failure is not error:
            raise failure from None
        return None
