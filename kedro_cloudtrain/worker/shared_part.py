"""What one of several processes does with its part of a training's table: it reads, learns from and encodes its own rows."""

from __future__ import annotations

import dataclasses
import pickle
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .categories import check_codes
from .column_fit import ColumnFit, Moments, Sampled
from .digits import sample_step
from .doubts import doubts, nested_columns
from .encoding import Features
from .kinds import as_numbers
from .row_groups import numbers_of, read_stretches
from .splitting import Part
from .tables import read_table
from .target import Target
from .weights import row_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .locations import Location
    from .roles import Roles
    from .row_groups import Stretch
    from .target import Task

# What a row is for; one without a target is for nothing, which is 0. A training row of the digits' sample has the last bit as well.
TRAIN, VALIDATION, TEST = 1, 2, 3
PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
SAMPLED = 4
_USE = SAMPLED - 1


@dataclasses.dataclass(frozen=True)
class Summary:
    """What the job's own process learns of a part of the table.

    Attributes:
        rows: how many it has.
        present: which rows have a target, packed; None where all do.
        splitting: the columns that split the rows, of those that have a target, packed.
        labels: the distinct values of the target, for a classification.
        nested: the columns that hold lists, structures or bytes.
        bytes_read: how many bytes it took.
    """

    rows: int
    present: bytes | None
    splitting: bytes
    labels: pd.Series | None
    nested: tuple[str, ...]
    bytes_read: int


@dataclasses.dataclass(frozen=True)
class Learned:
    """What the rows of a part teach of the features: it is merged in one process, with what the others have learned.

    Attributes:
        fits: a fit for each feature.
        doubtful: the features that a person should look at, as far as these rows tell.
    """

    fits: tuple[ColumnFit, ...]
    doubtful: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Merged:
    """What all rows together teach of the features.

    Attributes:
        features: how they become numbers, but for the means and scales.
        narrow: those whose numbers a reader of the whole table makes float32 before they are counted from an origin.
        doubts: what is doubtful about them, a sentence each.
    """

    features: Features
    narrow: tuple[str, ...]
    doubts: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """The encoded rows of a part of the table.

    Attributes:
        parts: the rows to fit on, to stop by and to judge by, by the numbers of `PARTS`.
        moments: what makes the means and scales.
    """

    parts: dict[int, Part]
    moments: Moments


