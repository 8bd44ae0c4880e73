"""Record a run, from what Kedro knows of it."""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import logging
import re
import shlex
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import click
from kedro.io import MemoryDataset

from kedro_cloudtrain.errors import CloudTrainError, ConfigError, DetachedError
from kedro_cloudtrain.jobs.owner import project_id
from kedro_cloudtrain.rehearsed import is_rehearsed
from kedro_cloudtrain.runs.git import git_state
from kedro_cloudtrain.runs.job_view import views_of
from kedro_cloudtrain.runs.ledger import RunLedger, SharedRuns, is_shared
from kedro_cloudtrain.runs.notices import Notices
from kedro_cloudtrain.runs.page import write_page
from kedro_cloudtrain.runs.record import NodeRecord, RunRecord, RunState, flat_parameters
from kedro_cloudtrain.runs.recorder import RunRecorder, first_line
from kedro_cloudtrain.secrecy import HIDDEN, names_a_secret, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline

    from kedro_cloudtrain.config import ProjectConfig, Settings
    from kedro_cloudtrain.jobs.receipt import Receipt
    from kedro_cloudtrain.planning.plan import NodePlan
    from kedro_cloudtrain.running.display import Display

# A parameter as it is typed: `--params=model.depth=3,api_key=…`.
_GIVEN = re.compile(r"([A-Za-z_][\w.]*)[=:]([^,=:\s][^,]*)")

logger = logging.getLogger("kedro.cloudtrain")


@contextlib.contextmanager
def recording(
    pipeline: Pipeline,
    catalog: CatalogProtocol[Any, Any],
    project: ProjectConfig,
    settings: Settings,
    run_params: Mapping[str, Any],
    run_id: str | None,
    plans: Sequence[NodePlan] = (),
    receipts: Sequence[Receipt] = (),
    display: Display | None = None,
) -> Iterator[RunRecorder]:
    """Record the block as a run.

    Args:
        pipeline: the run's.
        catalog: has its parameters.
        project: the project.
        settings: `cloudtrain.yml`.
        run_params: what Kedro's hooks are told of the run; empty without them.
        run_id: Kedro's id of the run.
        plans: the plans of its nodes, where any of them goes to a machine.
        receipts: takes those of the run's jobs.
        display: knows what the jobs cost while they run.

    Raises:
        ConfigError: a package that the settings need is missing, or notices cannot be sent as they ask.
    """
    if settings.run.report and importlib.util.find_spec("plotly") is None:
        raise ConfigError('`run.report` needs plotly for its figures: pip install "kedro-cloudtrain[viz]"')
    notices = None if settings.run.notify is None else Notices(settings.run.notify)
    ledger = RunLedger(project.path)
    volume = settings.volume.make(project.path)
    name = _project_id(project)
    parameters, digest = flat_parameters(_parameters(pipeline, catalog))
    record = RunRecord(
        id=ledger.new_id(run_id),
        project=name,
        by=_user(),
        command=_command(),
        env=str(run_params.get("env") or project.env),
        git=git_state(project.path),
        pipeline=_pipeline(run_params),
        backend=settings.backend,
        volume=redacted(volume.name),
        max_cost_usd=settings.run.max_cost_usd,
        rehearsed=is_rehearsed() and settings.backend == "runpod",
        parameters=parameters,
        parameters_digest=digest,
        started_at=time.time(),
        nodes=_nodes(pipeline, plans),
    )
    shared = SharedRuns(volume, name) if plans and is_shared(volume, project.path) else None
    so_far = display.receipts_so_far if display is not None else tuple
    recorder = RunRecorder(ledger, record, shared, receipts, {plan.node.name: plan.input_names for plan in plans}, so_far)
    recorder.begin()
    if notices is not None and display is not None:
        notices.watch(record, display.so_far_usd, display.without_machine_s)

    def end(state: RunState, error: str = "", *, soon: bool = False) -> None:
        recorder.end(state, error, soon=soon)
        if settings.run.report and not soon:
            recorder.page = _write_page(ledger, record, project.path)
        if notices is not None:
            notices.ended(record, recorder.page, soon=soon)

    try:
        yield recorder
    except DetachedError:
        end(RunState.DETACHED)
        raise
    except Exception as error:
        end(RunState.FAILED, first_line(error))
        raise
    except BaseException:
        end(RunState.INTERRUPTED, soon=True)
        raise
    end(RunState.SUCCEEDED)


def _write_page(ledger: RunLedger, record: RunRecord, project: Path) -> Path | None:
    """Write the run's page and return its place; one that cannot be written does not fail the run."""
    file = ledger.page(record.id)
    try:
        write_page(file, record, ledger.before(record), views_of(record, project))
    except (CloudTrainError, OSError) as error:
        logger.warning("The run's page was not written: %s", error, extra={"markup": False})
        return None
    return file


def _nodes(pipeline: Pipeline, plans: Sequence[NodePlan]) -> list[NodeRecord]:
    by_name = {plan.node.name: plan for plan in plans}
    nodes = []
    for node in pipeline.nodes:
        plan = by_name.get(node.name)
        if plan is None or plan.where == "here":
            nodes.append(NodeRecord(node=node.name))
        else:
            nodes.append(NodeRecord(node=node.name, kind=plan.noun, model=plan.model_type or plan.kind, where=plan.where))
    return nodes


def _parameters(pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]) -> dict[str, Any]:
    """Return the parameters that the pipeline's nodes read, by name; those that another node makes are not known yet."""
    values: dict[str, Any] = {}
    for name in sorted(pipeline.inputs()):
        if name != "parameters" and not name.startswith("params:"):
            continue
        dataset: Any = catalog.get(name)
        if isinstance(dataset, MemoryDataset):
            value = dataset.load()
            if name == "parameters" and isinstance(value, dict):
                values = value | values
            else:
                values[name.removeprefix("params:")] = value
    return values


def _pipeline(run_params: Mapping[str, Any]) -> str:
    names = run_params.get("pipeline_names") or [run_params.get("pipeline_name")]
    return ", ".join(str(name) for name in names if name) or "__default__"


def _command() -> str:
    """Return what a person has typed; empty for a run from Python."""
    if click.get_current_context(silent=True) is None:
        return ""
    hidden = [
        _GIVEN.sub(lambda given: f"{given[1]}={HIDDEN}" if names_a_secret(given[1].rpartition(".")[2]) else given[0], part)
        for part in sys.argv[1:]
    ]
    return redacted(shlex.join(["kedro", *hidden]))


def _user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "?"  # a container's user without a name
    return f"{user}@{socket.gethostname()}"


def _project_id(project: ProjectConfig) -> str:
    try:
        return project_id(project.path)
    except ConfigError:
        return project.path.name
