"""What a partitioned node would train, found before anything is run or paid for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ApiError, CloudTrainError, ConfigError, SourceError
from kedro_cloudtrain.planning.catalog import reason
from kedro_cloudtrain.planning.entries import bytes_on_disk, can_tell_existence, inner
from kedro_cloudtrain.planning.sample import looked_at
from kedro_cloudtrain.planning.training import TrainingPlan
from kedro_cloudtrain.running.partitions import MOST_GROUPS, Partition, Partitions, fewest_rows, name_of, partitions_of, rows_of
from kedro_cloudtrain.storage.sources import VolumeSource
from kedro_cloudtrain.wording import counted, size, some_of
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.tables import read_table, table_shape
from kedro_cloudtrain.worker.values import is_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    from kedro.io import CatalogProtocol

    from kedro_cloudtrain.jobs.partitioned import Partitioned
    from kedro_cloudtrain.planning.plan import MachinePlan, NodePlan
    from kedro_cloudtrain.worker.locations import Location

# What is larger is not read by a plan.
_LARGEST_BYTES = 64 * 1024 * 1024
# A small file may have many: those that repeat take no space in parquet.
_MOST_VALUES = 10_000_000
# Each group may have one of its own.
_MOST_PROBLEMS = 8


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
        partitions = partitions_of(plan.parameters, data, plan.volume, place, sizes.get(name), what=name)
        return partitions, list(_loaded_problems(plan, name, data)), []
    except CloudTrainError as error:
        if isinstance(error, ApiError) and error.is_outage:
            return None, [], [f"`{name}`: {error.message}"]
        return None, [error.message], []


def _loaded_problems(plan: MachinePlan, name: str, data: Any) -> Iterator[str]:
    """Yield what is wrong with the values of the groups of a table on this computer; nothing for one elsewhere."""
    if is_frame(data):
        rows = data.rename(columns=str)
        yield from group_problems(plan, name, rows, plan.features_of(list(rows.columns)), whole=True)


def group_column_of(plan: MachinePlan) -> str | None:
    """Return the column whose values a node has a training each for; None where there is none."""
    return plan.partitioned.group_column if plan.partitioned is not None else None


def group_problems(plan: MachinePlan, name: str, rows: pd.DataFrame, features: Sequence[str], *, whole: bool) -> Iterator[str]:
    """Yield what is wrong with the values of a table's groups; the training itself reports what is wrong with the groups.

    Args:
        plan: the node.
        name: the table.
        rows: some of them, with the columns whose values are looked at.
        features: the columns that a model learns from, of all that the table has.
        whole: whether the table has no other rows.
    """
    sample, partitioned, column = plan.sample_of(name), plan.partitioned, group_column_of(plan)
    if sample is None or partitioned is None or column is None or column not in rows.columns:
        return
    # Each group's rows are copied for these columns alone.
    sample_rows = rows[list(dict.fromkeys([column, *looked_at(sample, rows, features).columns]))].reset_index(drop=True)
    try:
        values = sample_rows[column].dropna().unique()
    except TypeError:
        return  # Its values are lists, not names.
    if partitioned.groups is not None:
        names = set(map(str, partitioned.groups))
        sample_rows = sample_rows[sample_rows[column].isin([value for value in values if name_of(value) in names])]
    elif len(values) > MOST_GROUPS:
        return
    groups = sample_rows.groupby(sample_rows[column], observed=True)
    yield from _problems_of_parts(plan, name, ((name_of(group), part, features) for group, part in groups), whole=whole)


def partition_problems(plan: MachinePlan, name: str, parts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the values of partitions, each of which is a table; the training itself reports a wrong dict."""
    partitioned = plan.partitioned
    if partitioned is None or partitioned.group_column is not None or not all(isinstance(part, str) for part in parts):
        return
    yield from _problems_of_parts(plan, name, _loaded_parts(plan, partitioned, parts), whole=True)


def _loaded_parts(
    plan: MachinePlan, partitioned: Partitioned, parts: Mapping[str, Any]
) -> Iterator[tuple[str, pd.DataFrame, Sequence[str]]]:
    """Yield each partition that is trained with its features, up to one that cannot be loaded."""
    for part in sorted(part for part in parts if partitioned.groups is None or part in partitioned.groups):
        try:
            frame = rows_of(parts, Partition(part), partitioned).rename(columns=str)
        except SourceError:
            return
        yield part, frame, plan.features_of(list(frame.columns))


def table_of_groups(
    plan: MachinePlan, name: str, location: Location, columns: Sequence[str], size_bytes: int | None
) -> pd.DataFrame | None:
    """Return what a look at the groups of a table needs of it; None where that would be too much to read, or there are no groups.

    Args:
        plan: the node.
        name: the table.
        location: its place.
        columns: those that it has.
        size_bytes: its size, None where it is not known.
    """
    sample, column = plan.sample_of(name), group_column_of(plan)
    if sample is None or column is None or location.format != "parquet" or not 0 < (size_bytes or 0) <= _LARGEST_BYTES:
        return None
    wanted = dict.fromkeys([column, *sample.columns, *sample.constrained(plan.features_of(columns))])
    try:
        shape = table_shape(location, size_bytes)
        if shape is None or shape[0] * len(wanted) > _MOST_VALUES:
            return None
        return read_table(location, columns=list(wanted)).frame
    except InputError:
        return None  # The look at the columns has named it, or the machine will.


def _problems_of_parts(
    plan: MachinePlan, name: str, parts: Iterable[tuple[str, pd.DataFrame, Sequence[str]]], *, whole: bool
) -> Iterator[str]:
    """Yield what is wrong with the values of groups or partitions, each problem once with the names of all that have it."""
    sample, partitioned = plan.sample_of(name), plan.partitioned
    if sample is None or partitioned is None or not isinstance(plan, TrainingPlan) or plan.parameters is None:
        return
    # Those of fewer rows are left out, or named as too small.
    least = max(fewest_rows(plan.parameters) if whole else 1, partitioned.min_rows or 0)
    names: dict[str, list[str]] = {}
    sound = 0
    for part, rows, features in parts:
        if len(rows) >= least and set(sample.columns) <= set(rows.columns):
            problems = list(sample.problems(looked_at(sample, rows, features), features, whole=whole))
            sound += not problems
            for problem in problems:
                names.setdefault(problem, []).append(part)
    noun = partitioned.noun
    others = f" To train only the other {noun}s, name them in `partitioned.groups`." if sound and partitioned.groups is None else ""
    for problem, having in list(names.items())[:_MOST_PROBLEMS]:
        subject = f"The {noun} `{having[0]}`" if len(having) == 1 else f"{len(having)} {noun}s ({some_of(having)})"
        yield f"{subject}: {problem}{others}"
    if len(names) > _MOST_PROBLEMS:
        more = len(names) - _MOST_PROBLEMS
        yield f"`{name}`: {counted(more, 'more problem')} of its {noun}s {'is' if more == 1 else 'are'} not shown."


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
