"""The executor of a run: an ordinary node's task stays in this process, a machine node's task waits for its machine in a thread."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from kedro.runner import Task

from kedro_cloudtrain.plugin.task import CloudTask
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.group import GroupBackend
from kedro_cloudtrain.running.group_environment import machine_settings
from kedro_cloudtrain.storage.threads import DaemonExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from kedro.pipeline.node import Node

    from kedro_cloudtrain.planning.plan import MachinePlan
    from kedro_cloudtrain.running.run import Run

# How many jobs beyond the slots are prepared, or have their outputs saved, so that no free machine waits for that.
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
        shared = {node: key for node, plan in plans.items() if (key := _shared_machine(plan, detach=run.settings.detach)) is not None}
        self._shared = shared
        self._groups = {key: self._group(plans[node]) for node, key in shared.items()}
        # How many of their nodes are not ready yet.
        self._to_come = Counter(shared.values())
        # A thread for each of their nodes: they wait for their machine together.
        self._members = DaemonExecutor(len(shared), "cloudtrain-member") if shared else None
        for plan in plans.values():
            run.display.add(Row(plan.node.name, plan.kind, plan.reads))

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a task of Kedro's; that of a machine node becomes a `CloudTask`."""
        if not isinstance(task, Task) or task.node not in self._plans:
            return self._ordinary.submit(task, *args, **kwargs)
        plan, key = self._plans[task.node], self._shared.get(task.node)
        if key is None or self._members is None:
            return self._machines.submit(CloudTask(self._run, plan, task))
        group = self._groups[key]
        group.gathering.announce()
        self._to_come[key] -= 1
        if not self._to_come[key]:
            group.expect_no_more()
        cloud_task = CloudTask(self._run, plan, task, group)
        return self._members.submit(group.gathering.run_announced, cloud_task)

    def _group(self, plan: MachinePlan) -> GroupBackend:
        keep_s = plan.settings.keep_s
        if plan.group is not None:
            return GroupBackend(plan.group, self._run, self._machines, keep_s)
        return GroupBackend("kept", self._run, self._machines, keep_s, spread=True, label="kept machine")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down the threads of every kind."""
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
        else:
            for group in self._groups.values():
                # No node is ready any more: what is kept ends once it has done the jobs that it has.
                group.expect_no_more()
                group.release()
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


def _shared_machine(plan: MachinePlan, *, detach: bool) -> str | None:
    """Return the key of the machine that a node shares: its group, or its machine settings; None for a machine of its own."""
    if plan.group is not None:
        return f"group {plan.group}"
    # A machine that is left running gets no more jobs; a node with many jobs keeps machines of its own.
    if detach or not plan.settings.keep_s or plan.has_many_jobs:
        return None
    return json.dumps(machine_settings(plan.settings), default=str)
