"""What a partitioned node asks for one of its groups."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.running.partitions import partitions_of, rows_of
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.running.trial import KnownInputs
from kedro_cloudtrain.storage.identity import identities_of
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, resolved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.jobs.partitioned import Partitioned
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.running.order import Inputs
    from kedro_cloudtrain.running.partitions import Partition, Partitions


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartitionOrder(TrainingOrder):
    """What a partitioned node asks for one of its groups.

    Attributes:
        identities_and_sizes: the identity and the size of the table that all groups are read from; None where each is sent.
        size: the workload of each: the whole table's, or the largest group's, so that each can take another's machine.
    """

    identities_and_sizes: tuple[Mapping[str, Any], Mapping[str, int | None]] | None = None
    size: Workload | None = None

    def inputs(self) -> Inputs:
        """Return the group's rows: sent, or read by the machine from a table that was looked at once for all groups.

        Raises:
            SourceError: the rows cannot be sent.
        """
        inputs = super().inputs()
        if self.identities_and_sizes is None:
            return inputs
        return KnownInputs(
            **{field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)},
            identities_and_sizes=self.identities_and_sizes,
        )

    def workload(self, sizes: Mapping[str, int | None]) -> Workload:
        """Return how much there is to compute with, the same for all groups: they share their machines."""
        return self.size if self.size is not None else super().workload(sizes)


def common_order(order: TrainingOrder, partitioned: Partitioned, partitions: Partitions) -> PartitionOrder:
    """Return the order of a group without its rows: what all groups have in common is looked at once.

    Args:
        order: what the node asks for.
        partitioned: how its data is divided.
        partitions: all that is trained.

    Raises:
        SourceError: the table does not exist, or cannot be reached.
    """
    own = {field.name: getattr(order, field.name) for field in dataclasses.fields(TrainingOrder)}
    own["parameters"] = order.parameters.model_copy(update={"partitioned": None})
    own["outputs"] = order.outputs if "metrics" in order.outputs else (*order.outputs, "metrics")
    if order.columns is not None:
        own["columns"] = order.columns - {partitioned.group_column}
    if isinstance(order.data, UrlSource | VolumeSource):
        own["data"] = resolved(order.data)
        identities_and_sizes = identities_of({"data": own["data"]}, order.volume)
        return PartitionOrder(**own, identities_and_sizes=identities_and_sizes, size=TrainingOrder(**own).workload(identities_and_sizes[1]))
    largest = max(partitions.chosen, key=lambda partition: partition.rows or 0)
    size = TrainingOrder(**{**own, "data": rows_of(order.data, largest, partitioned)}).workload({})
    return PartitionOrder(**own, size=size)


def order_of(common: PartitionOrder, order: TrainingOrder, partitioned: Partitioned, partition: Partition) -> PartitionOrder:
    """Return the order of one group, with its rows.

    Args:
        common: what all groups have in common.
        order: what the node asks for.
        partitioned: how its data is divided.
        partition: the group.

    Raises:
        SourceError: the partition cannot be loaded.
    """
    data = rows_of(common.data if common.identities_and_sizes is not None else order.data, partition, partitioned)
    return dataclasses.replace(common, node=f"{common.node}.{partition.name}", data=data)


def first_order(order: TrainingOrder, partitioned: Partitioned, place: str, what: str) -> TrainingOrder:
    """Return the order of the first group, whose script stands for all.

    Args:
        order: what the node asks for.
        partitioned: how its data is divided.
        place: where a user finds the parameters.
        what: the dataset that is divided.

    Raises:
        CloudTrainError: as for `partitions_of`.
    """
    partitions = partitions_of(order.parameters, order.data, order.volume, place, what=what)
    return order_of(common_order(order, partitioned, partitions), order, partitioned, partitions.chosen[0])
