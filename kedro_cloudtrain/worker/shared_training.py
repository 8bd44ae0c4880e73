"""A training that several machines share: each process reads its own part of the table, encodes it, and keeps its rows."""

from __future__ import annotations

import contextlib
import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .doubts import print_checks
from .errors import HyperparameterError, InputError
from .hyperparameter_conflicts import weight_conflicts
from .inputs import input_location, volume_of
from .metrics import measure
from .models import output_of
from .objectives import loss_of
from .parquet_copy import as_parquet
from .part_checks import check_fitted, check_held, count_rows
from .roles import Roles
from .shared_calls import SharedCalls
from .shared_rows import SharedRows, refuse_few
from .shared_table import SharedTable
from .splitting import Part
from .table_in_pieces import columns_of
from .tables import repeated_columns
from .training import TrainingJob

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .locations import Location
    from .target import Target


@dataclasses.dataclass(frozen=True, eq=False)
class _Held(Part):
    """Rows to measure a model on, of which this process has numbers at most.

    Attributes:
        shared: the rows in the processes.
    """

    shared: SharedRows | None = None


class SharedTraining(TrainingJob):
    """A training whose table is read by the processes that share the fit; see `TrainingJob`."""

    _validation_rows: NDArray[np.int64]

    def read_parts(
        self,
        workers: int,
        target: str,
        features: Sequence[str] | None,
        validation: Mapping[str, Any],
        *,
        categorical_columns: Sequence[str] = (),
        weight_column: str | None = None,
        class_weight: str | Mapping[str, float] | None = None,
        **source: Any,
    ) -> tuple[SharedRows, SharedRows, SharedRows | None]:
        """Have each process read, split and encode its own part of a table; the encoded rows stay in its memory.

        Args:
            workers: how many processes.
            target: the target column.
            features: the feature columns; None takes every column but the target.
            validation: as for `split`.
            categorical_columns: as for `read`.
            weight_column: as for `read`.
            class_weight: as for `split`.
            **source: the table's place, as for `read`.

        Returns:
            The training rows, the validation rows, and the test rows, None if there are none.

        Raises:
            InputError: the table does not exist, has another format, or lacks a column; or a part that is needed has no rows.
        """
        if class_weight is not None:
            for problem in weight_conflicts(self._hyperparameters):
                raise HyperparameterError(problem)
        roles = Roles.of(target, features, validation, categorical=categorical_columns, weight=weight_column)
        calls = SharedCalls(self.cluster(workers))
        with self._parquet(roles, source) as (location, place, converted):
            table = SharedTable(calls, location, roles, place, self._task)
            train, held, test = table.split(validation, class_weight)
        self.target, self.features = table.target, table.features
        self._roles, self._names, self._validation_rows = roles, table.names, table.validation_rows
        self._rows["read"] = table.rows
        self._bytes_read += table.bytes_read if converted is None else converted
        if self._library == "lightgbm":
            refuse_few(len(train), workers)
        check_fitted(self._library, self._task, self.target, table.classes_of("train"))
        if (doubt := check_held(self._task, self.target, table.classes_of("validation"), self._hyperparameters)) is not None:
            print(doubt)  # noqa: T201
        self._rows |= count_rows(train, held, test)
        return train, held, test

    @contextlib.contextmanager
    def _parquet(self, roles: Roles, source: Mapping[str, Any]) -> Iterator[tuple[Location, str, int | None]]:
        """Provide the table as parquet where all processes can read it, its name in messages, and what a conversion has read of it."""
        names = ("dataset_key", "dataset_url", "dataset_file", "file_format", "load_args")
        given = input_location(self.folder, *(source.get(name) for name in names))
        if given.format == "parquet":
            yield given, given.place, None
            return
        with as_parquet(given, columns_of(given, roles), volume_of(self.folder)) as (location, count):
            print_checks(repeated_columns(given))
            try:
                yield location, given.place, count
            except InputError as error:
                # The user knows no copy of the table.
                raise InputError(str(error).replace(location.place, given.place)) from None

    def score(  # type: ignore[override]
        self, native: Any, validation: SharedRows, test: SharedRows | None = None, *, rounds: int = 0
    ) -> dict[str, Any]:
        """Measure the fitted model where the rows are; see `TrainingJob.score`.

        The predictions of the validation rows come to this process if they are among the outputs, and else the metrics alone.
        """
        held = self._held(validation)
        # The numbers of the test rows are not needed.
        return super().score(native, held, None if test is None else _Held(*_nothing(), shared=test), rounds=rounds)

    def _held(self, validation: SharedRows) -> _Held:
        if "predictions" not in self._outputs:
            return _Held(*_nothing(), shared=validation)
        rows = self._validation_rows
        return _Held(np.empty((0, 0), dtype=np.float32), validation.targets()[_places(rows)], rows, shared=validation)

    def _measured(self, native: Any, part: Part) -> tuple[dict[str, Any], NDArray[Any]]:
        if not isinstance(part, _Held) or part.shared is None:
            return super()._measured(native, part)
        outputs = part.shared.outputs(partial(output_of, self._library, native, self.features, self._task))
        loss = loss_of(self._library, self._hyperparameters)
        measured = part.shared.measured(partial(_metrics, self.target, loss), outputs)
        return measured, part.shared.predicted(outputs)[_places(part.rows)] if len(part) else np.empty(0)


def _nothing() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return np.empty((0, 0), dtype=np.float32), np.empty(0), np.empty(0, dtype=np.int64)


def _places(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place that each row has in the table's order."""
    return np.searchsorted(np.sort(rows), rows)


def _metrics(target: Target, loss: Any, part: Part, output: NDArray[Any]) -> dict[str, Any]:
    target.check_output(output)
    return measure(target, part.target, output, part.weight, loss)
