"""Whether this process is part of a rehearsal, whose RunPod is a stand-in on this computer: its money is play money."""

from __future__ import annotations

import os
from pathlib import Path

# Names the folder in which a rehearsal keeps what a run keeps in the user's caches.
VARIABLE = "CLOUDTRAIN_REHEARSAL"
# Behind each sum of dollars that a rehearsal's pods have cost.
OF_PLAY_MONEY = " of play money"


def rehearsal_folder() -> Path | None:
    """Return the folder of the rehearsal that this process is part of; None if it is part of none."""
    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder else None


def is_rehearsed() -> bool:
    """Return whether this process is part of a rehearsal."""
    return rehearsal_folder() is not None
