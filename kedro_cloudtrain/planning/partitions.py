"""What a partitioned node would train, found before anything is run or paid for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ApiError, CloudTrainError, ConfigError
from kedro_cloudtrain.planning.catalog import reason
from kedro_cloudtrain.planning.entries import bytes_on_disk, can_tell_existence, inner
from kedro_cloudtrain.planning.training import TrainingPlan
from kedro_cloudtrain.running.partitions import Partitions, partitions_of
from kedro_cloudtrain.storage.sources import VolumeSource
from kedro_cloudtrain.wording import size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro.io import CatalogProtocol

    from kedro_cloudtrain.planning.plan import NodePlan

# What is larger is not loaded by a plan.
_LARGEST_BYTES = 64 * 1024 * 1024


def look_at_partitions(
    plan: NodePlan, catalog: CatalogProtocol[Any, Any], sizes: Mapping[str, int | None], *, volume_answers: bool
) -> tuple[Partitions | None, list[str], list[str]]:
    """Return what a node would train, what is wrong with it, and what could not be found out; nothing of any other node.

    Args:
        plan: the node.
        catalog: has its data.
        sizes: each table's size in bytes, None where it is not known.
        volume_answers: False if the volume is known not to answer.
    """
    if not isinstance(plan, TrainingPlan) or plan.parameters is None or plan.partitioned is None:
        return None, [], []
    name = plan.inputs.data
    source = plan.sources.get(name)
    if name in plan.made or (isinstance(source, VolumeSource) and not volume_answers):
        return None, [], []
    try:
        data = source if source is not None else _loaded(name, catalog)
        if data is None:
            return None, [], [f"`{name}` is larger than {size(_LARGEST_BYTES)}, so that its {plan.partitioned.noun}s are not counted here"]
        place = plan.inputs.parameters_place
        return partitions_of(plan.parameters, data, plan.volume, place, sizes.get(name), what=name), [], []
    except CloudTrainError as error:
        if isinstance(error, ApiError) and error.is_outage:
            return None, [], [f"`{name}`: {error.message}"]
        return None, [error.message], []


def _loaded(name: str, catalog: CatalogProtocol[Any, Any]) -> Any:
    """Return the data that the run would load in this process; None where that is too much for a plan.

    Raises:
        ConfigError: it cannot be loaded.
    """
    dataset: Any = catalog.get(name)
    if dataset is None or not can_tell_existence(dataset):
        return None
    if (bytes_on_disk(inner(dataset)) or 0) > _LARGEST_BYTES:
        return None
    with contextlib.suppress(Exception):
        if not dataset.exists():
            return None  # The look at what is sent has named it.
    try:
        return dataset.load()
    except Exception as error:
        raise ConfigError(f"`{name}` cannot be loaded: {reason(error)} Check its entry in the catalog.") from error
