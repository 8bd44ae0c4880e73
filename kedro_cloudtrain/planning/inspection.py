"""Look at a planned node's inputs and stores before anything is run or paid for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import CloudTrainError, SourceError
from kedro_cloudtrain.planning.plan import MachinePlan
from kedro_cloudtrain.storage.identity import source_identity
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource
from kedro_cloudtrain.storage.volumes import table_location
from kedro_cloudtrain.worker.errors import nearest
from kedro_cloudtrain.worker.tables import first_look

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from kedro.io import CatalogProtocol

    from kedro_cloudtrain.planning.plan import NodePlan
    from kedro_cloudtrain.storage.volumes import Volume

# A larger file on a network volume is not downloaded for its header.
_LARGEST_LOOK_BYTES = 64 * 1024 * 1024
# So many rows of most tables are in the first piece that is read of them.
_ROWS = 200
_READ_WHOLE = ("xlsx", "xls")


@dataclasses.dataclass(frozen=True)
class Look:
    """What a look at a node's inputs has found.

    Attributes:
        sizes: each table's size in bytes, None where its server does not say.
        problems: what is wrong, a sentence each.
        notes: what is doubtful, a sentence each.
    """

    sizes: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def look_at_inputs(plan: NodePlan, catalog: CatalogProtocol[Any, Any], *, volume_answers: bool = True) -> Look:
    """Check that each table exists, and that each source has the columns that the training names.

    What another node of the run makes is skipped: it may not exist yet, or may be replaced.

    Args:
        plan: the node.
        catalog: has the datasets that are sent from this computer.
        volume_answers: False if the volume is known not to answer; what lies on it is then skipped.
    """
    if not isinstance(plan, MachinePlan):
        return Look()
    entries = _look_at_entries(plan)
    sizes, problems = dict(entries.sizes), [*_sent_problems(plan, catalog), *entries.problems]
    notes: list[str] = []
    for name, source in plan.sources.items():
        if name in plan.made or (isinstance(source, VolumeSource) and not volume_answers):
            continue
        try:
            sizes[name] = source_identity(source, plan.volume).size
            seen = _first_look(source, plan.volume, sizes[name])
        except (CloudTrainError, ValueError) as error:
            problems.append(f"`{name}`: {error}")
            continue
        if seen is not None:
            from kedro_cloudtrain.worker.doubts import doubts, nested_problem  # noqa: PLC0415  # pandas, which takes half a second

            columns, nested, head = seen
            problems += _column_problems(plan, name, columns)
            features = plan.features_of(columns)
            problems += [nested_problem(f"`{name}`", held)] if (held := [each for each in nested if each in features]) else []
            notes += [f"`{name}`: {doubt}" for doubt in doubts(head, features)] if head is not None else []
    return Look(sizes, tuple(problems), tuple(notes))


def _sent_problems(plan: MachinePlan, catalog: CatalogProtocol[Any, Any]) -> Iterator[str]:
    """Yield what is wrong with the inputs that are to be sent from this computer."""
    for name in plan.tables:
        dataset = catalog.get(name) if plan.machine_input(name) is None and name not in plan.made else None
        if dataset is None:
            continue
        try:
            exists = dataset.exists()
        except Exception as error:  # noqa: BLE001  # Kedro's DatasetError, around whatever the dataset's own library raises
            yield f"`{name}` would be sent from this computer, but cannot be loaded: {error}"
            continue
        if not exists:
            yield f"`{name}` would be sent from this computer, but does not exist: {dataset}"


def _look_at_entries(plan: MachinePlan) -> Look:
    """Look at entries on other stores; at outputs, too: whether a store can be reached is better known before the work."""
    sizes: dict[str, int | None] = {}
    problems = []
    for name, entry in plan.entries.items():
        if name in plan.made:
            continue
        try:
            if name in plan.tables:
                sizes[name] = entry.identity(entry.load_version()).size
            else:
                entry.dataset.exists()
        except SourceError as error:
            problems.append(error.message)
        except Exception as error:  # noqa: BLE001  # Kedro's DatasetError, around whatever the store's client raises
            problems.append(f"`{name}` cannot be saved to {entry.redacted}: {error}")
    return Look(sizes, tuple(problems))


def _column_problems(plan: MachinePlan, name: str, columns: Sequence[str]) -> Iterator[str]:
    """Yield the columns that a training's parameters name and its table does not have."""
    for place, wanted in plan.columns.items():
        for column in wanted:
            if column not in columns:
                close = nearest(column, list(columns))
                hint = f" Closest: {close}." if close else ""
                shown = ", ".join(columns[:8]) + (", …" if len(columns) > 8 else "")  # noqa: PLR2004  # a line's worth
                yield f"`{name}` has no column `{column}`.{hint} Columns: {shown} ({len(columns)}). Fix {place}."


def _first_look(
    source: UrlSource | VolumeSource, volume: Volume, size_bytes: int | None
) -> tuple[list[str], list[str], pd.DataFrame | None] | None:
    """Look at a table's columns and first rows; None if that would download too much of it."""
    if isinstance(source, UrlSource):
        return first_look(source.location, rows=_ROWS)
    location = table_location(source, volume)
    if location.in_pieces and location.format in _READ_WHOLE and (size_bytes or 0) > _LARGEST_LOOK_BYTES:
        return None
    return first_look(location, rows=_ROWS)
