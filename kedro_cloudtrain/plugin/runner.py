"""`CloudTrainRunner`: ordinary nodes run in this process, machine nodes where the settings say; the rest is Kedro's own."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.runner import AbstractRunner, SequentialRunner, ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node
    from pluggy import PluginManager

    from kedro_cloudtrain.backends.backend import MachineBackend
    from kedro_cloudtrain.config import ProjectConfig, Settings
    from kedro_cloudtrain.jobs.receipt import Receipt
    from kedro_cloudtrain.planning.environments import LockedEnvironments
    from kedro_cloudtrain.planning.plan import NodePlan
    from kedro_cloudtrain.planning.planner import Planner
    from kedro_cloudtrain.planning.saved_plan import SavedPlan
    from kedro_cloudtrain.plugin.ending import Ending
    from kedro_cloudtrain.running.display import Display
    from kedro_cloudtrain.storage.threads import DaemonExecutor

# Jobs at once on this computer where `run.max_pods` is left out: each job fits with every core, and two of them would only wait for
# each other (measured: 300 rounds of XGBoost beside LightGBM, on 2 cores and 344 rows, take 32 s instead of 0.3 s).
_LOCAL_JOBS = 1
_PODS = 8


class CloudTrainRunner(SequentialRunner):
    """Runs training nodes, and whatever `nodes` names, on machines, and a pipeline's ordinary nodes in this process, one by one.

    Args:
        is_async: whether ordinary nodes load and save in threads, as for Kedro's own runners.
        **runner_params: `--runner-params`: `backend`, `max_pods`, `timeout_s` and others, which override `cloudtrain.yml`;
            `max_workers`, with which ordinary nodes run in that many threads, as under Kedro's `ThreadRunner`; and `plan`, the file of a
            `kedro cloudtrain plan --out FILE`: the run is refused unless it is what was planned.

    Raises:
        ConfigError: from `run`, before any node has run, for everything that can be known to be wrong by then.

    Example:
        ```python
        session.run(runner=CloudTrainRunner(max_pods=4))
        ```
    """

    def __init__(self, is_async: bool = False, **runner_params: Any) -> None:
        self._threads: ThreadRunner | None = None
        if "max_workers" in runner_params:
            self._threads = _thread_runner(runner_params.pop("max_workers"), is_async=is_async)
            is_async = False
        super().__init__(is_async=is_async)
        # An empty one (`plan=$PLAN`) is a mistake, and must not run anything.
        self._plan_file = _plan_file(runner_params.pop("plan")) if "plan" in runner_params else None
        self._saved_plan: SavedPlan | None = None
        self._runner_params = runner_params
        self._make_executor: Callable[[DaemonExecutor], Executor] | None = None
        self._started = False
        self.receipts: list[Receipt] = []

    @property
    def _logger(self) -> logging.Logger:
        # Kedro's default logging shows INFO below `kedro` alone.
        return logging.getLogger("kedro.cloudtrain")

    def _get_required_workers_count(self, pipeline: Pipeline) -> int:
        count: int = self._threads._get_required_workers_count(pipeline) if self._threads is not None else 1  # noqa: SLF001
        return count

    def _get_executor(self, max_workers: int) -> Executor | None:  # type: ignore[override]  # SequentialRunner never has one
        if self._make_executor is None:
            ordinary: Executor | None = self._threads._get_executor(max_workers) if self._threads is not None else None  # noqa: SLF001
            # None makes Kedro run the nodes one by one in this thread, as SequentialRunner does.
            return ordinary
        from kedro_cloudtrain.storage.threads import DaemonExecutor

        # A node that hangs, in a download for example, keeps no process alive.
        return self._make_executor(DaemonExecutor(max_workers if self._threads is not None else 1, "cloudtrain-ordinary"))

    def run(self, pipeline: Pipeline, catalog: CatalogProtocol[Any, Any], *args: Any, **options: Any) -> dict[str, Any]:
        """Run a pipeline as any of Kedro's runners does.

        Raises:
            ConfigError: an entry of the catalog cannot be made, or an input is nowhere (Kedro's own error has a long traceback); or the
                run is not what its plan has.
        """
        from kedro_cloudtrain.errors import ConfigError
        from kedro_cloudtrain.planning.catalog import missing_inputs, unmade_entries

        self._started = False
        self._saved_plan = None if self._plan_file is None else _read_plan(self._plan_file)
        unmade = unmade_entries(catalog, sorted(pipeline.datasets()))
        if unmade:
            raise ConfigError("\n".join(unmade.values()))
        missing = [problem for problems in missing_inputs(pipeline.nodes, catalog).values() for problem in problems]
        try:
            outputs: dict[str, Any] = super().run(pipeline, catalog, *args, **options)
        except ValueError as error:
            if self._started or not missing:
                raise
            raise ConfigError("\n".join(dict.fromkeys(missing))) from error
        return outputs

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol[Any, Any],
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        self._started = True
        project = _project_config(hook_manager, run_id)
        settings = project.settings(self._runner_params)
        _refuse_selectors(settings, pipeline)
        self._make_executor = None
        self.receipts = []
        for_machines = any(_is_recipe(node) or settings.names_node(node.name, node.tags, node.namespace) for node in pipeline.nodes)
        if not for_machines and self._saved_plan is None:
            with _recorded(pipeline, catalog, hook_manager, run_id, project, settings):
                self._run_nodes(pipeline, catalog, hook_manager, run_id)
            return
        from kedro_cloudtrain.plugin.ending import Ending

        ending = Ending()
        with ending.by_signals():
            self._run_planned(pipeline, catalog, hook_manager, run_id, project, settings, ending, for_machines=for_machines)

    def _run_planned(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol[Any, Any],
        hook_manager: PluginManager | None,
        run_id: str | None,
        project: ProjectConfig,
        settings: Settings,
        ending: Ending,
        *,
        for_machines: bool,
    ) -> None:
        # Late: a run without a node for a machine needs none of it.
        from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
        from kedro_cloudtrain.planning.environments import lock_environments
        from kedro_cloudtrain.planning.planner import Planner
        from kedro_cloudtrain.running.display import Display

        generator = TrainingScriptGenerator(project.templates)
        planner = Planner(catalog, settings, generator, project.path, project.package)
        plans = planner.plan(pipeline.nodes)
        _refuse(plans)
        if self._saved_plan is not None:
            self._check(self._saved_plan, planner, plans)
        if for_machines:
            _refuse_environments(lock_environments(plans, planner.project))
        display = Display(_headline(plans, settings))
        with _recorded(pipeline, catalog, hook_manager, run_id, project, settings, plans, self.receipts, display):
            if for_machines:
                self._run_with_machines(pipeline, catalog, hook_manager, run_id, project, planner, plans, display, ending)
            else:
                self._run_nodes(pipeline, catalog, hook_manager, run_id)

    def _check(self, saved: SavedPlan, planner: Planner, plans: Sequence[NodePlan]) -> None:
        """Check that what was planned is what would run, and log what cannot be compared.

        Raises:
            ConfigError: it is not.
        """
        from kedro_cloudtrain.planning.record import make_record

        record = make_record(planner, plans)
        saved.check(record)
        self._logger.info("The run is what %s has.", saved.file, extra={"markup": False})
        for text in record.opaque:
            self._logger.warning("Not held to %s: %s.", saved.file, text, extra={"markup": False})

    def _run_with_machines(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol[Any, Any],
        hook_manager: PluginManager | None,
        run_id: str | None,
        project: ProjectConfig,
        planner: Planner,
        plans: Sequence[NodePlan],
        display: Display,
        ending: Ending,
    ) -> None:
        from kedro_cloudtrain.backends import make_backend
        from kedro_cloudtrain.errors import PodsLeftError
        from kedro_cloudtrain.jobs.owner import project_id
        from kedro_cloudtrain.planning.plan import MachinePlan
        from kedro_cloudtrain.planning.training import model_places
        from kedro_cloudtrain.plugin.executor import CloudTrainExecutor
        from kedro_cloudtrain.running.run import Run
        from kedro_cloudtrain.running.slots import Slots
        from kedro_cloudtrain.storage.silence import silent_servers

        settings = planner.settings
        jobs = jobs_at_once(settings)
        run = Run(
            settings.run,
            make_backend(settings, project.path, jobs),
            planner.generator,
            display,
            Slots(jobs),
            self.receipts,
            project_id(project.path),
        )
        machine_plans = {plan.node: plan for plan in plans if isinstance(plan, MachinePlan)}
        self._make_executor = lambda ordinary: CloudTrainExecutor(run, machine_plans, ordinary)
        models, began_at = model_places(plans, catalog, project.path), time.monotonic()
        try:
            ending.last_lines = lambda: (*run.backend.left(), *silent_servers())
            ending.end_machines = partial(_close, run.backend)
            with run.display:
                self._run_nodes(pipeline, catalog, hook_manager, run_id)
        finally:
            order = {plan.node.name: index for index, plan in enumerate(plans)}
            # A group's receipt stands below those of its nodes.
            self.receipts.sort(key=lambda receipt: order.get(receipt.node, len(order)))
            run.display.print_receipts(self.receipts, models, time.monotonic() - began_at, settings.run.max_cost_usd)
            reuse = settings.run.cache and any(plan.settings.cache for plan in machine_plans.values())
            self._log_left(run.slots.postponed, kept=reuse and (ending.has_begun or isinstance(sys.exc_info()[1], KeyboardInterrupt)))
            left = run.backend.left()
            for sentence in left if sys.exc_info()[0] is not None else ():
                self._logger.error("%s", sentence, extra={"markup": False})
        if left:
            # Whatever else went well: money is being spent.
            raise PodsLeftError("\n".join(left))

    def _log_left(self, postponed: Sequence[str], *, kept: bool) -> None:
        """Log which jobs keep running without this run, and how to find them again; and what is not lost where it was interrupted."""
        left = [receipt.job for receipt in self.receipts if receipt.state == "running"]
        if left:
            self._logger.info(
                "Left running: %s. Wait for one: kedro cloudtrain wait JOB. The same run again, without detach, takes their results.",
                ", ".join(left),
                extra={"markup": False},
            )
        if postponed:
            self._logger.info(
                "Not started, since as many jobs as run.max_pods allows are running: %s. The same run again starts them.",
                ", ".join(sorted(postponed)),
                extra={"markup": False},
            )
        if kept:
            self._logger.info("Interrupted. Finished jobs, trials and groups are kept: the same run again goes on from there.")

    def _run_nodes(self, *args: Any) -> None:
        """Let Kedro schedule: as its ThreadRunner does where ordinary nodes run in threads, else as its SequentialRunner."""
        if self._threads is not None:
            AbstractRunner._run(self, *args)  # noqa: SLF001  # past SequentialRunner's message about synchronous mode
        else:
            super()._run(*args)


def _close(backend: MachineBackend) -> None:
    """End the machines, unless that has begun."""
    if not backend.is_closed:
        backend.close()


def _thread_runner(max_workers: Any, *, is_async: bool) -> ThreadRunner:
    try:
        return ThreadRunner(max_workers=max_workers, is_async=is_async)
    except (TypeError, ValueError):
        from kedro_cloudtrain.errors import MaxWorkersError

        raise MaxWorkersError(f"max_workers should be positive and a whole number; --runner-params sets {max_workers!r}.") from None


def _plan_file(value: Any) -> Path:
    if isinstance(value, str | Path) and str(value):
        return Path(value)
    from kedro_cloudtrain.errors import ConfigError

    raise ConfigError(f"--runner-params: `plan` names no file: {value!r}. Write, for example, plan=plan.json.")


def _read_plan(file: Path) -> SavedPlan:
    from kedro_cloudtrain.planning.saved_plan import SavedPlan

    return SavedPlan.read(file)


def jobs_at_once(settings: Settings) -> int:
    """Return how many jobs run at once."""
    return settings.run.max_pods or (_LOCAL_JOBS if settings.backend == "local" else _PODS)


def _refuse_selectors(settings: Settings, pipeline: Pipeline) -> None:
    """Raise if a key of `nodes` selects no node of the run, nor of any pipeline of the project.

    Raises:
        ConfigError: with a sentence for each.
    """
    if not settings.nodes:
        return
    from kedro.framework.project import pipelines

    from kedro_cloudtrain.errors import ConfigError
    from kedro_cloudtrain.planning.selectors import unmatched_selectors

    if not unmatched_selectors(settings, pipeline.nodes):
        return
    # The project's pipelines are made only where there is a question.
    registered = [node for pipeline in pipelines.values() for node in pipeline.nodes]
    unmatched = unmatched_selectors(settings, [*pipeline.nodes, *registered]) if registered else []
    if unmatched:
        raise ConfigError("\n".join(unmatched))


def _is_recipe(node: Node) -> bool:
    from kedro_cloudtrain.nodes import TrainingFunction  # loaded already, if the pipeline has one
    from kedro_cloudtrain.prediction import PredictionFunction

    return isinstance(node.func, TrainingFunction | PredictionFunction)


def _project_config(hook_manager: Any, run_id: str | None) -> ProjectConfig:
    """Return what our hooks have read; without them (a null plugin manager, hooks disabled) runner params alone must do."""
    from kedro_cloudtrain.config import ProjectConfig

    hooks = hook_manager.get_plugin("cloudtrain") if hasattr(hook_manager, "get_plugin") else None
    config = hooks.config_of(run_id) if hooks is not None else None
    return config if config is not None else ProjectConfig(Path.cwd())


@contextlib.contextmanager
def _recorded(
    pipeline: Pipeline,
    catalog: CatalogProtocol[Any, Any],
    hook_manager: Any,
    run_id: str | None,
    project: ProjectConfig,
    settings: Settings,
    plans: Sequence[NodePlan] = (),
    receipts: Sequence[Receipt] = (),
    display: Display | None = None,
) -> Iterator[None]:
    """Let the run leave a record, which our hooks, where there are any, fill with what happens to each node."""
    from kedro_cloudtrain.plugin.recording import recording

    hooks = hook_manager.get_plugin("cloudtrain") if hasattr(hook_manager, "get_plugin") else None
    run_params = hooks.run_params_of(run_id) if hooks is not None else {}
    with recording(pipeline, catalog, project, settings, run_params, run_id, plans, receipts, display) as recorder:
        if hooks is not None:
            hooks.recorder = recorder
        yield


def _refuse(plans: Sequence[NodePlan]) -> None:
    """Raise if anything is wrong with a plan, or a version that it reads is missing.

    Raises:
        ConfigError: with every problem of every node.
    """
    from kedro_cloudtrain.errors import ConfigError
    from kedro_cloudtrain.planning.inspection import missing_versions

    problems = [f"{plan.node.name}: {problem}" for plan in plans for problem in plan.problems]
    problems += () if problems else missing_versions(plans)
    if problems:
        raise ConfigError("\n".join(problems))


def _refuse_environments(environments: LockedEnvironments) -> None:
    """Raise if a pod's packages cannot be installed; where that cannot be told, the pod tries.

    Raises:
        ConfigError: with the reason of each node.
    """
    from kedro_cloudtrain.errors import ConfigError

    if environments.problems:
        raise ConfigError("\n".join(f"{node}: {problem}" for node, problem in environments.problems.items()))


def _headline(plans: Sequence[NodePlan], settings: Settings) -> str:
    from kedro_cloudtrain.wording import counted

    counts = {noun: sum(plan.noun == noun for plan in plans) for noun in ("training", "prediction", "function", "ordinary")}
    nodes = ", ".join(counted(count, f"{noun} node") for noun, count in counts.items() if count or noun in ("training", "ordinary"))
    return f"cloudtrain   {nodes} · backend {settings.backend} · volume {settings.volume}"