class TablePart:
    """The rows of a table that one process has read, in its memory until they are encoded.

    Args:
        location: a parquet table.
        roles: what each column is for.
        features: the features.
        rows: how many rows the table has.
        stretches: those of this process.
    """

    def __init__(self, location: Location, roles: Roles, features: Sequence[str], rows: int, stretches: Sequence[Stretch]) -> None:
        self._location = location
        self._roles = roles
        self._features = list(features)
        self._rows = rows
        self._stretches = list(stretches)
        self._frames, self._bytes_read = read_stretches(location, columns_of(roles, features), stretches)
        self._has_target = [frame[roles.target].notna().to_numpy() for frame in self._frames]

    def summary(self, task: Task) -> Summary:
        """Return what the split needs to know."""
        nested = sorted({name for frame in self._frames for name in nested_columns(frame)})
        if nested:
            return Summary(0, None, b"", None, tuple(nested), self._bytes_read)
        present, target = np.concatenate(self._has_target), self._column(self._roles.target)
        for name in self._roles.categorical:
            for frame, rows in zip(self._frames, self._has_target, strict=True):
                check_codes(frame[name][rows])
        if self._roles.weight is not None:
            row_weights(self._column(self._roles.weight))
        labels = None
        if task != "regression":
            labels = target.drop_duplicates()
        elif len(target):
            Target.fit(target, task)  # it checks the numbers
        return Summary(
            len(present),
            None if present.all() else packed(np.packbits(present)),
            packed({name: self._column(name) for name in dict.fromkeys(self._roles.validation.values())}),
            labels,
            (),
            self._bytes_read,
        )

    def codes(self, target: Target) -> bytes:
        """Return the class of each row that has one, packed."""
        codes = target.encode(self._column(target.name))
        return packed(codes.astype(np.min_scalar_type(len(target.classes))))

    def learn(self, assigned: bytes) -> Learned:
        """Learn the features from the training rows, but for the means and scales of numbers.

        Args:
            assigned: what each row is for, packed.
        """
        uses = unpacked(assigned)
        fits = self._fits(int((uses & _USE == TRAIN).sum()), lambda _: pd.Series(dtype=float))
        step, begin = sample_step(self._rows), 0
        doubtful: set[str] = set()
        for frame in self._frames:
            use = uses[begin : begin + len(frame)]
            begin += len(frame)
            fitted = use & _USE == TRAIN
            sampled = Sampled(frame.index.to_numpy() % step == 0, use & SAMPLED > 0)
            for name, fit in fits.items():
                fit.add(frame[name], fitted, sampled)
            for name in self._features:
                if name not in doubtful and any(doubts(frame[[name]], [name], self._roles.categorical, np.flatnonzero(fitted))):
                    doubtful.add(name)
        return Learned(tuple(fits.values()), frozenset(doubtful))

    def merged(self, learned: Sequence[Learned], assigned: Sequence[bytes], stretches: Sequence[Sequence[Stretch]]) -> Merged:
        """Return the features that all processes have learned.

        Args:
            learned: what each has learned.
            assigned: what the rows of each are for, packed.
            stretches: the rows of each.
        """
        fitted = np.zeros(self._rows, dtype=bool)
        for uses, rows in zip(assigned, stretches, strict=True):
            fitted[numbers_of(rows)] = unpacked(uses) & _USE == TRAIN

        def alone(name: str) -> pd.Series:
            values: pd.Series = read_table(self._location, columns=[name]).frame[name]
            return values[fitted]

        fits = self._fits(int(fitted.sum()), alone)
        for each in learned:
            for fit, other in zip(fits.values(), each.fits, strict=True):
                fit.merge(other)
        columns = tuple(fit.column for fit in fits.values())
        doubtful = {name for each in learned for name in each.doubtful} | {name for name, fit in fits.items() if fit.is_far}
        sentences = [
            sentence
            for name in self._features
            if name in doubtful
            for sentence in doubts(alone(name).to_frame(), [name], self._roles.categorical)
        ]
        narrow = tuple(column.name for column in columns if column.origin and column.kind == "number" and fits[column.name].narrows)
        return Merged(Features(columns), narrow, tuple(sentences))

    def encode(self, merged: Merged, target: Target, assigned: bytes) -> Encoded:
        """Encode the rows of each part of the split, but for the weights of classes."""
        features, uses = merged.features, unpacked(assigned)
        moments = Moments(len(features.columns))
        codes, weight = target.encode(self._column(target.name)), self._weights()
        matrices: dict[int, list[NDArray[np.float32]]] = {part: [] for part in PARTS.values()}
        begin = 0
        for frame in self._frames:
            use = uses[begin : begin + len(frame)] & _USE
            begin += len(frame)
            matrix = features.matrix(frame.assign(**{name: as_numbers(frame[name], "number").astype("float32") for name in merged.narrow}))
            moments.add(matrix[use == TRAIN])
            for part, blocks in matrices.items():
                blocks.append(np.ascontiguousarray(matrix[use == part]))
        present = np.concatenate(self._has_target)
        numbers, parts = numbers_of(self._stretches)[present], {}
        of_present = uses[present] & _USE
        for part, blocks in matrices.items():
            rows = of_present == part
            parts[part] = Part(np.concatenate(blocks), codes[rows], numbers[rows], None if weight is None else weight[rows])
        return Encoded(parts, moments)

    def _fits(self, fitted_rows: int, alone: Callable[[str], pd.Series]) -> dict[str, ColumnFit]:
        return {
            name: ColumnFit(
                name,
                lambda name=name: alone(name),  # type: ignore[misc]  # a default binds the name
                self._rows,
                fitted_rows,
                codes=name in self._roles.categorical,
                narrows=name in self._roles.float32,
            )
            for name in self._features
        }

    def _column(self, name: str) -> pd.Series:
        """Return a column of the rows that have a target."""
        return pd.concat([frame[name][rows] for frame, rows in zip(self._frames, self._has_target, strict=True)])

    def _weights(self) -> NDArray[np.float64] | None:
        return None if self._roles.weight is None else row_weights(self._column(self._roles.weight))


def columns_of(roles: Roles, features: Sequence[str]) -> list[str]:
    """Return the columns to read, given the features."""
    return list(dataclasses.replace(roles, features=tuple(features)).columns or ())


def packed(value: Any) -> bytes:
    """Return a value as bytes: what a row is for takes about a bit so."""
    return zlib.compress(pickle.dumps(value, protocol=5), 1)


def unpacked(content: bytes) -> Any:
    """Return a value that another process has packed."""
    return pickle.loads(zlib.decompress(content))  # noqa: S301  # the job's own processes
