"""Where this computer keeps what can be had again."""

from __future__ import annotations

import os
from pathlib import Path

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.rehearsed import rehearsal_folder


def cache_folder() -> Path:
    """Return the folder of this package's caches, or of a rehearsal's own, which no real run may take for its own; it need not exist yet.

    Raises:
        ConfigError: there is no home folder.
    """
    rehearsed = rehearsal_folder()
    if rehearsed is not None:
        return rehearsed
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kedro-cloudtrain"
    except RuntimeError:
        raise ConfigError("This user has no home folder for caches: let XDG_CACHE_HOME name a folder that can be written to.") from None
