"""A batch prediction that several machines share: each process reads its own stretch of the table, and writes what it predicts."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .doubts import print_checks
from .inputs import input_location, lay_out
from .other_machines import OtherMachines
from .parquet_pieces import ParquetPieces
from .pieces import Wanted, as_arrow, beside
from .prediction import PredictionJob, check_rows, loaded, on_disk
from .protocol import OUTPUTS
from .row_groups import Outline
from .shared_calls import SharedCalls
from .table_parts import TableParts, join_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .locations import Location
    from .models import TrainedModel


class SharedPrediction(PredictionJob):
    """A prediction whose pieces several processes read, predict and write; see `PredictionJob`."""

    def begin(self) -> None:
        """Leave it to each process to find what an earlier machine has written."""
        self._files: list[Path] = []

    def predict(
        self,
        workers: int,
        model: TrainedModel,
        *,
        dataset_key: str | None = None,
        dataset_url: str | None = None,
        dataset_file: str | None = None,
        file_format: str | None = None,
        load_args: Mapping[str, Any] | None = None,
    ) -> None:
        """Predict a parquet table: each process one stretch of its pieces, of which nothing passes through this one.

        Args:
            workers: how many processes.
            model: the model, which each loads for itself.
            dataset_key: the table's path below the volume.
            dataset_url: or its URL.
            dataset_file: or its path in the job folder.
            file_format: parquet.
            load_args: passed to the pandas reader.

        Raises:
            InputError: the table does not exist, lacks a column, or has values of another kind than the model knows.
            OutputError: the disk does not take the predictions.
        """
        from distributed import as_completed

        location = input_location(self.folder, dataset_key, dataset_url, dataset_file, file_format, load_args)
        wanted = Wanted.of(model.features.columns, self._keep)
        every = Outline.of(location).rows
        count = max(1, -(-every // wanted.rows))
        # Processes that would have to share a GPU of this computer would take the memory from one another.
        on_cpu = self._gpu is not None and OtherMachines.of_environment() is None and self._gpu.count < workers
        if on_cpu:
            print(f"{workers} processes have no GPU each on this computer ({self._gpu}): they predict on the CPU")  # noqa: T201
            self._gpu = None
        calls = SharedCalls(self.cluster(workers))
        whole = _Stretch(self.folder, self._model_file, location, wanted, on_cpu)
        stretches = [dataclasses.replace(whole, number=number, pieces=pieces) for number, pieces in enumerate(_shares(count, workers))]
        parts = calls.on_each(_Part, stretches)
        done = calls.values(calls.on_each(_done, parts))
        if any(done):
            print(f"{sum(done)} pieces were done before")  # noqa: T201
        finished = [piece for stretch, number in zip(stretches, done, strict=True) for piece in stretch.pieces[:number]]
        self._rows["read"] = sum(min(wanted.rows, every - piece * wanted.rows) for piece in finished)
        self.progress.resume([{"round": number} for number in range(1, sum(done) + 1)], 0.0)
        self.progress.begin(sum(done))
        self.progress.of = self.progress.most = count
        self.progress.started()
        places = {calls.on(place, _next, part): place for place, part in enumerate(parts)}
        waiting = as_completed(list(places))
        for future in waiting:
            place, outcome = places.pop(future), future.result()
            if outcome is None:
                continue
            rows, self._bytes_read, doubts = outcome[0], self._bytes_read + outcome[1], outcome[2]
            print_checks(doubts)
            self._rows["read"] += rows
            self._predicted += rows
            self.progress.round({})
            following = calls.on(place, _next, parts[place])
            places[following] = place
            waiting.add(following)
        self._files = [file for files in calls.values(calls.on_each(_close, parts)) for file in files]
        print(f"predicted {self._rows['read']:,} rows of {location.place}")  # noqa: T201

    def _join(self, place: Path) -> None:
        join_parts(self._files, place)


@dataclasses.dataclass(frozen=True)
class _Stretch:
    """What one process is to predict.

    Attributes:
        folder: the job's.
        model_file: the sent list of the model's files.
        location: the table.
        wanted: what is read of it.
        on_cpu: whether it leaves GPUs alone.
        number: the process's.
        pieces: the numbers of its pieces.
    """

    folder: Path
    model_file: str
    location: Location
    wanted: Wanted
    on_cpu: bool = False
    number: int = 0
    pieces: range = range(0)


class _Part:
    """A stretch in the process that predicts it; it stays there from one piece to the next."""

    def __init__(self, stretch: _Stretch) -> None:
        self._stretch = stretch
        self._parts = TableParts(stretch.folder / OUTPUTS / f".unfinished-{stretch.number}.parquet", f"stretch-{stretch.number}")
        self.done = self._parts.pieces
        self._rows = self._predicted()

    def next(self) -> tuple[int, int, list[str]] | None:
        """Predict and write the next piece; return its rows, the bytes that it took, and what is doubtful; None behind the last."""
        return next(self._rows, None)

    def close(self) -> list[Path]:
        """Close the last part, and return all of the stretch."""
        with on_disk():
            return self._parts.close()

    def _predicted(self) -> Iterator[tuple[int, int, list[str]]]:
        from distributed import get_worker

        stretch = self._stretch
        left = stretch.pieces[self.done :]
        if not left:
            return
        if stretch.on_cpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        # In the process's own folder, which is removed however the process ends.
        folder = Path(tempfile.mkdtemp(prefix="model-", dir=get_worker().local_directory))
        lay_out(stretch.folder, stretch.model_file, folder)
        model = loaded(folder)
        model.open()
        pieces, read_bytes = ParquetPieces(stretch.location, stretch.wanted), 0
        for piece in pieces.read(left.start):
            doubts = check_rows(model, piece.frame, stretch.location.place) if piece.number == left.start else []
            predictions = model.predict_table(piece.frame)
            with on_disk():
                self._parts.write_piece(beside(piece.kept, as_arrow(predictions)))
            more, read_bytes = pieces.bytes_read - read_bytes, pieces.bytes_read
            yield len(piece.frame), more, doubts if piece.number == 0 else []
            if piece.number + 1 == left.stop:
                return


def _done(part: _Part) -> int:
    return part.done


def _next(part: _Part) -> tuple[int, int, list[str]] | None:
    return part.next()


def _close(part: _Part) -> list[Path]:
    return part.close()


def _shares(count: int, processes: int) -> Iterator[range]:
    """Yield the pieces of each process: they differ by one piece at most."""
    for number in range(processes):
        yield range(number * count // processes, (number + 1) * count // processes)
