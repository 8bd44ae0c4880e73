"""What all jobs of a `kedro run` share."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro_cloudtrain.backends.backend import MachineBackend
    from kedro_cloudtrain.config import RunSettings
    from kedro_cloudtrain.jobs.receipt import Receipt
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.running.display import Display
    from kedro_cloudtrain.running.slots import Slots


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, as its jobs see it.

    Attributes:
        settings: what `cloudtrain.yml` sets for the run as a whole.
        backend: runs the jobs.
        generator: knows the templates.
        display: shows how the jobs proceed.
        slots: as many as may have a machine at once.
        receipts: takes a receipt a job.
        project_id: the project's id.
    """

    settings: RunSettings
    backend: MachineBackend
    generator: TrainingScriptGenerator
    display: Display
    slots: Slots
    receipts: list[Receipt] = dataclasses.field(default_factory=list)
    project_id: str = ""
