"""What a plan knows of a model: everything if it exists, else what its training declares."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.parameters import library_of, task_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.worker.models import TrainedModel


@dataclasses.dataclass(frozen=True)
class KnownModel:
    """A model before the run.

    Attributes:
        library: what has fitted it, or will.
        features: the columns that it needs; None where they are not known yet.
        classes: the classes of a classification; None where they are not known yet.
        versions: those that it was fitted with, by package.
        backend: what a Keras model will compute with; None where its versions tell it.
        trained: the model itself; None where the run trains it.
    """

    library: str
    features: tuple[str, ...] | None = None
    classes: tuple[Any, ...] | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    backend: str | None = None
    trained: TrainedModel | None = None

    @classmethod
    def of(cls, model: TrainedModel) -> KnownModel:
        """Return what is known of a model that exists."""
        versions = model.description.get("versions") or {}
        return cls(model.library, tuple(model.feature_columns), tuple(model.classes), versions, trained=model)

    @classmethod
    def to_be_trained(cls, parameters: TrainingParameters) -> KnownModel:
        """Return what is known of a model that the run trains."""
        task = task_of(parameters.model_type)
        classes = () if task == "regression" else None
        return cls(library_of(parameters.model_type), parameters.feature_columns, classes, backend=parameters.backend)
