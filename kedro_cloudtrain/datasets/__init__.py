"""What a project writes in its catalog: a table that a machine reads itself, and what a training node leaves."""

from kedro_cloudtrain.datasets.model import ModelDataset
from kedro_cloudtrain.datasets.models import ModelsDataset
from kedro_cloudtrain.datasets.report import MetricsDataset, TrainingHistoryDataset
from kedro_cloudtrain.datasets.table import CloudDataset

__all__ = ["CloudDataset", "MetricsDataset", "ModelDataset", "ModelsDataset", "TrainingHistoryDataset"]

# A catalog that Kedro writes out (`catalog.to_config()`) names the datasets by this module, whatever file has them.
for _dataset in (CloudDataset, MetricsDataset, ModelDataset, ModelsDataset, TrainingHistoryDataset):
    _dataset.__module__ = __name__
