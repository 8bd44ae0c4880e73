"""What travels to the machine beside a script: reading, splitting, encoding, metrics, progress, saving.

In a job folder this package is `worker.zip`, and its name there is `cloudtrain_worker`. It imports nothing of `kedro_cloudtrain`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .devices import choose_keras_backend
    from .errors import InputError
    from .hyperparameters import take, with_defaults
    from .job import TrainingJob
    from .models import load_model

__all__ = ["InputError", "TrainingJob", "choose_keras_backend", "load_model", "take", "with_defaults"]

_HOME = {
    "InputError": "errors",
    "TrainingJob": "job",
    "choose_keras_backend": "devices",
    "load_model": "models",
    "take": "hyperparameters",
    "with_defaults": "hyperparameters",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
