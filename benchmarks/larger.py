"""Measure trainings of tables in pieces: their peak memory for two sizes of table, and their metrics against a fit in memory.

python benchmarks/larger.py [--rows 3000000] [--more-rows 30000000] [--library xgboost] [--format parquet] [--rounds 10]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kedro_cloudtrain.backends.local import LocalBackend
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import VolumeSource

WRITTEN_AT_ONCE = 500_000
NUMBERS = 10


def frames(rows: int) -> Iterator[pd.DataFrame]:
    random = np.random.default_rng(0)
    for start in range(0, rows, WRITTEN_AT_ONCE):
        count = min(WRITTEN_AT_ONCE, rows - start)
        frame = pd.DataFrame({f"x{number}": random.normal(size=count).round(4) for number in range(NUMBERS)})
        frame["town"] = random.choice(["Aarhus", "Bergen", "Turku", "Umeå"], count)
        frame["target"] = (frame["x0"] * 3 + frame["x1"] ** 2 + (frame["town"] == "Turku") + random.normal(size=count)).round(4)
        yield frame


def make_table(file: Path, rows: int) -> None:
    """Write a table of any size; no more than a part of it is in memory."""
    writer = None
    with file.open("w") as stream:
        for number, frame in enumerate(frames(rows)):
            if file.suffix == ".csv":
                frame.to_csv(stream, index=False, header=number == 0)
                continue
            table = pa.Table.from_pandas(frame, preserve_index=False)
            writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
    if writer is not None:
        writer.close()


def fit(volume: DirectoryVolume, key: str, *, in_pieces: bool) -> tuple[dict, dict]:
    """Run the job of a training node, and return its result and its metrics."""
    parameters = TrainingParameters(
        model_type=f"{args.library}_regression",
        target_column="target",
        hyperparameters={"n_estimators": args.rounds},
        in_pieces=in_pieces,
    )
    order = TrainingOrder(f"train-{in_pieces}", parameters, VolumeSource(key, key.rpartition(".")[2]), ("metrics",), volume)
    job = prepare(order, TrainingScriptGenerator())
    values = job.run(LocalBackend(), Row("train", "training", key), [])
    return json.loads(job.folder.result.read_text()), values["metrics"]


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=3_000_000)
parser.add_argument("--more-rows", type=int, default=30_000_000)
parser.add_argument("--rounds", type=int, default=10)
parser.add_argument("--library", choices=["xgboost", "lightgbm"], default="xgboost")
parser.add_argument("--format", choices=["parquet", "csv"], default="parquet")
args = parser.parse_args()

with tempfile.TemporaryDirectory() as scratch:
    volume, peaks, scores = DirectoryVolume(Path(scratch)), {}, {}
    for rows, ways in ((args.rows, (True, False)), (args.more_rows, (True,))):
        key = f"table-{rows}.{args.format}"
        make_table(volume.path(key), rows)
        for in_pieces in ways:
            began = time.perf_counter()
            result, scores[rows, in_pieces] = fit(volume, key, in_pieces=in_pieces)
            peaks[rows, in_pieces] = result["peak_memory_bytes"]
            stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result["seconds"].items())
            way = "in pieces" if in_pieces else "in memory"
            print(
                f"{rows:>11,} rows {way}  peak {peaks[rows, in_pieces] / 1e6:,.0f} MB  rmse {scores[rows, in_pieces]['rmse']:.6f}  "
                f"{time.perf_counter() - began:.0f} s ({stages})",
                flush=True,
            )
        volume.path(key).unlink()
    apart = abs(scores[args.rows, True]["rmse"] - scores[args.rows, False]["rmse"])
    print(f"rmse of {args.rows:,} rows in pieces and in memory: {apart:.6f} apart")
    ratio = peaks[args.more_rows, True] / peaks[args.rows, True]
    a_row = (peaks[args.more_rows, True] - peaks[args.rows, True]) / (args.more_rows - args.rows)
    print(f"peak of {args.more_rows:,} rows: {ratio:.2f} times that of {args.rows:,}, {a_row:.0f} bytes a row more")
