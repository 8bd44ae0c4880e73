"""The size of a job's data, which decides the machine that it needs."""

from __future__ import annotations

import dataclasses

# A float32 matrix, its quantised copy, gradients and the library's own buffers: about what XGBoost's "memory usage" notes give.
_BYTES_A_CELL = 12
_LIBRARY_GB = 2.0


@dataclasses.dataclass(frozen=True)
class Workload:
    """The size of a job's data, as far as it is known; None stands for unknown.

    Attributes:
        library: xgboost, lightgbm, catboost, keras, or the name of the project's own template.
        rows: the table's rows.
        columns: the columns to read.
        size_bytes: the size of the table's file.
        device: `cuda` or `cpu` where the hyperparameters leave no other.
        why_device: the hyperparameter that leaves none, as a clause.
    """

    library: str
    rows: int | None = None
    columns: int | None = None
    size_bytes: int | None = None
    device: str | None = None
    why_device: str = ""

    @property
    def cells(self) -> float | None:
        """The numbers in the matrix; estimated from the file's size, at 8 bytes each, if the rows are not known."""
        if self.rows is not None and self.columns is not None:
            return float(self.rows * self.columns)
        return self.size_bytes / 8 if self.size_bytes is not None else None

    @property
    def memory_gb(self) -> float:
        """The memory that the fit is expected to take, in GB."""
        return _LIBRARY_GB + (self.cells or 0.0) * _BYTES_A_CELL / 1e9
