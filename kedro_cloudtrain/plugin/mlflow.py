"""Log a run's metrics, models and page to the active MLflow run, which kedro-mlflow starts; it logs the parameters itself."""

from __future__ import annotations

import importlib
import inspect
import logging
import numbers
import re
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kedro_cloudtrain.worker.models import TrainedModel

logger = logging.getLogger("kedro.cloudtrain")

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


def log_model(dataset: str, model: TrainedModel) -> None:
    """Log a model in the flavour of its library, under the dataset's name; do nothing without an active run.

    The logged model is the library's own object, which takes the matrix that `model.json` describes; that file is logged beside it. A
    computer that lacks the library logs the model's folder alone.
    """
    mlflow = sys.modules.get("mlflow")
    if mlflow is None or mlflow.active_run() is None:
        return
    mlflow.log_artifacts(str(model.folder), artifact_path=f"{dataset}_files")
    from kedro_cloudtrain.worker.folds_model import FoldsModel  # only where MLflow is at work

    if isinstance(model, FoldsModel):
        return  # No flavour has a model of several.
    try:
        flavour = importlib.import_module(f"mlflow.{model.library}")
        native = model._native  # noqa: SLF001  # loaded at the first prediction, and of no use to others
        # By its position: MLflow 3 calls it `name`, MLflow 2 `artifact_path`.
        place = list(inspect.signature(flavour.log_model).parameters)[1]
        requirements = [f"{model.library}=={metadata.version(model.library)}"]
        flavour.log_model(native, **{place: dataset}, pip_requirements=requirements)
    except ImportError as error:
        logger.info("MLflow has the files of %s alone: %s", dataset, error, extra={"markup": False})
    except mlflow.exceptions.MlflowException as error:
        # The run has trained its model: a server that does not take it has not made the run fail.
        logger.warning("MLflow has not taken the model %s: %s", dataset, str(error).partition("\n")[0], extra={"markup": False})


def log_page(page: Path) -> None:
    """Log a run's page; do nothing without an active run."""
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None and mlflow.active_run() is not None:
        mlflow.log_artifact(str(page))
