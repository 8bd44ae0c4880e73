"""A client's jobs that share a machine, which waits for the next one: the executor's part of a run, as tasks of a world."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.config import RunSettings
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.display import Display, Row
from kedro_cloudtrain.running.group import GroupBackend
from kedro_cloudtrain.running.run import Run
from kedro_cloudtrain.running.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro_cloudtrain.backends.runpod.backend import RunPodBackend
    from kedro_cloudtrain.running.job import Job
    from simulation.client import Client
    from simulation.scheduler import Scheduler, Task


class TaskExecutor(Executor):
    """Runs what is submitted as tasks of a client."""

    def __init__(self, scheduler: Scheduler, client: Client) -> None:
        self._scheduler = scheduler
        self._client = client
        self.tasks: list[Task] = []

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)
                if not isinstance(error, Exception):
                    raise

        self.tasks.append(self._scheduler.spawn(self._client, run, f"{self._client.name}: a machine"))
        return future


class SharedMachine:
    """What the executor of a run does with nodes that share a machine.

    Args:
        scheduler: has the tasks.
        client: whose run it is.
        backend: runs the machine.
        jobs: how many jobs there are.
        keep_s: for how many seconds the machine waits for more of them.
        spread: whether the jobs have a machine each, as far as there are slots.
    """

    def __init__(self, scheduler: Scheduler, client: Client, backend: RunPodBackend, jobs: int, keep_s: float, *, spread: bool) -> None:
        self._scheduler = scheduler
        self._to_come = jobs
        self.slots = Slots(max(1, jobs - 1))
        self.executor = TaskExecutor(scheduler, client)
        run = Run(RunSettings(), backend, TrainingScriptGenerator(), Display(""), self.slots)
        self.group = GroupBackend("small", run, self.executor, keep_s, spread=spread)

    def run(self, job: Job, ready_after_s: float) -> dict[str, Any]:
        """Run a job that is ready after a while, on the machine; return its outputs."""
        self._scheduler.sleep(ready_after_s)
        self.group.gathering.announce()
        self._to_come -= 1
        if not self._to_come:
            self.group.expect_no_more()
        row = Row(job.name, "lightgbm", "")
        return self.group.gathering.run_announced(lambda: job.run(self.group, row, [], slots=self.group.gathering, reuse=True))

    def close(self) -> None:
        """Let the machine end, and wait for its thread."""
        self.group.expect_no_more()
        self.group.release()
        self._scheduler.wait(lambda: all(task.done for task in self.executor.tasks))
