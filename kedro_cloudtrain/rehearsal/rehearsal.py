"""A rehearsal: RunPod on this computer, with volumes, machines and faults, for a command or a test."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kedro_cloudtrain.rehearsal.calls import API_KEY
from kedro_cloudtrain.rehearsal.named_faults import plan_fault
from kedro_cloudtrain.rehearsal.offers import Offers
from kedro_cloudtrain.rehearsal.server import RunPodStandIn
from kedro_cloudtrain.rehearsal.storage import ACCESS_KEY, SECRET_KEY, S3StandIn
from kedro_cloudtrain.rehearsed import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kedro_cloudtrain.rehearsal.pods import RunningPod

# Where a rehearsal's folder has its volumes.
VOLUMES = "volumes"
# A directory volume's jobs are not data: a network volume has none at first.
_JOBS = ".cloudtrain"


@dataclasses.dataclass(frozen=True)
class Seed:
    """What a rehearsal's volumes have from the start.

    Attributes:
        source: a file, or a folder.
        key: the key that it gets; empty for a folder whose content the volumes get.
    """

    source: Path
    key: str = ""

    def copy_to(self, volume: Path) -> None:
        """Copy it to a volume."""
        target = volume / self.key
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.source.is_dir():
            shutil.copytree(self.source, target, dirs_exist_ok=True, ignore=lambda _, names: [_JOBS] if _JOBS in names else [])
        else:
            shutil.copy(self.source, target)


class Rehearsal:
    """`with Rehearsal({"abc123xyz": "EU-RO-1"}) as rehearsal: subprocess.run(command, env=os.environ | rehearsal.environment)`.

    Its RunPod answers by the vendor's contract, its volumes are folders behind a real S3 server, and its pods run their commands as
    processes that see neither the current folder, the home folder nor the client's environment. Everything listens on loopback.

    Args:
        volumes: the network volumes' data centres, by id.
        seeds: what the volumes have from the start.
        faults: what goes wrong, as `NAME` or `NAME:TIMES` of `NAMED_FAULTS`.
        gpus: types of GPU that are offered beside the usual ones.
        folder: where volumes and caches are kept, for another rehearsal; left out, a temporary folder.
        hidden: folders that the pods do not see either.

    Attributes:
        runpod: the account, with its pods, its calls and its faults.
        s3: the volumes' S3 server.
        faults: what is to go wrong, with how often it has.
    """

    def __init__(
        self,
        volumes: Mapping[str, str],
        seeds: Sequence[Seed] = (),
        faults: Sequence[str] = (),
        gpus: Iterable[str] = (),
        folder: Path | None = None,
        hidden: Iterable[Path] = (),
    ) -> None:
        self._volumes = dict(volumes)
        self._seeds = seeds
        self._faults = faults
        self._gpus = tuple(gpus)
        self._kept = folder
        self._hidden = tuple(hidden)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.folder = (self._kept or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rehearsal-")))).resolve()
            root = self.folder / VOLUMES
            for volume_id in self._volumes:
                (root / volume_id).mkdir(parents=True, exist_ok=True)
                for seed in self._seeds:
                    seed.copy_to(root / volume_id)
            offers = Offers.of_rehearsal(self._volumes.values(), self._gpus)
            self.s3 = stack.enter_context(S3StandIn(root))
            self.runpod = stack.enter_context(RunPodStandIn(root, self._volumes, offers=offers, hidden=(*self._hidden, self.folder)))
            self.faults = [plan_fault(fault, self.runpod, self.s3) for fault in self._faults]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """What leads a client to the rehearsal: addresses, keys, and a folder in place of the user's caches."""
        return {
            "RUNPOD_API_BASE_URL": self.runpod.base_url,
            "RUNPOD_API_KEY": API_KEY,
            "RUNPOD_S3_ENDPOINT_URL": self.s3.endpoint_url,
            "RUNPOD_S3_ACCESS_KEY": ACCESS_KEY,
            "RUNPOD_S3_SECRET_KEY": SECRET_KEY,
            VARIABLE: str(self.folder / "cache"),
        }

    @property
    def pods(self) -> list[RunningPod]:
        """All pods that were created, in their order."""
        return list(self.runpod.pods.values())

    @property
    def cost_usd(self) -> float:
        """What the pods have cost so far, in dollars of play money."""
        return sum(pod.cost_usd for pod in self.pods)

    def volume(self, volume_id: str | None = None) -> Path:
        """Return the folder that a volume's pods mount; without an id, that of the first volume."""
        return self.folder / VOLUMES / (volume_id or next(iter(self._volumes)))
