"""The other machines that share a job: pods of one cluster, which see the same volume and each other's network."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from .protocol import (
    ADDRESS_VARIABLE,
    ASKED,
    CHECKPOINT_VARIABLE,
    CLUSTER_VARIABLE,
    FAILED,
    MACHINES_VARIABLE,
    MACHINES_WITHIN_S_VARIABLE,
    VOLUME_VARIABLE,
    WORK_VARIABLE,
)

# What the job has found out itself. All that it was given its other machines were given as well, secrets among it: those are in no file.
_SHARED = (VOLUME_VARIABLE, CHECKPOINT_VARIABLE, WORK_VARIABLE)


@dataclasses.dataclass
class OtherMachines:
    """The machines beside this one, as the pod's own program has named them.

    Each runs the processes that it is asked for through a file on the volume: `asked-1`, and so on. What it cannot do it writes to
    `failed-RANK`.

    Attributes:
        folder: where the files are; each machine has it at this path.
        machines: how many machines there are, this one among them.
        address: this machine's address in their network.
        within_s: the time that they have to start.
    """

    folder: Path
    machines: int
    address: str
    within_s: float
    _asked: int = 0

    @classmethod
    def of_environment(cls) -> OtherMachines | None:
        """Return the other machines of this job; None where it has this one alone."""
        if int(os.environ.get(MACHINES_VARIABLE) or 1) == 1:
            return None
        folder = Path(os.environ[CLUSTER_VARIABLE])
        within_s = float(os.environ[MACHINES_WITHIN_S_VARIABLE])
        return cls(folder, int(os.environ[MACHINES_VARIABLE]), os.environ[ADDRESS_VARIABLE], within_s)

    def ask(self, module: str, scheduler: str, processes: int, memory: str, *, gpu: bool) -> None:
        """Ask each of them for processes.

        Args:
            module: what they run.
            scheduler: the address of the scheduler that they work for.
            processes: how many each machine runs.
            memory: as for `cluster_process.serve`.
            gpu: whether each of a machine's processes sees one GPU.
        """
        self._asked += 1
        asked: dict[str, Any] = {
            "module": module,
            "scheduler": scheduler,
            "processes": processes,
            "memory": memory,
            "gpu": gpu,
            "path": os.pathsep.join(filter(None, sys.path)),
            "variables": {name: os.environ[name] for name in _SHARED if name in os.environ},
        }
        file = self.folder / f"{ASKED}{self._asked}"
        temporary = file.with_name(f".{file.name}")
        temporary.write_text(json.dumps(asked), encoding="utf-8")
        temporary.replace(file)

    @property
    def failure(self) -> str | None:
        """What one of them has written that it cannot do; None while all can."""
        for file in sorted(self.folder.glob(f"{FAILED}*")):
            with contextlib.suppress(OSError, ValueError):
                rank = int(file.name.removeprefix(FAILED))
                return f"machine {rank + 1} of {self.machines}: {json.loads(file.read_text(encoding='utf-8'))['message']}"
        return None
