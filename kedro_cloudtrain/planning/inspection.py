"""Look at a planned node's inputs and stores before anything is run or paid for."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections import Counter
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.datasets import CloudDataset, ModelDataset, ModelsDataset
from kedro_cloudtrain.errors import ApiError, CloudTrainError, SourceError
from kedro_cloudtrain.jobs.spec import is_parameter
from kedro_cloudtrain.planning.catalog import reason
from kedro_cloudtrain.planning.entries import bytes_on_disk, can_tell_existence, place_of, table_on_disk
from kedro_cloudtrain.planning.partitions import group_column_of, group_problems, look_at_partitions, partition_problems, table_of_groups
from kedro_cloudtrain.planning.plan import MachinePlan
from kedro_cloudtrain.planning.sample import looked_at
from kedro_cloudtrain.storage.identity import source_identity
from kedro_cloudtrain.storage.sources import UrlSource, VersionedSource, VolumeSource
from kedro_cloudtrain.storage.volumes import table_location
from kedro_cloudtrain.worker.errors import nearest
from kedro_cloudtrain.worker.readers import READ_WHOLE, TEXT, takes_nrows
from kedro_cloudtrain.worker.tables import first_look, read_head, repeated_columns, table_shape
from kedro_cloudtrain.worker.values import is_frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from kedro.io import CatalogProtocol

    from kedro_cloudtrain.planning.plan import NodePlan
    from kedro_cloudtrain.worker.locations import Location

# A larger file on a network volume is not downloaded for its header.
_LARGEST_LOOK_BYTES = 64 * 1024 * 1024
# So many rows show what a target holds; another kind of value that comes later is the machine's to find.
_SAMPLED_ROWS = 200
# A table up to this size is read as a whole: only then is it known how many rows and groups it has.
_SMALL_BYTES, _MOST_ROWS = 1024 * 1024, 100_000
_PACKED = (".gz", ".bz2", ".zip", ".xz", ".zst", ".tar", ".tgz")
_READER_OF = {"xlsx": "openpyxl", "xls": "xlrd"}


@dataclasses.dataclass(frozen=True)
class Look:
    """What a look at a node's inputs has found.

    Attributes:
        sizes: each table's size in bytes, None where its server does not say.
        problems: what is wrong, a sentence each.
        doubts: what could not be found out, a sentence each.
        notes: what is worth knowing, a sentence each.
        shapes: the rows and columns of those tables whose format tells them.
        jobs: how many jobs a partitioned node has; None where that is not known.
    """

    sizes: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    jobs: int | None = None


def look_at_inputs(plan: NodePlan, catalog: CatalogProtocol[Any, Any], *, volume_answers: bool = True) -> Look:
    """Check that each input exists, and that each source is what the training needs.

    What another node of the run makes is skipped: it may not exist yet, or may be replaced.

    Args:
        plan: the node.
        catalog: has the datasets that are loaded on this computer.
        volume_answers: False if the volume is known not to answer; what lies on it is then skipped.
    """
    if not isinstance(plan, MachinePlan):
        return Look(problems=tuple(_loaded_problems(plan, catalog)))
    entries = _look_at_entries(plan)
    sizes, problems, doubts = dict(entries.sizes), [*_sent_problems(plan, catalog), *entries.problems], [*entries.doubts]
    notes: list[str] = []
    shapes: dict[str, tuple[int, int]] = {}
    for name, source in plan.sources.items():
        if name in plan.made or (isinstance(source, VolumeSource) and not volume_answers):
            continue
        try:
            sizes[name] = source_identity(source, plan.volume).size
            location = table_location(source, plan.volume)
            wrong, doubtful = _look_at_table(plan, name, location, sizes[name])
            problems += wrong
            notes += doubtful
            if not wrong and (shape := table_shape(location, sizes[name])) is not None:
                shapes[name] = shape
        except (CloudTrainError, ValueError) as error:
            outage = isinstance(error, ApiError) and error.is_outage
            (doubts if outage else problems).append(f"`{name}`: {error}")
    partitions, wrong, unknown = (None, [], []) if problems else look_at_partitions(plan, catalog, sizes, volume_answers=volume_answers)
    if partitions is not None and plan.partitioned is not None:
        notes += partitions.described(plan.partitioned)
    jobs = None if partitions is None else len(partitions.chosen)
    return Look(sizes, (*problems, *wrong), (*doubts, *unknown), tuple(notes), shapes, jobs)


def unfit_inputs(plan: MachinePlan, inputs: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the tables of a job that is about to be paid for.

    By now there is also what other nodes of the run have made. What cannot be found out here, or only by reading a large file as a whole,
    is the machine's to find.

    Args:
        plan: the node, with the parameters that its job has.
        inputs: the value of each input, or the source that the machine reads.
    """
    for name, value in inputs.items():
        if isinstance(value, UrlSource | VolumeSource):
            try:
                size_bytes, location = source_identity(value, plan.volume).size, table_location(value, plan.volume)
                if _has_first_rows(location) or 0 < (size_bytes or 0) <= _SMALL_BYTES:
                    yield from _look_at_table(plan, name, location, size_bytes)[0]
            except (SourceError, ValueError) as error:
                yield f"`{name}`: {error}"
            except CloudTrainError:
                continue
        elif name in plan.checked_tables and is_frame(value):
            yield from _frame_problems(plan, name, "the table", value)
        elif name in plan.checked_tables and isinstance(value, dict):
            yield from partition_problems(plan, name, value)


