"""Train on a rented GPU without leaving Kedro: `kedro run --runner=cloudtrain`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedro_cloudtrain.datasets import CloudDataset, MetricsDataset, ModelDataset, TrainingHistoryDataset
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.nodes import training_node
    from kedro_cloudtrain.plugin.runner import CloudTrainRunner
    from kedro_cloudtrain.running.pod_manager import RunPodPodManager
    from kedro_cloudtrain.worker.checkpoints import Checkpoint

__version__ = "0.1.0"

__all__ = [
    "Checkpoint",
    "CloudDataset",
    "CloudTrainRunner",
    "MetricsDataset",
    "ModelDataset",
    "RunPodPodManager",
    "TrainingHistoryDataset",
    "TrainingScriptGenerator",
    "training_node",
]

# Each name's module: what nobody asks for is not imported, and `kedro --help` stays as fast as it is.
_HOME = {
    "Checkpoint": "worker.checkpoints",
    "CloudDataset": "datasets",
    "CloudTrainRunner": "plugin.runner",
    "MetricsDataset": "datasets",
    "ModelDataset": "datasets",
    "RunPodPodManager": "running.pod_manager",
    "TrainingHistoryDataset": "datasets",
    "TrainingScriptGenerator": "jobs.scripts",
    "training_node": "nodes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
