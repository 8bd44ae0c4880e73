"""`cloudtrain.yml` as a Kedro context gives it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext

    from kedro_cloudtrain.config import ProjectConfig


def read_config(context: KedroContext) -> ProjectConfig:
    """Read `cloudtrain.yml` as the context's environments give it; unchecked."""
    from kedro.config import MissingConfigException
    from kedro.framework.project import PACKAGE_NAME  # known once a project is

    from kedro_cloudtrain.config import ProjectConfig

    loader: Any = context.config_loader
    path = Path(context.project_path)
    patterns = getattr(loader, "config_patterns", None)
    if patterns is None:
        return ProjectConfig(path, package=PACKAGE_NAME)  # A loader of the project's own, which knows no patterns.
    patterns.setdefault("cloudtrain", ["cloudtrain*", "cloudtrain*/**", "**/cloudtrain*"])
    # Kedro's default merge takes an environment's whole block for base's: `defaults` in one would drop it in the other.
    loader.merge_strategy.setdefault("cloudtrain", "soft")
    source = Path(loader.conf_source)
    environments = [name for name in (loader.env or loader.default_run_env, loader.base_env) if name]
    files = [file for name in environments for file in sorted((source / name).glob("**/cloudtrain*.y*ml"))]
    try:
        return ProjectConfig(path, loader["cloudtrain"], files, package=PACKAGE_NAME)
    except MissingConfigException:
        return ProjectConfig(path, package=PACKAGE_NAME)
    except Exception as error:  # noqa: BLE001  # whatever the loader says of a file is said when a run of ours needs it
        return ProjectConfig(path, files=files, error=f"cloudtrain.yml cannot be read: {error}")
