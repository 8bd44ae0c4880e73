"""Where this computer keeps what can be had again."""

from __future__ import annotations

import os
from pathlib import Path

from kedro_cloudtrain.errors import ConfigError


def cache_folder() -> Path:
    """Return the folder of this package's caches; it need not exist yet.

    Raises:
        ConfigError: there is no home folder.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kedro-cloudtrain"
    except RuntimeError:
        raise ConfigError("This user has no home folder for caches: let XDG_CACHE_HOME name a folder that can be written to.") from None
