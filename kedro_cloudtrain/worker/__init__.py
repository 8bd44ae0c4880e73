"""The code that travels to a machine beside a script: reading, splitting, encoding, metrics, progress, saving.

In a job folder this package is `worker.zip`, and a script imports it as `cloudtrain_worker`. It imports nothing of `kedro_cloudtrain`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .blocks import auto_batch_size, in_blocks
    from .devices import choose_keras_backend
    from .errors import InputError
    from .function import FunctionJob, unpacked_code
    from .group import run_group
    from .hyperparameters import take, with_defaults
    from .models import load_model
    from .prediction import PredictionJob
    from .shared_prediction import SharedPrediction
    from .shared_training import SharedTraining
    from .training import TrainingJob
    from .training_in_pieces import TrainingInPieces

__all__ = [
    "FunctionJob",
    "InputError",
    "PredictionJob",
    "SharedPrediction",
    "SharedTraining",
    "TrainingInPieces",
    "TrainingJob",
    "auto_batch_size",
    "choose_keras_backend",
    "in_blocks",
    "load_model",
    "run_group",
    "take",
    "unpacked_code",
    "with_defaults",
]

_HOME = {
    "FunctionJob": "function",
    "InputError": "errors",
    "PredictionJob": "prediction",
    "SharedPrediction": "shared_prediction",
    "SharedTraining": "shared_training",
    "TrainingInPieces": "training_in_pieces",
    "TrainingJob": "training",
    "auto_batch_size": "blocks",
    "choose_keras_backend": "devices",
    "in_blocks": "blocks",
    "load_model": "models",
    "run_group": "group",
    "unpacked_code": "function",
    "take": "hyperparameters",
    "with_defaults": "hyperparameters",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
