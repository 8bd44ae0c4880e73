"""A training's table in pieces: of all its rows, the columns that split them and the target are in memory, and of the features a piece."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .categories import check_codes
from .column_fit import ColumnFit, Moments
from .doubts import doubts, print_checks, refuse_nested
from .encoded_rows import EncodedRows, PartInPieces
from .encoding import Column, Features
from .errors import InputError
from .memory import release_memory
from .parquet_pieces import ParquetPieces
from .pieces import Wanted
from .splitting import split_rows
from .tables import column_names, read_table
from .target import Target
from .training_table import TrainingTable, read_training_table
from .weights import class_weights, refuse_zeros, row_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .locations import Location
    from .pieces import Piece
    from .roles import Roles
    from .target import Task

# What a row is for; one without a target is for nothing.
_PARTS = ("train", "validation", "test")


class TableInPieces:
    """A table of a training, read in pieces.

    Args:
        location: a parquet table on disk.
        roles: what each column is for.
        place: how messages name it: the table may be a copy.

    Attributes:
        rows: how many rows it has.
        names: the features.
        frame: of the rows that have a target, the columns that are not features; their index has their numbers in the table.
    """

    def __init__(self, location: Location, roles: Roles, place: str) -> None:
        header = column_names(location)
        roles.require_all(location, header)
        self._location = location
        self._roles = roles
        self._place = place
        self.names = roles.features_in(header)
        if not self.names:
            raise InputError(f"{place} has no column but the target `{roles.target}`: a model has nothing to learn from.")
        table: TrainingTable = read_training_table(location, dataclasses.replace(roles, features=(), categorical=()), place, len(header))
        self.rows, self.frame = table.rows, table.frame

    @property
    def weight(self) -> NDArray[np.float64] | None:
        """The weight of each row of the frame; None where all count alike."""
        return None if self._roles.weight is None else row_weights(self.frame[self._roles.weight])

    def fit(self, fitted: NDArray[np.bool_]) -> Features:
        """Learn the features from the training rows, but for the means and scales of numbers.

        Args:
            fitted: which rows of the table are training rows.
        """
        count = int(fitted.sum())
        fits = {
            name: ColumnFit(
                name,
                lambda name=name: self._alone(name, fitted),  # type: ignore[misc]  # a default binds the name
                self.rows,
                count,
                codes=name in self._roles.categorical,
                narrows=name in self._roles.float32,
            )
            for name in self.names
        }
        for piece, rows in self._pieces():
            refuse_nested(piece.frame, self._place)
            if piece.number == 0:
                print_checks(doubts(piece.frame, self.names, self._roles.categorical, np.flatnonzero(fitted[rows])))
            for name, fit in fits.items():
                if name in self._roles.categorical:
                    check_codes(piece.frame[name])
                fit.add(piece.frame[name], fitted[rows])
        return Features(tuple(fit.column for fit in fits.values()))

    def encode(self, features: Features, part_of: NDArray[np.int8]) -> tuple[Features, list[EncodedRows]]:
        """Encode the rows of each part to the disk.

        Args:
            features: how they become numbers.
            part_of: the part of each row of the table; -1 for none.

        Returns:
            The features with the means and scales of the training rows, and the rows of each part in the table's order.
        """
        encoded = [EncodedRows(len(features.columns)) for _ in _PARTS]
        moments = Moments(len(features.columns))
        for piece, rows in self._pieces():
            matrix, parts = features.matrix(piece.frame), part_of[rows]
            for number, each in enumerate(encoded):
                chosen = matrix[parts == number]
                if number == 0:
                    moments.add(chosen)
                each.append(chosen)
        return moments.features(features), encoded

    def _pieces(self) -> Iterator[tuple[Piece, slice]]:
        """Yield the pieces of the features, whose frames' indexes have the rows' numbers, and their places in the table."""
        wanted = Wanted.of([Column(name, "number") for name in self.names], ())
        begin = 0
        for piece in ParquetPieces(self._location, wanted).read():
            rows = slice(begin, begin + len(piece.frame))
            piece.frame.index = pd.RangeIndex(rows.start, rows.stop)
            yield piece, rows
            begin = rows.stop
            release_memory()  # a C library would keep what each piece has taken

    def _alone(self, name: str, fitted: NDArray[np.bool_]) -> pd.Series:
        """Return a column's training rows."""
        values: pd.Series = read_table(self._location, columns=[name]).frame[name]
        return values[fitted]


