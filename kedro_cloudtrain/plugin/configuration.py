"""Read `cloudtrain.yml` from a Kedro context."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext

    from kedro_cloudtrain.config import ProjectConfig


def read_config(context: KedroContext) -> ProjectConfig:
    """Read `cloudtrain.yml` from the context's environments, without checking it; a file that cannot be read is the config's `error`."""
    from kedro.config import MissingConfigException
    from kedro.framework.project import PACKAGE_NAME  # set once Kedro has configured the project

    from kedro_cloudtrain.config import ProjectConfig

    loader: Any = context.config_loader
    path = Path(context.project_path)
    patterns = getattr(loader, "config_patterns", None)
    if patterns is None:
        # The project has a loader of its own, without patterns.
        return ProjectConfig(path, package=PACKAGE_NAME, env=str(context.env or ""))
    patterns.setdefault("cloudtrain", ["cloudtrain*", "cloudtrain*/**", "**/cloudtrain*"])
    # Kedro's default merge replaces whole blocks: `defaults` in an environment would drop the `defaults` in base.
    loader.merge_strategy.setdefault("cloudtrain", "soft")
    source = Path(loader.conf_source)
    environments = [name for name in (loader.env or loader.default_run_env, loader.base_env) if name]
    files = [file for name in environments for file in sorted((source / name).glob("**/cloudtrain*.y*ml"))]
    try:
        values = loader["cloudtrain"]
    except MissingConfigException:
        return ProjectConfig(path, package=PACKAGE_NAME, env=environments[0] if environments else "")
    except Exception as error:  # noqa: BLE001  # any loader error is reported only when a run needs the settings
        return ProjectConfig(path, files=files, error=f"cloudtrain.yml cannot be read: {error}")
    credentials: Any = {}
    if "credentials" in str(values):
        with contextlib.suppress(Exception):  # the setting that names an entry is refused
            credentials = loader["credentials"]
    return ProjectConfig(path, values, files, package=PACKAGE_NAME, env=environments[0] if environments else "", credentials=credentials)
