"""MLflow, where it is there: what a `MetricsDataset` saves goes to the run that is active, which kedro-mlflow has begun."""

from __future__ import annotations

import numbers
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# What MLflow lets stand in a metric's name (mlflow.utils.validation).
_NO_NAME = re.compile(r"[^\w\-. /:]")


def log_metrics(dataset: str, values: Mapping[str, Any]) -> None:
    """Log a dataset's numbers as `DATASET.NAME`, as kedro-mlflow names those of its own datasets; without an active run, nothing.

    Nothing is imported for it: whoever has begun a run has MLflow loaded. The active run is the thread's own; kedro-mlflow resumes its run
    in each thread that runs a node, so that there is one for all nodes, wherever they run.

    Args:
        dataset: its name in the catalog.
        values: what was saved; what is no number, a confusion matrix say, is left out.
    """
    mlflow = sys.modules.get("mlflow")
    if mlflow is None or mlflow.active_run() is None:
        return
    found = {name: float(value) for name, value in values.items() if isinstance(value, numbers.Real)}
    mlflow.log_metrics({_NO_NAME.sub("_", f"{dataset}.{name}"): value for name, value in found.items()})