def _has_first_rows(location: Location) -> bool:
    """Return whether a table's first rows can be read without the others."""
    packed = location.load_args.get("compression", "infer") != "infer" or location.place.lower().endswith(_PACKED)
    return location.format == "parquet" or (location.format in TEXT and takes_nrows(location.load_args) and not packed)


def missing_versions(plans: Sequence[NodePlan]) -> Iterator[str]:
    """Yield which versions the machines' inputs lack: a run is refused by them before its first node.

    What another node of the run makes is skipped. A volume that does not answer is waited for by the jobs themselves.
    """
    for plan in plans:
        sources = plan.sources if isinstance(plan, MachinePlan) else {}
        for name, source in sources.items():
            if name in plan.made or not isinstance(source, VersionedSource):
                continue
            try:
                source.versions.load_key()
            except ApiError:
                continue
            except CloudTrainError as error:
                yield f"{plan.node.name}: `{name}`: {error.message}"


def _loaded_problems(plan: NodePlan, catalog: CatalogProtocol[Any, Any]) -> Iterator[str]:
    """Yield what an ordinary node could not load; nothing where a node before it may have written it by other means."""
    if plan.problems or plan.made:
        return
    for name in dict.fromkeys(plan.node.inputs):
        dataset = None if is_parameter(name) else catalog.get(name)
        if dataset is not None:
            yield from _existence_problems(dataset, f"`{name}`")


def _sent_problems(plan: MachinePlan, catalog: CatalogProtocol[Any, Any]) -> Iterator[str]:
    """Yield what is wrong with the inputs that are to be sent from this computer."""
    for name in plan.tables:
        dataset = catalog.get(name) if plan.is_sent(name) and name not in plan.made else None
        if dataset is None:
            continue
        problems = list(_existence_problems(dataset, f"`{name}` would be sent from this computer, but"))
        yield from problems or (_sent_table_problems(plan, name, dataset) if name in plan.checked_tables else ())


def _sent_table_problems(plan: MachinePlan, name: str, dataset: Any) -> Iterator[str]:
    """Yield what is wrong with a training's table that this process will load."""
    location = table_on_disk(dataset)
    if location is not None:
        # The dataset's own reader may take what ours does not, and is asked below.
        with contextlib.suppress(ValueError):
            yield from _look_at_table(plan, name, location, None, by_pandas=True)[0]
            return
    if not 0 < (bytes_on_disk(dataset) or 0) <= _LARGEST_LOOK_BYTES:
        return  # Only the run will tell.
    try:
        value = dataset.load()
    except Exception as error:  # noqa: BLE001  # Kedro's DatasetError, around whatever the dataset's own library raises
        yield f"`{name}` would be sent from this computer, but cannot be loaded: {reason(error)} Check its entry in the catalog."
        return
    if plan.partitioned is not None and not is_frame(value):
        # The look at the partitions names anything that is not a dict of tables either.
        yield from partition_problems(plan, name, value) if isinstance(value, dict) else ()
        return
    if not is_frame(value):
        kind = type(value).__name__ if type(value).__module__ == "builtins" else f"{type(value).__module__}.{type(value).__name__}"
        yield (
            f"`{name}` loads a {kind}, but a table is a pandas DataFrame. Change the entry's `type`, or make a table of it in a "
            "node before."
        )
        return
    yield from _frame_problems(plan, name, place_of(dataset), value)


def _frame_problems(plan: MachinePlan, name: str, place: str, frame: pd.DataFrame) -> Iterator[str]:
    """Yield what is wrong with a table that this computer has as a whole."""
    from kedro_cloudtrain.worker.doubts import nested_columns  # noqa: PLC0415  # pandas, which takes half a second

    columns = [str(column) for column in frame.columns]
    twice = next((column for column, count in Counter(columns).items() if count > 1), None)
    if twice is not None:
        yield f"`{name}` has {columns.count(twice)} columns `{twice}`: give each column a name of its own in an earlier node."
        return
    yield from _table_problems(plan, name, columns, nested_columns(frame))
    yield from _row_problems(plan, name, place, columns, frame, whole=True)


