"""Train on a rented GPU without leaving Kedro: `kedro run --runner=cloudtrain`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedro_cloudtrain.datasets import CloudDataset, MetricsDataset, ModelDataset, ModelsDataset, TrainingHistoryDataset
    from kedro_cloudtrain.errors import (
        ApiError,
        AuthError,
        BackendError,
        BalanceError,
        BudgetExceededError,
        CapacityError,
        CloudTrainError,
        ConfigError,
        DetachedError,
        DiskError,
        JobCancelledError,
        JobError,
        JobFailedError,
        JobLostError,
        JobTimeoutError,
        PodsLeftError,
        SourceError,
        TemplateError,
    )
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.nodes import training_node
    from kedro_cloudtrain.plugin.runner import CloudTrainRunner
    from kedro_cloudtrain.prediction import prediction_node
    from kedro_cloudtrain.running.pod_manager import RunPodPodManager
    from kedro_cloudtrain.worker.checkpoints import Checkpoint

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "AuthError",
    "BackendError",
    "BalanceError",
    "BudgetExceededError",
    "CapacityError",
    "Checkpoint",
    "CloudDataset",
    "CloudTrainError",
    "CloudTrainRunner",
    "ConfigError",
    "DetachedError",
    "DiskError",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobLostError",
    "JobTimeoutError",
    "MetricsDataset",
    "ModelDataset",
    "ModelsDataset",
    "PodsLeftError",
    "RunPodPodManager",
    "SourceError",
    "TemplateError",
    "TrainingHistoryDataset",
    "TrainingScriptGenerator",
    "prediction_node",
    "training_node",
]

# The module of each name. A name is imported when it is first used, so that `kedro --help` stays fast.
_HOME = {
    "JobCancelledError": "errors",
    "DetachedError": "errors",
    "DiskError": "errors",
    "BalanceError": "errors",
    "AuthError": "errors",
    "ApiError": "errors",
    "BackendError": "errors",
    "BudgetExceededError": "errors",
    "CapacityError": "errors",
    "Checkpoint": "worker.checkpoints",
    "CloudDataset": "datasets",
    "CloudTrainError": "errors",
    "CloudTrainRunner": "plugin.runner",
    "ConfigError": "errors",
    "JobError": "errors",
    "JobFailedError": "errors",
    "JobLostError": "errors",
    "JobTimeoutError": "errors",
    "PodsLeftError": "errors",
    "MetricsDataset": "datasets",
    "ModelDataset": "datasets",
    "ModelsDataset": "datasets",
    "RunPodPodManager": "running.pod_manager",
    "SourceError": "errors",
    "TemplateError": "errors",
    "TrainingHistoryDataset": "datasets",
    "TrainingScriptGenerator": "jobs.scripts",
    "prediction_node": "prediction",
    "training_node": "nodes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
