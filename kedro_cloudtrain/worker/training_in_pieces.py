"""A training whose table is read in pieces: one that does not fit into the machine's memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .errors import HyperparameterError, InputError
from .hyperparameter_conflicts import weight_conflicts
from .inputs import input_location, volume_of
from .memory import release_memory
from .parquet_copy import as_parquet
from .part_checks import count_rows
from .roles import Roles
from .table_in_pieces import PartsInPieces, TableInPieces, columns_of
from .training import TrainingJob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .splitting import Part


class TrainingInPieces(TrainingJob):
    """A training that holds no more than a piece of its table in memory; see `TrainingJob`."""

    @property
    def _own_device(self) -> Mapping[str, Any]:  # type: ignore[override]
        # On a GPU, XGBoost takes blocks of the GPU's own memory alone, which need CuPy; LightGBM's wheel has no GPU.
        return {} if self._library == "keras" else {"device": "cpu"}

    def read_parts(
        self,
        target: str,
        features: Sequence[str] | None,
        validation: Mapping[str, Any],
        *,
        categorical_columns: Sequence[str] = (),
        weight_column: str | None = None,
        class_weight: str | Mapping[str, float] | None = None,
        validation_table: Mapping[str, Any] | None = None,
        **source: Any,
    ) -> tuple[Part, Part, Part | None]:
        """Read, split and encode a table piece by piece; its encoded rows are on the machine's own disk.

        Args:
            target: the target column.
            features: the feature columns; None takes every column but the target.
            validation: as for `split`.
            categorical_columns: as for `read`.
            weight_column: as for `read`.
            class_weight: as for `split`.
            validation_table: the place of the validation rows, if they are a table of their own, as `source`.
            **source: the table's place, as for `read`.

        Returns:
            The training rows, the validation rows, and the test rows, None if there are none.

        Raises:
            InputError: a table does not exist, has another format, or lacks a column; or a part that is needed has no rows.
        """
        if class_weight is not None:
            for problem in weight_conflicts(self._hyperparameters):
                raise HyperparameterError(problem)
        roles = Roles.of(target, features, validation, categorical=categorical_columns, weight=weight_column)
        with contextlib.ExitStack() as stack:
            table = self._table(stack, roles, source)
            held_out = None if validation_table is None else self._table(stack, roles.held_out(table.names), validation_table)
            parts = PartsInPieces(table, self._task, roles)
            train, held, test = parts.split(validation, held_out, class_weight)
        self.target, self.features = parts.target, parts.features
        self._roles, self._names = roles, table.names
        self._check_parts(train, held)
        self._rows |= count_rows(train, held, test)
        release_memory()
        return train, held, test

    def _table(self, stack: contextlib.ExitStack, roles: Roles, source: Mapping[str, Any]) -> TableInPieces:
        """Open a table for as long as it is read."""
        names = ("dataset_key", "dataset_url", "dataset_file", "file_format", "load_args")
        given = input_location(self.folder, *(source.get(name) for name in names))
        location, count = stack.enter_context(as_parquet(given, columns_of(given, roles), volume_of(self.folder)))
        try:
            table = TableInPieces(location, roles, given.place)
        except InputError as error:
            # The user knows no copy of the table.
            raise InputError(str(error).replace(location.place, given.place)) from None
        self._bytes_read += count
        self._rows["read"] = self._rows.get("read", 0) + table.rows
        return table