class PartsInPieces:
    """The parts of a table in pieces, split and encoded as those of a table in memory are.

    Args:
        table: the table.
        task: what the model learns.
        roles: what each column is for.

    Attributes:
        target: how the target is encoded.
        features: how the features are encoded; set by `split`.
    """

    features: Features

    def __init__(self, table: TableInPieces, task: Task, roles: Roles) -> None:
        self._table = table
        self._roles = roles
        self.target = Target.fit(table.frame[roles.target], task)

    def split(
        self,
        validation: Mapping[str, Any],
        held_out: TableInPieces | None = None,
        class_weight: str | Mapping[str, float] | None = None,
    ) -> tuple[PartInPieces, PartInPieces, PartInPieces | None]:
        """Return the training rows, the validation rows, and the test rows, None if there are none.

        Args:
            validation: as for `TrainingJob.split`.
            held_out: the table of the validation rows, if it is one of its own.
            class_weight: as for `TrainingJob.split`.

        Raises:
            InputError: a part that is needed has no rows.
        """
        codes, weight = self._target_of(self._table), self._table.weight
        if held_out is None:
            classes = None if self.target.task == "regression" else codes
            wanted = {name: value for name, value in validation.items() if name != "dataset"}
            split = split_rows(self._table.frame, classes, **wanted)
            part_of = np.full(len(codes), -1, dtype=np.int8)
            for number, name in enumerate(_PARTS):
                part_of[getattr(split, name)] = number
            del split
        else:
            part_of = np.zeros(len(codes), dtype=np.int8)
        numbers = self._table.frame.index
        # What has split the rows need not be held any longer.
        self._table.frame = self._table.frame[:0]
        part_of_row = np.full(self._table.rows, -1, dtype=np.int8)
        part_of_row[numbers] = part_of
        self.features, encoded = self._table.encode(self._table.fit(part_of_row == 0), part_of_row)
        parts: list[PartInPieces] = []
        for number, (name, matrix) in enumerate(zip(_PARTS, encoded, strict=True)):
            chosen = part_of == number
            # The numbers of the training rows are not needed.
            rows = numbers[chosen if number else slice(0)].to_numpy()
            parts.append(self._checked(PartInPieces(matrix, codes[chosen], rows, None if weight is None else weight[chosen]), name))
        train, held, test = parts
        if held_out is not None:
            held = self._of_table(held_out)
        if class_weight is not None:
            of_classes = class_weights(class_weight, self.target, train.target)
            train = dataclasses.replace(train, weight=of_classes if train.weight is None else of_classes * train.weight)
        return train, held, test if len(test) else None

    def _of_table(self, table: TableInPieces) -> PartInPieces:
        """Return all rows of a table of validation rows."""
        codes, weight = self._target_of(table), table.weight
        numbers = table.frame.index.to_numpy()
        part_of = np.full(table.rows, -1, dtype=np.int8)
        part_of[numbers] = 1
        _, encoded = table.encode(self.features, part_of)
        return self._checked(PartInPieces(encoded[1], codes, numbers, weight), "validation")

    def _target_of(self, table: TableInPieces) -> NDArray[Any]:
        """Return a table's target as numbers; the table has it no longer, unless it splits the rows as well."""
        codes = self.target.encode(table.frame[self._roles.target])
        if self._roles.target not in self._roles.validation.values():
            table.frame = table.frame.drop(columns=self._roles.target)
        release_memory()
        return codes

    def _checked(self, part: PartInPieces, name: str) -> PartInPieces:
        if part.weight is not None:
            refuse_zeros(part.weight, str(self._roles.weight), f"{'training' if name == 'train' else name} ")
        return part


def columns_of(location: Location, roles: Roles) -> Sequence[str]:
    """Return the columns of a table that have a role.

    Raises:
        InputError: it lacks one.
    """
    header = column_names(location)
    roles.require_all(location, header)
    return list(dict.fromkeys([*roles.features_in(header), *(roles.columns or header)])) if roles.features is not None else header
