"""`cloudtrain.yml` as checked settings; no other package knows its keys."""

from kedro_cloudtrain.config.making import RUN_PARAMETERS, RUNNER_PARAMETERS, make_settings
from kedro_cloudtrain.config.node import NodeSettings
from kedro_cloudtrain.config.notify import NotifySettings
from kedro_cloudtrain.config.project import ProjectConfig
from kedro_cloudtrain.config.run import BudgetSettings, RunSettings
from kedro_cloudtrain.config.settings import Settings, selects
from kedro_cloudtrain.config.volume import DEFAULT_VOLUME, VolumeSettings

__all__ = [
    "DEFAULT_VOLUME",
    "RUNNER_PARAMETERS",
    "RUN_PARAMETERS",
    "BudgetSettings",
    "NodeSettings",
    "NotifySettings",
    "ProjectConfig",
    "RunSettings",
    "Settings",
    "VolumeSettings",
    "make_settings",
    "selects",
]
