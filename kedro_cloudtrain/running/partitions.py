"""The groups of a table, or the partitions of a dataset, each of which gets a training of its own."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ConfigError, SourceError
from kedro_cloudtrain.storage.identity import source_identity
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, resolved
from kedro_cloudtrain.storage.volumes import table_location
from kedro_cloudtrain.wording import counted, did_you_mean, some_of
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.row_selection import ROWS
from kedro_cloudtrain.worker.tables import read_table
from kedro_cloudtrain.worker.values import is_frame
from kedro_cloudtrain.worker.yaml_words import put_in_quotes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.jobs.partitioned import Partitioned
    from kedro_cloudtrain.storage.volumes import Volume

# More are rather the keys of the rows, each of which would be a job.
MOST_GROUPS = 1000
# A remote or compressed text is read as a whole to find its groups.
_SMALL_BYTES = 1024 * 1024
_LARGEST_TEXT_BYTES = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Partition:
    """What one training of a partitioned node is of.

    Attributes:
        value: the group's value in its column, or the partition's name.
        rows: how many rows it has; None where nobody has counted them.
    """

    value: Any
    rows: int | None = None

    @property
    def name(self) -> str:
        """The key of its model, and the word for it in a message."""
        return str(self.value)


@dataclasses.dataclass(frozen=True)
class Partitions:
    """All that a partitioned node trains.

    Attributes:
        chosen: what gets a training, in the order of the names.
        left_out: the groups that have fewer than `min_rows`.
        ungrouped_rows: how many rows are in no group.
    """

    chosen: tuple[Partition, ...]
    left_out: tuple[Partition, ...] = ()
    ungrouped_rows: int = 0

    def described(self, partitioned: Partitioned) -> Iterator[str]:
        """Yield what there is to train, and what is left out, a sentence each."""
        rows = [partition.rows for partition in self.chosen if partition.rows is not None]
        sizes = "" if not rows else f" of {min(rows):,} rows" if min(rows) == max(rows) else f" of {min(rows):,} to {max(rows):,} rows"
        yield f"{counted(len(self.chosen), partitioned.noun)}{sizes}"
        if self.left_out:
            names = some_of([f"{partition.name} ({partition.rows})" for partition in self.left_out])
            yield f"`partitioned.min_rows` leaves out {counted(len(self.left_out), partitioned.noun)}: {names}"
        if self.ungrouped_rows:
            yield f"{counted(self.ungrouped_rows, 'row')} without a `{partitioned.group_column}` are in no group, and in no model"


def partitions_of(
    parameters: TrainingParameters, data: Any, volume: Volume, place: str, size_bytes: int | None = None, *, what: str = "data"
) -> Partitions:
    """Return what a partitioned node trains; of a table that a machine reads itself, the one column is read.

    Args:
        parameters: the node's, which are partitioned.
        data: a DataFrame, a dict of partitions, or the source that a machine reads.
        volume: holds a table that is a key.
        place: where a user finds the parameters.
        size_bytes: the size of the table's file, where it is known.
        what: the dataset.

    Raises:
        ConfigError: the data is of another kind than `partitioned` says, a group is not there or too small, or there are too many.
        SourceError: the table cannot be read, or lacks the column.
    """
    partitioned = parameters.partitioned
    if partitioned is None:
        raise ConfigError(f"{place} has no `partitioned`.")
    where = f"`partitioned` of {place}"
    column = partitioned.group_column
    ungrouped_rows = 0
    if column is None:
        row_counts = _of_dict(parameters, data, where, what)
    elif isinstance(data, UrlSource | VolumeSource):
        is_small = size_bytes is not None and size_bytes <= _SMALL_BYTES
        if partitioned.groups is not None and partitioned.min_rows is None and not is_small:
            # They are taken at their word: a large table need not be read for them.
            return Partitions(tuple(Partition(group) for group in partitioned.groups))
        row_counts, ungrouped_rows = _counts(_column_of(data, column, volume, size_bytes, where), where, column, partitioned.groups)
    elif is_frame(data):
        if column not in data.columns:
            shown = some_of([str(name) for name in data.columns])
            hint = did_you_mean(column, [str(name) for name in data.columns])
            raise SourceError(f"`{what}` has no column `{column}`.{hint} Columns: {shown}. Fix group_column in {where}.")
        if (count := [str(each) for each in data.columns].count(column)) > 1:
            raise SourceError(f"`{what}` has {count} columns `{column}`, and {where} needs one: rename the others in an earlier node.")
        row_counts, ungrouped_rows = _counts(data[column], where, column, partitioned.groups)
    else:
        raise ConfigError(
            f"`{what}` is a {type(data).__name__}, and group_column of {where} names a column of a table: leave it out for a dataset of "
            "partitions, or load one DataFrame."
        )
    return dataclasses.replace(_chosen(parameters, partitioned, row_counts, where), ungrouped_rows=ungrouped_rows)


def rows_of(data: Any, partition: Partition, partitioned: Partitioned) -> Any:
    """Return the rows of one partition: a source that reads them alone, or a DataFrame without the group's column.

    Args:
        data: as for `partitions_of`.
        partition: which.
        partitioned: how the data is divided.

    Raises:
        SourceError: the partition cannot be loaded.
    """
    column = partitioned.group_column
    if column is None:
        return _loaded(data[partition.name], partition.name)
    if isinstance(data, UrlSource | VolumeSource):
        source = resolved(data)
        return dataclasses.replace(source, load_args={**source.load_args, ROWS: {column: partition.value}})
    return data[(data[column] == partition.value).fillna(False)].drop(columns=column).reset_index(drop=True)


def _loaded(part: Any, name: str) -> pd.DataFrame:
    try:
        value = part() if callable(part) else part
    except Exception as error:
        raise SourceError(f"The partition `{name}` cannot be loaded: {type(error).__name__}: {error}") from error
    if not is_frame(value):
        raise SourceError(f"The partition `{name}` is a {type(value).__name__}, and each partition is a table: a DataFrame of pandas.")
    frame: pd.DataFrame = value
    return frame


def _of_dict(parameters: TrainingParameters, data: Any, where: str, what: str) -> dict[Any, int]:
    """Return the rows of each partition, whose columns are compared.

    Raises:
        ConfigError: the data is not a dict of partitions, or their columns differ.
    """
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise ConfigError(
            f"`{what}` is a {_noun_of(data)}, and {where} has no group_column: name the column "
            "of the groups, or load a dict of DataFrames by name, as partitions.PartitionedDataset does."
        )
    partitioned = parameters.partitioned
    wanted = None if partitioned is None or partitioned.groups is None else set(partitioned.groups)
    first, rows = ("", list[str]()), dict[Any, int]()
    for name in sorted(data):
        if wanted is not None and name not in wanted:
            rows[name] = 0
            continue
        frame = _loaded(data[name], name)
        columns = [str(column) for column in frame.columns]
        if not first[0]:
            first = (name, columns)
        _compare_columns(parameters, first, (name, columns))
        rows[name] = len(frame)
    return rows


def _noun_of(data: Any) -> str:
    if isinstance(data, UrlSource | VolumeSource):
        return "table"
    return "DataFrame" if is_frame(data) else type(data).__name__


def _compare_columns(parameters: TrainingParameters, first: tuple[str, Sequence[str]], other: tuple[str, Sequence[str]]) -> None:
    """Check that a partition has the columns that another one has, as far as a model needs them.

    Raises:
        ConfigError: it lacks one, or has one more.
    """
    (first_name, first_columns), (name, columns) = first, other
    features = parameters.feature_columns
    needed = first_columns if features is None else [*features, parameters.target_column]
    missing = next((column for column in needed if column not in columns), None)
    if missing is not None:
        hint = f", which `{first_name}` has" if missing in first_columns and name != first_name else ""
        raise ConfigError(
            f"The partition `{name}` has no column `{missing}`{hint}: give it one, or name columns that all partitions have in "
            "feature_columns."
        )
    extra = next((column for column in columns if column not in needed), None) if features is None else None
    if extra is not None:
        raise ConfigError(
            f"The partition `{name}` has a column `{extra}`, and `{first_name}` has none: name the columns to learn from in "
            "feature_columns."
        )


def _column_of(data: UrlSource | VolumeSource, column: str, volume: Volume, size_bytes: int | None, where: str) -> pd.Series:
    source = resolved(data)
    try:
        location = table_location(source, volume)
        if isinstance(source, VolumeSource) and location.in_pieces and location.place != source.key:
            raise ConfigError(
                f"The table {source.key} is in parts, and its groups would be looked for in all of them: name them in {where} "
                "(groups: [a, b])."
            )
        whole = location.in_pieces and location.format != "parquet"
        if whole and (size_bytes or location.size or source_identity(source, volume).size or 0) > _LARGEST_TEXT_BYTES:
            raise ConfigError(
                f"To find the groups of `{column}`, all of {location.place} would be read on this computer: name them in {where} "
                "(groups: [a, b]), or save the table as parquet, of which one column is read."
            )
        return read_table(location, columns=[column]).frame[column]
    except InputError as error:
        raise SourceError(f"{error} Fix group_column in {where}.") from error


def _counts(values: pd.Series, where: str, column: str, named: Sequence[Any] | None) -> tuple[dict[Any, int], int]:
    """Return the rows of each group, of those that are named if they are all there, and how many have no group.

    Raises:
        ConfigError: the values cannot name groups.
    """
    present = values[values.notna()].astype(object)  # of categories, those that rows have
    try:
        groups = present.unique()
    except TypeError:  # what has no hash
        raise ConfigError(
            f"`{column}` holds lists or mappings, and a group is text, a whole number, true or false: choose another group_column in "
            f"{where}."
        ) from None
    ungrouped_rows = len(values) - len(present)
    if named is not None:
        # What the others are, and how many, matters to nobody.
        _check_named(named, groups, "group", where)
        texts = set(map(str, named))
        present = present[present.isin([group for group in groups if name_of(group) in texts])]
    elif len(groups) > MOST_GROUPS:
        raise ConfigError(
            f"`{column}` has {len(groups):,} values, and each would be a training of its own, of {MOST_GROUPS:,} at most: is it the key of "
            f"a row? Choose another group_column in {where}, or name some groups."
        )
    counts: Counter[Any] = Counter()
    for value, rows in present.value_counts().items():
        counts[_plain(value, where, column)] += int(rows)
    if not counts:
        raise ConfigError(f"`{column}` has no value in any row: choose another group_column in {where}.")
    names = Counter(str(value) for value in counts)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise ConfigError(f"`{column}` has the group {twice} both as text and as a number: make them one type in an earlier node.")
    return dict(counts), ungrouped_rows


def name_of(value: Any) -> str:
    """Return the name of a group by its value: a whole number has no decimals, as in a column that lacks some."""
    value = value.item() if hasattr(value, "item") else value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _plain(value: Any, where: str, column: str) -> str | int | bool:
    """Return a group's value as a script has it."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str | bool | int):
        return value
    kind = "a number with decimals" if isinstance(value, float) else f"a {type(value).__name__}"
    raise ConfigError(
        f"`{column}` has the value {value!r}, {kind}, and a group is text, a whole number, true or false: make text of it in a node "
        f"before, or choose another group_column in {where}."
    )


