"""The table of a fit that several machines share: each process reads its own part, and this one learns no more than the split needs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .column_fit import Moments
from .digits import sample_step
from .doubts import nested_problem, print_checks
from .errors import InputError
from .row_groups import Outline, numbers_of
from .shared_part import PARTS, SAMPLED, TRAIN, TablePart, columns_of, packed, unpacked
from .shared_rows import SharedRows
from .splitting import Part, split_rows
from .target import Target
from .weights import class_weights, refuse_zeros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .encoding import Features
    from .locations import Location
    from .roles import Roles
    from .shared_calls import SharedCalls
    from .shared_part import Encoded, Merged
    from .target import Task


@dataclasses.dataclass(frozen=True)
class PartFacts:
    """What a process tells of the rows of a part of the split that it has read.

    Attributes:
        rows: how many they are.
        counts: how many rows each class has; of a regression, none.
        counted: how many of those have a weight above 0.
        weighs: whether any row has.
    """

    rows: int
    counts: NDArray[np.int64]
    counted: NDArray[np.int64]
    weighs: bool


class SharedTable:
    """A table that is read by several processes, as far as the job's own knows it.

    Args:
        calls: the processes.
        location: a parquet table that all of them can read.
        roles: what each column is for.
        place: how messages name it.
        task: what the model learns.

    Attributes:
        names: the features.
        rows: how many rows it has.
        bytes_read: how many bytes the processes have read.
        target: how the target is encoded.
        features: how the features are encoded; set by `split`.
        validation_rows: the numbers of the validation rows in the table, in the order of the split; set by `split`.
    """

    features: Features
    validation_rows: NDArray[np.int64]

    def __init__(self, calls: SharedCalls, location: Location, roles: Roles, place: str, task: Task) -> None:
        outline: Outline = calls.values(calls.on(0, Outline.of, location))
        roles.require_all(location, outline.names)
        self._calls, self._roles = calls, roles
        self.rows, self.names = outline.rows, roles.features_in(outline.names)
        if not self.names:
            raise InputError(f"{place} has no column but the target `{roles.target}`: a model has nothing to learn from.")
        if not self.rows:
            raise InputError(f"{place} has no rows. Check the file.")
        self._stretches = outline.among(len(calls))
        given = [[value] * len(calls) for value in (location, roles, self.names, self.rows)]
        self._parts = calls.on_each(TablePart, *given, self._stretches)
        summaries = calls.values(calls.on_each(TablePart.summary, self._parts, [task] * len(calls)))
        self.bytes_read = sum(each.bytes_read for each in summaries)
        print(f"read {self.rows:,} rows, {len(columns_of(roles, self.names))} columns from {place}")  # noqa: T201
        if nested := sorted({name for each in summaries for name in each.nested}):
            raise InputError(nested_problem(place, nested))
        self._present = [
            np.ones(each.rows, dtype=bool) if each.present is None else np.unpackbits(unpacked(each.present), count=each.rows).astype(bool)
            for each in summaries
        ]
        missing = self.rows - sum(int(present.sum()) for present in self._present)
        if missing:
            print(f"dropped {missing:,} rows without a {roles.target}")  # noqa: T201
        if missing == self.rows:
            raise InputError(f"No row of {place} has a `{roles.target}`. Fix target_column, or the data.")
        numbers = np.concatenate([numbers_of(rows)[present] for rows, present in zip(self._stretches, self._present, strict=True)])
        self._order = np.argsort(numbers)
        splitting = [unpacked(each.splitting) for each in summaries]
        columns = {name: pd.concat([each[name] for each in splitting]).iloc[self._order] for name in splitting[0]}
        self._frame = pd.DataFrame(columns, index=numbers[self._order])
        labels = [each.labels for each in summaries if each.labels is not None]
        self.target = Target.fit(pd.concat(labels), task) if labels else Target(roles.target, task)

    def split(
        self, validation: Mapping[str, Any], class_weight: str | Mapping[str, float] | None = None
    ) -> tuple[SharedRows, SharedRows, SharedRows | None]:
        """Split the rows as one process splits them, and have each process encode its own.

        Args:
            validation: as for `TrainingJob.split`.
            class_weight: as for `TrainingJob.split`.

        Returns:
            The training rows, the validation rows, and the test rows, None if there are none.

        Raises:
            InputError: a part that is needed has no rows.
        """
        calls = self._calls
        assigned = calls.sent(self._assigned(validation))
        learned = calls.on_each(TablePart.learn, self._parts, assigned)
        merged = calls.on(0, TablePart.merged, self._parts[0], learned, assigned, self._stretches)
        targets = [self.target] * len(calls)
        encoded = calls.on_each(TablePart.encode, self._parts, [merged] * len(calls), targets, assigned)
        self.features, doubts = calls.values(calls.on(0, _learned, calls.on_each(_moments, encoded), merged))
        print_checks(doubts)
        self._parts = []  # the encoded rows take their place
        futures = {name: calls.on_each(_facts, encoded, [number] * len(calls), targets) for name, number in PARTS.items()}
        self.facts: dict[str, list[PartFacts]] = calls.values(futures)
        if self._roles.weight is not None:
            for name, each in self.facts.items():
                if not any(process.weighs for process in each):
                    some = "training" if name == "train" else name
                    refuse_zeros(np.zeros(sum(process.rows for process in each)), self._roles.weight, f"{some} ")
        of_classes = None if class_weight is None else self._weights_of_classes(class_weight)
        parts = [
            SharedRows(
                calls,
                calls.on_each(_part, encoded, [number] * len(calls), [of_classes if number == TRAIN else None] * len(calls)),
                [process.rows for process in self.facts[name]],
            )
            for name, number in PARTS.items()
        ]
        train, held, test = parts
        return train, held, test if len(test) else None

    def classes_of(self, name: str) -> Part:
        """Return a row for each class that a part of the split has, of a weight above 0: what the checks of a part look at."""
        counted = np.flatnonzero(sum(each.counted for each in self.facts[name]))
        weight = None if self._roles.weight is None else np.ones(len(counted))
        return Part(np.empty((len(counted), 0), dtype=np.float32), counted, np.arange(len(counted)), weight)

    def _assigned(self, validation: Mapping[str, Any]) -> list[bytes]:
        """Return for each process what its rows are for, packed."""
        classes = None
        stratified = validation.get("column") is None and validation.get("time_column") is None
        if self.target.task != "regression" and stratified:
            codes = self._calls.values(self._calls.on_each(TablePart.codes, self._parts, [self.target] * len(self._calls)))
            classes = np.concatenate([unpacked(each) for each in codes])[self._order]
        wanted = {name: value for name, value in validation.items() if name != "dataset"}
        split = split_rows(self._frame, classes, **wanted)
        uses = np.zeros(len(self._frame), dtype=np.uint8)
        for name, number in PARTS.items():
            uses[getattr(split, name)] = number
        fitted = np.flatnonzero(uses == TRAIN)
        uses[fitted[:: sample_step(len(fitted))]] += SAMPLED
        of_present = np.empty_like(uses)
        of_present[self._order] = uses
        self.validation_rows = self._frame.index.to_numpy()[split.validation]
        self._frame = self._frame[:0]
        assigned, begin = [], 0
        for present in self._present:
            of_all = np.zeros(len(present), dtype=np.uint8)
            count = int(present.sum())
            of_all[present] = of_present[begin : begin + count]
            begin += count
            assigned.append(packed(of_all))
        return assigned

    def _weights_of_classes(self, class_weight: str | Mapping[str, float]) -> NDArray[np.float64]:
        """Return the weight of each class in the training rows."""
        counts = np.asarray(sum(each.counts for each in self.facts["train"]), dtype=np.int64)
        codes = np.repeat(np.arange(len(counts)), counts)
        weights = np.zeros(len(counts))
        weights[codes] = class_weights(class_weight, self.target, codes)
        return weights


def _moments(encoded: Encoded) -> Moments:
    return encoded.moments


def _learned(moments: Sequence[Moments], merged: Merged) -> tuple[Features, tuple[str, ...]]:
    whole = Moments(len(merged.features.columns))
    for each in moments:
        whole.merge(each)
    return whole.features(merged.features), merged.doubts


def _facts(encoded: Encoded, number: int, target: Target) -> PartFacts:
    part = encoded.parts[number]
    weight = np.ones(len(part)) if part.weight is None else part.weight
    codes = part.target if target.classes else np.zeros(0, dtype=np.int32)
    counted = codes[weight > 0] if target.classes else codes
    count = len(target.classes)
    return PartFacts(len(part), np.bincount(codes, minlength=count), np.bincount(counted, minlength=count), bool((weight > 0).any()))


def _part(encoded: Encoded, number: int, of_classes: NDArray[np.float64] | None) -> Part:
    part = encoded.parts[number]
    if of_classes is None:
        return part
    weight = of_classes[part.target]
    return dataclasses.replace(part, weight=weight if part.weight is None else weight * part.weight)
