"""What a machine reads itself of a node's tables, and what keeps it from reading the others."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.planning.entries import dataset_source, dataset_volume
from kedro_cloudtrain.storage.cache import cache_folder
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.disk import blocked
from kedro_cloudtrain.storage.sources import VolumeSource
from kedro_cloudtrain.storage.volumes import same_volume
from kedro_cloudtrain.worker.protocol import JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_cloudtrain.storage.sources import UrlSource
    from kedro_cloudtrain.storage.volumes import Volume


@dataclasses.dataclass
class Reading:
    """What a machine reads itself, gathered table by table.

    Attributes:
        where: the backend's name.
        volume: the one that the machine has; on this computer, the one of the first table that is a key.
        made: the tables that other nodes of the run make.
        problems: what is wrong, a sentence each.
        sources: the tables.
    """

    where: str
    volume: Volume
    made: frozenset[str] = frozenset()
    problems: list[str] = dataclasses.field(default_factory=list)
    sources: dict[str, UrlSource | VolumeSource] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.problems += _volume_problems(self.where, self.volume)

    def add(self, name: str, dataset: Any) -> None:
        """Add a table, if the machine can read it itself."""
        source = dataset_source(dataset)
        if not isinstance(source, VolumeSource):
            if source is not None:
                self.sources[name] = source
        elif self.where == "local":
            self._add_local(name, source, dataset_volume(dataset))
        else:
            self.sources[name] = source
            self.problems += _mount_problems(name, source, dataset_volume(dataset), self.volume)

    def _add_local(self, name: str, source: VolumeSource, volume: Volume) -> None:
        # A table on another volume is loaded by its dataset, in Kedro's process, and sent along.
        first = not any(isinstance(other, VolumeSource) for other in self.sources.values())
        if isinstance(volume, DirectoryVolume) and (first or same_volume(volume, self.volume)):
            self.sources[name], self.volume = source, volume


def _volume_problems(where: str, volume: Volume) -> Iterator[str]:
    if not isinstance(volume, DirectoryVolume):
        reason = blocked(cache_folder())
        if reason:
            yield (f"what jobs leave is copied to {cache_folder()}, and {reason}. Correct that, or let XDG_CACHE_HOME name another folder.")
        return
    if where == "runpod":
        yield (
            f"backend runpod needs a network volume, and {volume.name} is a directory on this computer: "
            "volume: {id: …, data_center: …} in the environment's cloudtrain.yml."
        )
    if not volume.is_writable():
        yield (
            f"the volume {volume.name} cannot be written to, and jobs are kept there. Make it a directory of yours, or name "
            "another one: volume: {path: …} in cloudtrain.yml."
        )
    elif reason := blocked(volume.folder(JOBS)):
        yield f"jobs are kept in {volume.folder(JOBS)}, and {reason}. Correct that, or name another volume in cloudtrain.yml."


def _mount_problems(name: str, source: VolumeSource, volume: Volume, mounted: Volume) -> Iterator[str]:
    """Report why a pod cannot read a table that is a key.

    Args:
        name: the table.
        source: its key.
        volume: the volume that it is on.
        mounted: the volume that the pod has.
    """
    if not mounted.mounted:
        yield (
            f"`{name}` is a key on {volume.name}, and pods without a network volume read URLs alone ({mounted.name} keeps their "
            "jobs). Give the entry a dataset_url, or name a network volume: volume: {id: …, data_center: …} in cloudtrain.yml."
        )
    elif isinstance(volume, DirectoryVolume):
        yield (
            f"`{name}` is on {volume.name}, a directory on this computer, which no pod can read. Give the entry the network volume "
            f"(volume: ${{globals:volume}}), and put the file there: kedro cloudtrain upload {volume.name}/{source.key} {source.key}"
        )
    elif volume != mounted:
        yield f"`{name}` is on the volume {volume.name}, but the pod mounts only {mounted.name}. Move the table to {mounted.name}."
