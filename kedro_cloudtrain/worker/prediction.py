"""A batch prediction as its script sees it: reads a table in pieces, writes a prediction beside each row, saves them as one table."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .devices import choose_device, choose_keras_backend, cpu
from .doubts import print_checks
from .errors import InputError, OutputError
from .inputs import input_location, laid_out, volume_of
from .job import Job
from .matching import mismatches, unknown_categories, unknown_values
from .models import load_model
from .pieces import Wanted, as_arrow, beside, pieces_of
from .protocol import OUTPUTS
from .results import version_of
from .saved_table import SavedTable
from .table_parts import TableParts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from .models import TrainedModel
    from .pieces import Piece

_OUTPUT = "predictions"
# The libraries whose models predict on a GPU where there is one.
ON_GPU = ("keras",)
# So many rows show whether a table is what the model knows.
_FIRST_ROWS = 10_000


class PredictionJob(Job):
    """One prediction of a table's rows, in the folder of its script.

    Args:
        script: the script's `__file__`; the job's files are beside it.
        keep: the columns of the table that stand beside each row's prediction.
        save: where the machine saves the predictions itself, below the volume: `dataset_key`, and `versioned` where each save makes a
            version below the key; left out, they are an output of the job.
    """

    _parts: TableParts
    _piece: Piece
    _model_file: str

    def __init__(self, script: str, keep: Sequence[str] = (), save: Mapping[str, Any] | None = None) -> None:
        super().__init__(script, ["numpy", "pandas", "pyarrow"])
        self.progress.unit = "piece"
        self._keep = keep
        self._save = save
        self._predicted = 0

    def begin(self) -> None:
        """Find what an earlier machine has written."""
        self._parts = TableParts(self.folder / OUTPUTS / ".unfinished.parquet")

    def load_model(self, dataset_file: str) -> TrainedModel:
        """Load the model, and open its device.

        Args:
            dataset_file: the sent list of its files.

        Raises:
            InputError: it is not a model, or has another format.
            MachineError: the pod was rented for its GPU, and the library does not open it.
        """
        folder, size = laid_out(self.folder, dataset_file)
        self._bytes_read += size
        model = loaded(folder)
        # Trees predict on the CPU, to the bit as on any other computer.
        device = choose_device(model.library, {}, model.task) if model.library in ON_GPU else cpu()
        self.device, self._device_name, self._gpu = device.kind, device.name, device.gpu
        model.open()
        self._packages = [model.library, *self._packages]
        self._model_file = dataset_file
        print(f"{model.library} {version_of(model.library)} on {device}")  # noqa: T201
        return model

    def pieces(
        self,
        model: TrainedModel,
        *,
        dataset_key: str | None = None,
        dataset_url: str | None = None,
        dataset_file: str | None = None,
        file_format: str | None = None,
        load_args: Mapping[str, Any] | None = None,
    ) -> Iterator[pd.DataFrame]:
        """Yield the table in pieces, each a frame of the columns that the model needs, without those that an earlier machine has done.

        Args:
            model: the model.
            dataset_key: the table's path below the volume.
            dataset_url: or its URL.
            dataset_file: or its path in the job folder.
            file_format: csv, tsv, parquet, xlsx, xls or jsonl; None infers it from the extension.
            load_args: passed to the pandas reader.

        Raises:
            InputError: the table does not exist, has another format, lacks a column, or has values of another kind than the model knows.
        """
        location = input_location(self.folder, dataset_key, dataset_url, dataset_file, file_format, load_args)
        wanted = Wanted.of(model.features.columns, self._keep)
        table = pieces_of(location, wanted)
        read_before, first = self._bytes_read, self._parts.pieces
        if first:
            print(f"{first} pieces were done before")  # noqa: T201
        self._rows["read"] = first * wanted.rows
        self.progress.resume([{"round": number} for number in range(1, first + 1)], 0.0)
        self.progress.begin(first)
        for piece in table.read(first):
            if piece.number < self._parts.pieces:
                print("a column proves to be of another type than its first rows: the pieces start over")  # noqa: T201
                self._begin_anew()
            self.progress.of = self.progress.most = piece.of
            if piece.number in (0, first):
                print_checks(check_rows(model, piece.frame, location.place))
                self.progress.started()
            self._piece = piece
            yield piece.frame
            self._rows["read"] += len(piece.frame)
            self._predicted += len(piece.frame)
            self._bytes_read = read_before + table.bytes_read
        print(f"predicted {self._rows['read']:,} rows of {location.place}")  # noqa: T201

    def write(self, predictions: pd.DataFrame) -> None:
        """Write the predictions of the piece that was yielded last, beside its kept columns.

        Raises:
            OutputError: the disk does not take them.
        """
        with on_disk():
            self._parts.write_piece(beside(self._piece.kept, as_arrow(predictions)))
        self.progress.round({})

    def save(self) -> None:
        """Join what was written, and put it where it belongs: on the volume, or among the job's outputs.

        Raises:
            OutputError: the disk does not take it.
        """
        with on_disk():
            if self._save is None:
                self._written[_OUTPUT] = self._output_file(f"{_OUTPUT}.parquet")
                self._join(self._written[_OUTPUT])
                return
            table = SavedTable(volume_of(self.folder), self._save)
            try:
                self._join(table.temporary)
                self._kept[_OUTPUT] = table.commit()
            finally:
                table.temporary.unlink(missing_ok=True)

    def _join(self, place: Path) -> None:
        self._parts.join(place)

    @property
    def rows_per_s(self) -> float | None:
        """The rows that were read, predicted and written in a second."""
        seconds = self._seconds.get("predict")
        return round(self._predicted / seconds, 1) if seconds and self._predicted else None

    def _begin_anew(self) -> None:
        self._parts.begin_anew()
        self._rows["read"] = 0
        self.progress.resume([], 0.0)


def loaded(folder: Path) -> TrainedModel:
    """Return the model of a folder, for a process that predicts by it.

    Raises:
        InputError: it is not a model, or has another format.
    """
    model = load_model(folder)
    if model.library == "keras":
        choose_keras_backend()
    return model


def check_rows(model: TrainedModel, frame: pd.DataFrame, place: str) -> list[str]:
    """Check that a table's first rows are what the model knows, and return what is doubtful about them, a sentence each.

    Raises:
        InputError: a column is of another kind.
    """
    rows = frame.head(_FIRST_ROWS)
    for clause in mismatches(model.features, rows):
        raise InputError(f"{place}: {clause}. Mend the table, or train the model on such a column.")
    return [f"{clause}." for clause in (*unknown_categories(model.features, rows), *unknown_values(model.features, rows))]


@contextlib.contextmanager
def on_disk() -> Iterator[None]:
    """Turn the refusal of a disk into an error in a user's words."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"The predictions cannot be written: {error}. Make room on the volume, or raise disk_gb.") from error