def _existence_problems(dataset: Any, subject: str) -> Iterator[str]:
    if not can_tell_existence(dataset):
        return
    try:
        if dataset.exists():
            return
    except Exception as error:  # noqa: BLE001  # Kedro's DatasetError, around whatever the dataset's own library raises
        yield f"{subject} cannot be loaded: {reason(error)} Check its entry in the catalog."
        return
    try:
        # What does not exist takes no time to load, and some of it loads: an IncrementalDataset whose partitions are all confirmed.
        dataset.load()
    except Exception as error:  # noqa: BLE001  # as above
        is_other_model = isinstance(dataset, ModelDataset | ModelsDataset) and dataset.filepath.exists()
        if is_other_model or (isinstance(dataset, CloudDataset) and dataset.has_versions):
            yield f"{subject} cannot be loaded: {reason(error)}"
        elif bytes_on_disk(dataset) is not None:
            yield f"{subject} cannot be loaded: {reason(error)} Check {place_of(dataset)}, and its entry in the catalog."
        else:
            yield f"{subject} does not exist: {place_of(dataset)}. Put the file there, correct the entry, or run the node that makes it."


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
            problems.append(f"`{name}` cannot be saved to {entry.redacted}: {reason(error)} Check the entry and its credentials.")
    return Look(sizes, tuple(problems))


def _look_at_table(
    plan: MachinePlan, name: str, location: Location, size_bytes: int | None, *, by_pandas: bool = False
) -> tuple[list[str], list[str]]:
    """Look at a table's columns and first rows: return what is wrong with it for the training, and what is doubtful."""
    from kedro_cloudtrain.worker.doubts import doubts  # noqa: PLC0415  # pandas, which takes half a second

    if location.in_pieces and location.format in READ_WHOLE and not location.is_url and (size_bytes or 0) > _LARGEST_LOOK_BYTES:
        return [], []
    if plan.where != "local" and importlib.util.find_spec(_READER_OF.get(location.format, "pandas")) is None:
        return [], []  # Only the machine will have the reader.
    sample = plan.sample_of(name)
    asked = _MOST_ROWS if size_bytes is not None and size_bytes <= _SMALL_BYTES else _SAMPLED_ROWS
    columns, nested, rows = first_look(location, rows=asked, by_pandas=by_pandas)
    problems = list(_table_problems(plan, name, columns, nested))
    categorical = sample.categorical if sample is not None else ()
    first = rows.head(_SAMPLED_ROWS) if rows is not None else None
    notes = [f"`{name}`: {doubt}" for doubt in doubts(first, plan.features_of(columns), categorical)] if first is not None else []
    numbered = any("." in column and column.rpartition(".")[0] in columns for column in columns)
    notes += [f"`{name}`: {note}" for note in (repeated_columns(location) if numbered else ())]
    if rows is None and columns and (sample is not None or not location.in_pieces):
        # Only these columns of a remote file are fetched.
        named = columns[:1] if sample is None else [*sample.columns, *sample.constrained(plan.features_of(columns))]
        named += [column for column in (group_column_of(plan),) if column is not None]
        wanted = [column for column in dict.fromkeys(named) if column in columns]
        rows = read_head(dataclasses.replace(location, load_args={"columns": wanted}), rows=asked) if wanted else None
    if rows is not None:
        # They are all that there are if there are fewer than those asked for.
        whole = len(rows) < asked
        problems += _row_problems(plan, name, location.place, columns, rows, whole=whole)
        if not whole and not problems and (every := table_of_groups(plan, name, location, columns, size_bytes)) is not None:
            problems += group_problems(plan, name, every, plan.features_of(columns), whole=True)
        notes += [f"`{name}`: {note}" for note in (sample.notes(rows.rename(columns=str)) if sample is not None else ())]
    return problems, notes


def _table_problems(plan: MachinePlan, name: str, columns: Sequence[str], nested: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with a table's columns."""
    from kedro_cloudtrain.worker.doubts import nested_problem  # noqa: PLC0415  # pandas, which takes half a second

    yield from _column_problems(plan, name, columns)
    features = plan.features_of(columns)
    held = [column for column in nested if column in features]
    if held:
        yield nested_problem(f"`{name}`", held)


def _row_problems(plan: MachinePlan, name: str, place: str, columns: Sequence[str], rows: pd.DataFrame, *, whole: bool) -> Iterator[str]:
    """Yield what is wrong with the values of a table's rows."""
    sample = plan.sample_of(name)
    if rows.empty and plan.needs_rows:
        yield f"`{name}`: {place} has no rows. Check it, and the node that makes it."
    elif sample is not None and set(sample.columns) <= set(columns) and not rows.empty:
        features, rows = plan.features_of(columns), rows.rename(columns=str)
        if group_column_of(plan) in rows.columns:
            yield from group_problems(plan, name, rows, features, whole=whole)
        else:
            yield from sample.problems(looked_at(sample, rows, features), features, whole=whole)


def _column_problems(plan: MachinePlan, name: str, columns: Sequence[str]) -> Iterator[str]:
    """Yield the columns that a training's parameters name and its table does not have."""
    for place, wanted in plan.columns.items():
        for column in wanted:
            if column not in columns:
                close = nearest(column, list(columns))
                hint = f" Closest: {close}." if close else ""
                shown = ", ".join(columns[:8]) + (", …" if len(columns) > 8 else "")  # noqa: PLR2004  # a line's worth
                yield f"`{name}` has no column `{column}`.{hint} Columns: {shown} ({len(columns)}). Fix {place}."
