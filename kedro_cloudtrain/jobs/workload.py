"""How much a job has to compute with."""

from __future__ import annotations

import dataclasses

# A float32 matrix, its quantised copy, gradients and what the library itself takes: XGBoost's "memory usage" notes say about as much.
_BYTES_A_CELL = 12
_LIBRARY_GB = 2.0


@dataclasses.dataclass(frozen=True)
class Workload:
    """How much a job has to compute with, as far as that is known.

    Attributes:
        library: xgboost, lightgbm, catboost, keras, or a template's own name.
        rows: of the table; None where nobody knows yet.
        columns: that are read.
        size_bytes: of the table's file.
    """

    library: str
    rows: int | None = None
    columns: int | None = None
    size_bytes: int | None = None

    @property
    def cells(self) -> float | None:
        """Numbers in the matrix; from the file's size, at 8 bytes each, where rows are not known."""
        if self.rows is not None and self.columns is not None:
            return float(self.rows * self.columns)
        return self.size_bytes / 8 if self.size_bytes is not None else None

    @property
    def memory_gb(self) -> float:
        """What the fit is thought to take, in GB."""
        return _LIBRARY_GB + (self.cells or 0.0) * _BYTES_A_CELL / 1e9
