"""Encoded rows on the machine's own disk, read block by block by the libraries that can: no more than a block of them is in memory."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError
from .scratch import scratch_of_process
from .splitting import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from .encoding import Features
    from .fit_checkpoint import FitCheckpoint

# The numbers of a block: enough to make a library's own work for a block negligible, few enough for any machine's memory.
_CELLS = 2**23


class EncodedRows:
    """A matrix in a file that nothing names: it is gone with the process, however that ends.

    Args:
        columns: how many it has.

    Attributes:
        shape: its rows and columns.
        block_rows: how many rows are read at a time.
    """

    def __init__(self, columns: int) -> None:
        self._file = tempfile.TemporaryFile(prefix="cloudtrain-", dir=_disk(), buffering=0)  # noqa: SIM115  # it lives as long as the rows
        self.shape = (0, columns)
        self.block_rows = max(1, _CELLS // max(1, columns))

    def __len__(self) -> int:
        return self.shape[0]

    def append(self, matrix: NDArray[np.float32]) -> None:
        """Write more rows behind the others.

        Raises:
            InputError: the disk is full.
        """
        left = _bytes_of(np.ascontiguousarray(matrix, dtype=np.float32))
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise InputError(
                f"The encoded rows do not fit on the disk of {_disk()} ({error.strerror}). Make room there, or name another disk's folder "
                "in TMPDIR; of a pod, raise disk_gb."
            ) from error
        self.shape = (self.shape[0] + len(matrix), self.shape[1])

    def __getitem__(self, rows: int | slice) -> NDArray[np.float32]:
        """Read a row, or rows that follow one another."""
        if not isinstance(rows, slice):
            place = range(len(self))[rows]
            return np.asarray(self[place : place + 1][0])
        start, stop, _ = rows.indices(len(self))
        matrix = np.empty((max(0, stop - start), self.shape[1]), dtype=np.float32)
        left, place = _bytes_of(matrix), start * matrix.shape[1] * matrix.itemsize
        while left:
            count = os.preadv(self._file.fileno(), [left], place)
            if not count:
                raise EOFError("the encoded rows end before their last one")
            left, place = left[count:], place + count
        return matrix

    @property
    def mapped(self) -> NDArray[np.float32]:
        """The whole matrix as an array of the file's pages."""
        return np.memmap(self._file, dtype=np.float32, mode="r", shape=self.shape)

    def blocks(self) -> Iterator[slice]:
        """Yield the places of the rows, block by block."""
        for start in range(0, len(self), self.block_rows):
            yield slice(start, min(start + self.block_rows, len(self)))


@dataclasses.dataclass(frozen=True, eq=False)
class PartInPieces(Part):
    """Some rows of the table, encoded on the disk.

    Attributes:
        features: their matrix; see `EncodedRows`.
    """

    features: EncodedRows  # type: ignore[assignment]  # read by slices, as an array is

    def __len__(self) -> int:
        return len(self.target)

    def output(self, predict: Callable[[NDArray[np.float32]], NDArray[Any]]) -> NDArray[Any]:
        """Return what a model predicts of the rows, block by block."""
        return np.concatenate([predict(self.features[rows]) for rows in self.features.blocks()])

    def for_xgboost(self, types: Sequence[str] | None) -> Any:
        """Return the rows as XGBoost takes them block by block, for an `ExtMemQuantileDMatrix`, which has its own copy on the disk.

        Args:
            types: the columns' types in XGBoost's terms.
        """
        import xgboost  # the script has imported it already

        part = self

        class Blocks(xgboost.DataIter):
            def __init__(self) -> None:
                super().__init__(cache_prefix=str(scratch_of_process(_disk()) / "xgboost"))
                self._blocks = part.features.blocks()

            def next(self, input_data: Callable[..., Any]) -> bool:
                rows = next(self._blocks, None)
                if rows is not None:
                    weight = None if part.weight is None else part.weight[rows]
                    input_data(data=part.features[rows], label=part.target[rows], weight=weight, feature_types=types)
                return rows is not None

            def reset(self) -> None:
                self._blocks = part.features.blocks()

        return Blocks()

    def for_lightgbm(self, checkpoint: FitCheckpoint) -> Any:
        """Return the rows as LightGBM takes them block by block, for a `Dataset`, which holds their bins.

        Args:
            checkpoint: the fit's: of a model to go on from, LightGBM predicts the rows, and takes for that no other than an array. It is
                one of the file's pages then, which the machine drops from memory as it needs to.
        """
        import lightgbm  # the script has imported it already

        if checkpoint.model is not None:
            return self.features.mapped
        part = self

        class Rows(lightgbm.Sequence):
            batch_size = part.features.block_rows

            def __len__(self) -> int:
                return len(part)

            def __getitem__(self, rows: Any) -> Any:
                # Where it samples rows for its bins, it takes float64 alone.
                return part.features[rows].astype(np.float64)

        return Rows()

    def for_keras(self, features: Features, rows: int, shuffled: tuple[int, int] | None = None) -> Any:
        """Return the rows as a network's inputs in batches, which Keras loads while its device computes with the ones before.

        Args:
            features: how they are encoded.
            rows: how many at a time.
            shuffled: the seed and the first epoch, by which the rows come in another order in each epoch; None leaves their order.
        """
        from .keras_loader import make_loader

        return make_loader(self, features, rows, shuffled)

    def take(self, places: NDArray[np.int64]) -> Part:
        """Return some of the rows, by their places, in memory."""
        weight = None if self.weight is None else self.weight[places]
        matrix = np.stack([self.features[int(place)] for place in places])
        return Part(matrix, self.target[places], self.rows[places] if len(self.rows) else places, weight)


def _disk() -> str:
    """Return the folder of large temporary files: TMPDIR, or /var/tmp, since many a /tmp is kept in memory."""
    usual = Path("/var/tmp")  # noqa: S108  # its files have no names, or names that no other process knows
    return str(usual) if "TMPDIR" not in os.environ and os.access(usual, os.W_OK) else tempfile.gettempdir()


def _bytes_of(matrix: NDArray[np.float32]) -> memoryview:
    return matrix.reshape(-1).view(np.uint8).data
