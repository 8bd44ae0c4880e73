"""What Kedro calls: the runner's short name, and the hooks that read `cloudtrain.yml` and write the run's status."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

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


def register() -> None:
    """Make `--runner=cloudtrain` mean `CloudTrainRunner`; calling it again changes nothing.

    Kedro has no registry of runners: a name without a dot is an attribute of `kedro.runner` (`kedro.utils.load_obj`).
    """
    kedro.runner.cloudtrain = CloudTrainRunner  # type: ignore[attr-defined]


class CloudTrainHooks:
    """The plugin's hooks; what one run needs is kept under its `run_id`."""

    def __init__(self) -> None:
        self._latest: ProjectConfig | None = None
        self._configs: dict[str | None, ProjectConfig] = {}
        self._status: RunStatus | None = None
        self._catalog: DataCatalog | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read `cloudtrain.yml` of the run's environments."""
        self._latest = read_config(context)

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: DataCatalog) -> None:
        """Keep the configuration for the runner, and begin the run's status where the run is ours."""
        self._catalog = catalog
        if self._latest is not None:
            self._configs[run_params.get("run_id")] = self._latest
        if "CloudTrainRunner" in str(run_params.get("runner")) and self._latest is not None:
            from kedro_cloudtrain.plugin.run_status import RunStatus

            self._status = RunStatus(self._latest.path, catalog)
            self._status.began()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note when a node begins."""
        if self._status is not None:
            self._status.node_began(node)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Note that a node is done."""
        if self._status is not None:
            self._status.node_done(node)

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Note that a node has failed."""
        if self._status is not None:
            self._status.node_failed(node, error)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str) -> None:
        """Note a dataset's size."""
        if self._status is not None:
            self._status.dataset("after_dataset_loaded", dataset_name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Note a dataset's size; log metrics where MLflow has a run for them."""
        if self._status is not None:
            self._status.dataset("after_dataset_saved", dataset_name)
        if "mlflow" in sys.modules and self._is_metrics(dataset_name):
            from kedro_cloudtrain.plugin.mlflow import log_metrics

            log_metrics(dataset_name, data)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Write the end of the run's status."""
        if self._status is not None:
            self._status.ended()
            self._status = None

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Write the end of a failed run's status."""
        if self._status is not None:
            self._status.failed(error)
            self._status = None

    def _is_metrics(self, dataset_name: str) -> bool:
        from kedro_cloudtrain.datasets import MetricsDataset

        return self._catalog is not None and isinstance(self._catalog.get(dataset_name), MetricsDataset)

    def config_of(self, run_id: str | None) -> ProjectConfig | None:
        """Give the configuration that a run began with."""
        return self._configs.get(run_id, self._latest)


hooks = CloudTrainHooks()
register()
