"""Where the trials of a search run: on machines that are kept from one trial to the next, or each on a machine of its own."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.running.group import GroupBackend
from kedro_cloudtrain.running.slots import Slots
from kedro_cloudtrain.storage.threads import DaemonExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kedro_cloudtrain.backends.backend import Backend
    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.receipt import MachineUse, Receipt
    from kedro_cloudtrain.running.run import Run
    from kedro_cloudtrain.running.slots import SlotSource

# Between two trials a client takes a second at most; this is for one that has to wait for its volume.
_KEEP_S = 60.0


class TrialSlots(Slots):
    """The slots of a run, as a search gets them: a trial of it that fails, or has no money, is not the failure of the run.

    Args:
        slots: the run's.
    """

    def __init__(self, slots: Slots) -> None:
        # Share all state of the run's slots: only `hold` differs.
        self.__dict__ = slots.__dict__

    @contextlib.contextmanager
    def hold(self, job: str, *, detached: bool = False, unless: Callable[[], bool] | None = None) -> Iterator[None]:
        """Hold a slot for the block.

        Args:
            job: as for `Slots.hold`.
            detached: as for `Slots.hold`.
            unless: as for `Slots.hold`.

        Raises:
            NotStartedError: as for `Slots.hold`.
        """
        failed: CloudTrainError | None = None
        with super().hold(job, detached=detached, unless=unless):
            try:
                yield
            except CloudTrainError as error:
                failed = error
        if failed is not None:
            raise failed


class OwnMachines:
    """Each trial has a machine of its own; or a process, on this computer.

    Args:
        backend: runs the trials.
        slots: what a trial gets its slot from; None where there is no run.

    Attributes:
        backend: runs the trials.
        slots: what a trial gets its slot from.
        at_once: how many may run at once; None for any number.
    """

    def __init__(self, backend: Backend, slots: SlotSource | None = None) -> None:
        self.backend = backend
        self.slots = slots
        self.at_once = slots.count if isinstance(slots, Slots) else None

    @property
    def used(self) -> list[MachineUse]:
        """What the machines were used for that no trial's receipt has."""
        return []

    def release(self) -> None:
        """Do nothing: no machine outlives its trial."""

    def close(self) -> None:
        """Do nothing: no machine outlives its trial."""


class KeptMachines:
    """Trials run one after another on machines that are kept for the next, as many of them as there are trials at once.

    Args:
        run: the run, whose backend has the machines.
        node: the node's name, by which the machines go as well.
        parallel: how many machines there are.
        settings: what `cloudtrain.yml` sets for the node.

    Attributes:
        backend: runs the trials.
        slots: what a trial gets its slot from.
        at_once: how many may run at once.
    """

    def __init__(self, run: Run, node: str, parallel: int, settings: NodeSettings) -> None:
        self._run, self._node = run, node
        self._receipts: list[Receipt] = []
        self._threads = DaemonExecutor(parallel + 1, "cloudtrain-machine")
        own = dataclasses.replace(run, slots=TrialSlots(run.slots), receipts=self._receipts)
        keep_s = settings.keep_s or min(_KEEP_S, settings.timeout_s)
        # Between two trials a machine has no job for a moment, and each that made room would be paid for, and started, again.
        self.backend = GroupBackend(node, own, self._threads, keep_s, spread=True, label=node, quiet=True, makes_room=False)
        self.slots: SlotSource | None = self.backend.gathering
        self.at_once: int | None = run.slots.count

    @property
    def used(self) -> list[MachineUse]:
        """What the machines were used for so far: those that are gone, and those that are there."""
        receipts = [*self._receipts, *(receipt for receipt in self._run.display.receipts_so_far() if receipt.node == self._node)]
        return [use for receipt in receipts for use in receipt.machines]

    def release(self) -> None:
        """Let the machines end once they have done the trials that they have."""
        self.backend.release()

    def close(self) -> None:
        """Let the machines end, and wait for what they have cost."""
        self.release()
        self._threads.shutdown(wait=True)