def _chosen(parameters: TrainingParameters, partitioned: Partitioned, row_counts: Mapping[Any, int], where: str) -> Partitions:
    """Return the groups to train, of those that were found.

    Raises:
        ConfigError: one that is named is not there, or one that is not left out is too small.
    """
    noun = partitioned.noun
    if partitioned.groups is not None:
        _check_named(partitioned.groups, row_counts, noun, where)
        row_counts = {group: row_counts[group] for group in partitioned.groups}
    if not row_counts:
        raise ConfigError(f"{where}: the data has no partitions.")
    every = [Partition(value, rows) for value, rows in sorted(row_counts.items(), key=lambda item: str(item[0]))]
    least = partitioned.min_rows
    left_out = tuple(partition for partition in every if least is not None and (partition.rows or 0) < least)
    chosen = tuple(partition for partition in every if partition not in left_out)
    if not chosen:
        raise ConfigError(f"{where}: no {noun} has {least} rows (min_rows); the largest has {max(row_counts.values())}. Lower min_rows.")
    small = [partition for partition in chosen if partition.rows is not None and partition.rows < fewest_rows(parameters)]
    if small:
        shown = some_of([f"{partition.name} ({partition.rows})" for partition in small])
        raise ConfigError(
            f"{counted(len(small), noun)} of {where} {'has' if len(small) == 1 else 'have'} too few rows to hold any out: {shown}. "
            f"min_rows leaves small {noun}s out: min_rows: {fewest_rows(parameters)}, or more."
        )
    return Partitions(chosen, left_out)


