"""The size of a job's data, which decides the machine that it needs."""

from __future__ import annotations

import dataclasses

# A float32 matrix, its quantised copy, gradients and the library's own buffers: about what XGBoost's "memory usage" notes give.
_BYTES_A_CELL = 12
_LIBRARY_GB = 2.0
# The host holds the table as it is read, the matrix and its parts. benchmarks/recipes.py shows the peaks.
_RAM_BYTES_A_CELL = 24
_DISK_BYTES_A_CELL = 5
# Several copies of a piece are in memory at a time: as it is read, as the library takes it, as it is written.
_CELLS_OF_A_PIECE = 20e6
# For a table of fewer cells, a GPU pod takes longer to start, and to install CUDA's packages, than a CPU takes to fit it.
_GPU_CELLS = 20_000_000
# CatBoost divides its data among its GPUs, XGBoost among its processes, one a GPU; Keras holds none of it there where there are several.
_SHARED_BY_GPUS = ("catboost", "xgboost")


@dataclasses.dataclass(frozen=True)
class Workload:
    """The size of a job's data, as far as it is known; None stands for unknown.

    Attributes:
        library: xgboost, lightgbm, catboost, keras, or the name of the project's own template.
        rows: the table's rows.
        columns: the columns to read.
        size_bytes: the size of the table's file.
        device: `cuda` or `cpu` where the job can run on no other.
        why_device: why it cannot, as a clause.
        in_pieces: whether no more than a piece of the table is in memory at a time.
        bytes_a_cell: what a library holds of each number all the same: LightGBM's bins.
        bytes_a_row: what it holds of each row: target, predictions, gradients, the row's leaf.
    """

    library: str
    rows: int | None = None
    columns: int | None = None
    size_bytes: int | None = None
    device: str | None = None
    why_device: str = ""
    in_pieces: bool = False
    bytes_a_cell: int = 0
    bytes_a_row: int = 0

    @property
    def cells(self) -> float | None:
        """The numbers in the matrix; estimated from the file's size, at 8 bytes each, if the rows are not known."""
        if self.rows is not None and self.columns is not None:
            return float(self.rows * self.columns)
        return self.size_bytes / 8 if self.size_bytes is not None else None

    @property
    def uses_gpu(self) -> bool:
        """Whether it computes on a GPU where there is one."""
        # LightGBM's wheel has no CUDA, and with 10 million rows its CPU training is faster than its GPU training anyway.
        return self.library != "lightgbm" and self.device != "cpu"

    @property
    def is_worth_a_gpu(self) -> bool:
        """Whether a GPU is worth its price."""
        return self.uses_gpu and (self.device == "cuda" or self.cells is None or self.cells >= _GPU_CELLS)

    @property
    def memory_gb(self) -> float:
        """The memory of its device that the fit is expected to take, in GB."""
        return _LIBRARY_GB + (self._cells_at_once * _BYTES_A_CELL + self._held_bytes) / 1e9

    @property
    def ram_gb(self) -> float:
        """The memory of the host that reading and encoding are expected to take, in GB."""
        return _LIBRARY_GB + (self._cells_at_once * _RAM_BYTES_A_CELL + self._held_bytes) / 1e9

    @property
    def _cells_at_once(self) -> float:
        cells = self.cells or 0.0
        return min(cells, _CELLS_OF_A_PIECE) if self.in_pieces else cells

    @property
    def disk_gb(self) -> float:
        """The disk that the encoded rows of a training in pieces take, in GB: as float32, and as XGBoost's bins."""
        return (self.cells or 0.0) * _DISK_BYTES_A_CELL / 1e9 if self.in_pieces and self.bytes_a_row else 0.0

    @property
    def _held_bytes(self) -> float:
        cells = self.cells or 0.0
        # Where only the table's size is known, fifteen columns are assumed.
        rows = self.rows if self.rows is not None else cells / (self.columns or 15)
        return cells * self.bytes_a_cell + rows * self.bytes_a_row

    @property
    def shares_gpus(self) -> bool:
        """Whether several GPUs hold a part of the data each."""
        return self.library in _SHARED_BY_GPUS

    def fits(self, memory_gb: float, gpu_count: int) -> bool:
        """Return whether the fit is expected to fit into GPUs with this much memory each."""
        return memory_gb * (gpu_count if self.shares_gpus else 1) >= self.memory_gb
