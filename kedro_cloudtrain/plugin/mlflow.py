"""Log what a `MetricsDataset` saves to the active MLflow run, which kedro-mlflow starts."""

from __future__ import annotations

import numbers
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Characters that MLflow does not allow in a metric's name (mlflow.utils.validation).
_NOT_IN_A_NAME = re.compile(r"[^\w\-. /:]")


def log_metrics(dataset: str, values: Mapping[str, Any]) -> None:
    """Log a dataset's numbers as `DATASET.NAME`, as kedro-mlflow names those of its own datasets; do nothing without an active run.

    MLflow is not imported for it: an active run means that it is loaded already. The active run is the thread's own; kedro-mlflow resumes
    its run in each thread that runs a node, so that all nodes share one run, wherever they run.

    Args:
        dataset: its name in the catalog.
        values: what was saved; values that are not numbers, such as a confusion matrix, are left out.
    """
    mlflow = sys.modules.get("mlflow")
    if mlflow is None or mlflow.active_run() is None:
        return
    metrics = {name: float(value) for name, value in values.items() if isinstance(value, numbers.Real)}
    mlflow.log_metrics({_NOT_IN_A_NAME.sub("_", f"{dataset}.{name}"): value for name, value in metrics.items()})