def _check_named(named: Sequence[Any], groups: Iterable[Any], noun: str, where: str) -> None:
    """Check that the groups that are named are there.

    Raises:
        ConfigError: one is not, or not as the kind of value that it has in the data.
    """
    values = [value.item() if hasattr(value, "item") else value for value in groups]
    # To Python, True is 1.
    kinds = {(isinstance(value, bool), value) for value in values}
    missing = next((group for group in named if (isinstance(group, bool), group) not in kinds), None)
    if missing is None:
        return
    names, text = [name_of(value) for value in values], str(missing)
    if isinstance(missing, bool) and values and all(isinstance(value, str) for value in values):
        raise ConfigError(f"{where} names the {noun} {missing}: {put_in_quotes(missing, f'a {noun} of the data', values)}.")
    # YAML's true is Python's True.
    meant = next((value for value in values if name_of(value) == (text.capitalize() if isinstance(value, bool) else text)), None)
    if meant is not None:
        quotes = "in quotes" if isinstance(meant, str) else "without quotes"
        raise ConfigError(f"{where} names the {noun} {missing!r}, which is {meant!r} in the data: write it {quotes}.")
    raise ConfigError(
        f"{where} names the {noun} {missing!r}, which is not in the data.{did_you_mean(text, names)} It has {some_of(names)}."
    )


def fewest_rows(parameters: TrainingParameters) -> int:
    """Return the fewest rows that can be split as the parameters have it, whatever stands in them."""
    validation = parameters.validation
    return max(validation.folds or 2, 2) + (1 if validation.test_fraction else 0)
