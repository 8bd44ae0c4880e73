"""What a look at a planned node's inputs and stores finds, before anything is run or paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import CloudTrainError, SourceError
from kedro_cloudtrain.planning.planner import where_parameters_stand
from kedro_cloudtrain.storage.identity import source_identity
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource
from kedro_cloudtrain.storage.volumes import table_location
from kedro_cloudtrain.worker.errors import nearest
from kedro_cloudtrain.worker.tables import column_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kedro.io import CatalogProtocol

    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.planning.planner import NodePlan
    from kedro_cloudtrain.storage.volumes import Volume

# More than this of a file on a network volume is not brought here for its header.
_LARGEST_LOOK_BYTES = 64 * 1024 * 1024
_READ_WHOLE = ("xlsx", "xls")


def look_at_inputs(plan: NodePlan, catalog: CatalogProtocol[Any, Any], *, volume_answers: bool = True) -> dict[str, int | None]:
    """Ask whether each table is there, and each source whether it has the columns; add what is wrong to the plan's problems.

    What another node of the run makes is not asked for: it may not be there yet, or be another one then.

    Args:
        plan: the node.
        catalog: where the datasets are that are sent from here.
        volume_answers: False where the volume is known not to; what is on it is not asked for then.

    Returns:
        Each table's size in bytes, None where its server does not say.
    """
    sizes: dict[str, int | None] = {}
    if plan.volume is None and plan.on_machine:
        return sizes  # It is said already, and of the tables nothing is known.
    plan.problems += [problem for name in plan.tables if (problem := _look_here(plan, catalog, name)) is not None]
    plan.problems += _look_at_entries(plan, sizes)
    for name, source in plan.sources.items():
        if name in plan.made or (isinstance(source, VolumeSource) and not volume_answers):
            continue
        try:
            identity = source_identity(source, plan.volume)
            sizes[name] = identity.size
            columns = _columns(source, plan.volume, sizes[name])
        except (CloudTrainError, ValueError) as error:
            plan.problems.append(f"`{name}`: {error}")
            continue
        if plan.parameters is not None and plan.inputs is not None and columns is not None:
            plan.problems += _missing_columns(name, plan.parameters, columns, where_parameters_stand(plan.inputs.parameters))
    return sizes


def _look_here(plan: NodePlan, catalog: CatalogProtocol[Any, Any], name: str) -> str | None:
    """Say what is wrong with an input that is to be sent from here."""
    dataset = catalog.get(name) if plan.there(name) is None and name not in plan.made else None
    if dataset is None:
        return None
    try:
        return None if dataset.exists() else f"`{name}` is to be sent from here, and is not there: {dataset}"
    except Exception as error:  # noqa: BLE001  # Kedro's DatasetError, around whatever the dataset's own library raises
        return f"`{name}` is to be sent from here, and cannot be had: {error}"


def _look_at_entries(plan: NodePlan, sizes: dict[str, int | None]) -> Iterator[str]:
    """Say what is wrong with entries on other stores; outputs, too: whether a store lets one in is better asked before the work."""
    for name, entry in plan.entries.items():
        if name in plan.made:
            continue
        try:
            if name in plan.tables:
                sizes[name] = entry.identity(entry.load_version()).size
            else:
                entry.dataset.exists()
        except SourceError as error:
            yield error.message
        except Exception as error:  # noqa: BLE001  # Kedro's DatasetError, around whatever the store's client raises
            yield f"`{name}` cannot be saved to {entry.redacted}: {error}"


def _missing_columns(name: str, parameters: TrainingParameters, columns: list[str], where: str) -> list[str]:
    wanted: Mapping[str, list[str]] = {
        "target_column": [parameters.target_column],
        "feature_columns": list(parameters.feature_columns or ()),
        "validation.column": [parameters.validation.column] if parameters.validation.column else [],
        "validation.time_column": [parameters.validation.time_column] if parameters.validation.time_column else [],
    }
    said = []
    for key, names in wanted.items():
        for column in names:
            if column not in columns:
                close = nearest(column, columns)
                hint = f" Closest: {close}." if close else ""
                shown = ", ".join(columns[:8]) + (", …" if len(columns) > 8 else "")  # noqa: PLR2004  # a line's worth
                said.append(f"`{name}` has no column `{column}`.{hint} Columns: {shown} ({len(columns)}). Fix {key} of {where}.")
    return said


def _columns(source: UrlSource | VolumeSource, volume: Volume | None, size_bytes: int | None) -> list[str] | None:
    """Read a table's columns; None where that would bring too much of it here."""
    if isinstance(source, UrlSource):
        return column_names(source.location)
    if volume is None:
        raise SourceError(f"{source.key} is on no volume.")
    location = table_location(source, volume)
    if location.in_pieces and location.format in _READ_WHOLE and (size_bytes or 0) > _LARGEST_LOOK_BYTES:
        return None
    return column_names(location)
