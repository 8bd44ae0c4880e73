"""Register the runner's short name, and the hooks that read `cloudtrain.yml` and write the run's status."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import click
import kedro.runner
from kedro.framework.hooks import hook_impl

from kedro_cloudtrain.plugin.configuration import read_config
from kedro_cloudtrain.plugin.runner import CloudTrainRunner

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline.node import Node

    from kedro_cloudtrain.config import ProjectConfig
    from kedro_cloudtrain.plugin.run_status import RunStatus
    from kedro_cloudtrain.runs.recorder import RunRecorder

logger = logging.getLogger("kedro.cloudtrain")


def register() -> None:
    """Make `--runner=cloudtrain` mean `CloudTrainRunner`; calling it again changes nothing.

    Kedro has no registry of runners: a name without a dot is an attribute of `kedro.runner` (`kedro.utils.load_obj`).
    """
    kedro.runner.cloudtrain = CloudTrainRunner  # type: ignore[attr-defined]


class CloudTrainHooks:
    """The plugin's hooks. The configuration of each run is kept under its `run_id`."""

    def __init__(self) -> None:
        self._latest: ProjectConfig | None = None
        self._configs: dict[str | None, ProjectConfig] = {}
        self._run_params: dict[str | None, dict[str, Any]] = {}
        self._status: RunStatus | None = None
        # The recorder of the latest run; the runner sets it.
        self.recorder: RunRecorder | None = None
        self._catalog: DataCatalog | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read `cloudtrain.yml` from the run's environments."""
        self._latest = read_config(context)
        if _is_typed():
            _explain_catalog(context)

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: DataCatalog) -> None:
        """Keep the configuration for the runner, and start the run's status if it is a `CloudTrainRunner`."""
        self._catalog = catalog
        self.recorder = None  # an earlier run's, which was interrupted
        if self._latest is not None:
            self._configs[run_params.get("run_id")] = self._latest
            self._run_params[run_params.get("run_id")] = run_params
        if "CloudTrainRunner" in str(run_params.get("runner")) and self._latest is not None:
            from kedro_cloudtrain.plugin.run_status import RunStatus

            self._status = RunStatus(self._latest.path, catalog)
            self._status.run_started()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Record when a node starts."""
        if self._status is not None:
            self._status.node_started(node)
        if self.recorder is not None:
            self.recorder.node_started(node.name)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Record that a node is done."""
        if self._status is not None:
            self._status.node_done(node, None if self.recorder is None else self.recorder.job_s(node.name))
        if self.recorder is not None:
            self.recorder.node_done(node.name)

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Record that a node has failed."""
        if self._status is not None:
            self._status.node_failed(node, error)
        if self.recorder is not None:
            self.recorder.node_failed(node.name, error)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str) -> None:
        """Record the size of a loaded dataset."""
        if self._status is not None:
            self._status.dataset_used("after_dataset_loaded", dataset_name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Record the size of a saved dataset and its place, and log metrics to MLflow's active run."""
        if self._status is not None:
            self._status.dataset_used("after_dataset_saved", dataset_name)
        if self.recorder is not None and self._catalog is not None and self._latest is not None:
            from kedro_cloudtrain.planning.entries import place_within

            place = place_within(self._catalog.get(dataset_name), self._latest.path)
            self.recorder.saved(node.name, dataset_name, place, data, is_metrics=self._is_metrics(dataset_name))
        if "mlflow" in sys.modules:
            self._log_to_mlflow(dataset_name, data)

    @hook_impl(tryfirst=True)  # before kedro-mlflow ends its run
    def after_pipeline_run(self) -> None:
        """Record the end of the run."""
        if self._status is not None:
            self._status.run_done()
            self._status = None
        self._end_record()

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Record that the run has failed."""
        if self._status is not None:
            self._status.run_failed(error)
            self._status = None
        self._end_record()

    def _end_record(self) -> None:
        """Forget the run's recorder; log its page, to MLflow as well, where the run has written one."""
        page = self.recorder.page if self.recorder is not None else None
        self.recorder = None
        if page is not None and "mlflow" in sys.modules:
            from kedro_cloudtrain.plugin.mlflow import log_page

            log_page(page)
        if page is not None:
            logger.info("The run's page: %s", page, extra={"markup": False})

    def _log_to_mlflow(self, dataset_name: str, data: Any) -> None:
        """Log metrics and models to MLflow's active run."""
        from kedro_cloudtrain.datasets import ModelDataset
        from kedro_cloudtrain.plugin.mlflow import log_metrics, log_model
        from kedro_cloudtrain.worker.models import TrainedModel

        if self._is_metrics(dataset_name):
            log_metrics(dataset_name, data)
        elif self._catalog is not None and isinstance(self._catalog.get(dataset_name), ModelDataset) and isinstance(data, TrainedModel):
            log_model(dataset_name, data)

    def _is_metrics(self, dataset_name: str) -> bool:
        from kedro_cloudtrain.datasets import MetricsDataset

        return self._catalog is not None and isinstance(self._catalog.get(dataset_name), MetricsDataset)

    def run_params_of(self, run_id: str | None) -> dict[str, Any]:
        """Return what Kedro has told of a run."""
        return self._run_params.get(run_id, {})

    def config_of(self, run_id: str | None) -> ProjectConfig | None:
        """Return the configuration that a run started with."""
        return self._configs.get(run_id, self._latest)


def _is_typed() -> bool:
    """Return whether this is a run with this package's runner that a person has typed."""
    command = click.get_current_context(silent=True)
    runner = str(command.params.get("runner") if command is not None else None)
    return runner in ("cloudtrain", "kedro_cloudtrain.CloudTrainRunner", f"{CloudTrainRunner.__module__}.CloudTrainRunner")


def _explain_catalog(context: Any) -> None:
    """Report in one line a catalog that Kedro cannot make; Kedro's own error has a traceback of a hundred."""
    make = context._get_catalog  # noqa: SLF001  # Kedro makes the catalog there, before it calls any hook that could look at it

    def explained(*args: Any, **options: Any) -> Any:
        from kedro_cloudtrain.planning.catalog import making_the_catalog

        with making_the_catalog():
            return make(*args, **options)

    context._get_catalog = explained  # noqa: SLF001


hooks = CloudTrainHooks()
register()
