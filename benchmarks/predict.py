"""Measure a prediction node: its peak memory for two sizes of table, and its rows a second against a loop of the library's own.

python benchmarks/predict.py [--rows 1000000] [--more-rows 4000000] [--columns 15] [--library xgboost] [--format parquet] [--runs 5]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kedro_cloudtrain.backends.local import LocalBackend
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.nodes import train
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.prediction import PredictionOrder
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import VolumeSource
from kedro_cloudtrain.worker.models import FILES, TrainedModel

KEY = "id"
WRITTEN_AT_ONCE = 500_000
ROUNDS = {"xgboost": "n_estimators", "lightgbm": "n_estimators", "catboost": "iterations", "keras": "epochs"}
# As a careful user would write it with the library alone: in pieces, and written piece by piece.
BARE = """
import json, resource, sys, time
import pandas as pd, pyarrow as pa, pyarrow.parquet as pq
table, model, place, rows, library, file_format = sys.argv[1:7]
key, rows = "id", int(rows)
if library == "xgboost":
    import xgboost as xgb
    booster = xgb.Booster(model_file=model)
    predict = lambda frame: booster.predict(xgb.DMatrix(frame.astype("float32")))
elif library == "lightgbm":
    import lightgbm as lgb
    booster = lgb.Booster(model_file=model)
    predict = lambda frame: booster.predict(frame)
elif library == "catboost":
    import catboost
    booster = catboost.CatBoost().load_model(model)
    predict = lambda frame: booster.predict(frame.to_numpy("float32"))
def frames():
    if file_format == "csv":
        yield from pd.read_csv(table, chunksize=rows)
    elif file_format == "jsonl":
        yield from pd.read_json(table, lines=True, chunksize=rows)
    else:
        for batch in pq.ParquetFile(table).iter_batches(batch_size=rows):
            yield batch.to_pandas()
began, writer, done = time.perf_counter(), None, 0
for frame in frames():
    predicted = pd.DataFrame({key: frame[key], "prediction": predict(frame.drop(columns=[key, "target"])).astype("float64")})
    predicted = pa.Table.from_pandas(predicted, preserve_index=False)
    writer = writer or pq.ParquetWriter(place, predicted.schema)
    writer.write_table(predicted)
    done += len(frame)
writer.close()
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rows_per_s": done / seconds, "peak_bytes": peak}))
"""


def frames(rows: int, columns: int) -> Iterator[pd.DataFrame]:
    random = np.random.default_rng(0)
    for start in range(0, rows, WRITTEN_AT_ONCE):
        count = min(WRITTEN_AT_ONCE, rows - start)
        frame = pd.DataFrame({f"x{number}": random.normal(size=count).round(5) for number in range(columns - 2)})
        frame.insert(0, KEY, np.arange(start, start + count))
        frame["target"] = (frame["x0"] * 3 + frame["x1"] ** 2 + random.normal(size=count)).round(5)
        yield frame


def make_table(file: Path, rows: int, columns: int) -> None:
    """Write a table of any size; no more than a part of it is in memory."""
    if file.suffix == ".parquet":
        writer = None
        for frame in frames(rows, columns):
            table = pa.Table.from_pandas(frame, preserve_index=False)
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
        writer.close()
        return
    with file.open("w") as stream:
        for number, frame in enumerate(frames(rows, columns)):
            if file.suffix == ".csv":
                frame.to_csv(stream, index=False, header=number == 0)
            else:
                frame.to_json(stream, orient="records", lines=True)


def run_node(model: TrainedModel, volume: DirectoryVolume, key: str) -> dict:
    """Run the job of a prediction node, and return its result."""
    order = PredictionOrder(
        "score", "model", model, VolumeSource(key, key.rpartition(".")[2]), volume, (KEY,), save=VolumeSource("scores.parquet", "parquet")
    )
    job = prepare(order, TrainingScriptGenerator())
    job.run(LocalBackend(), Row("score", "prediction", key), [])
    return json.loads(job.folder.result.read_text())


def run_bare(model: TrainedModel, volume: DirectoryVolume, key: str) -> dict:
    arguments = [volume.path(key), model.folder / FILES[model.library], volume.path("bare.parquet"), 2**17, model.library]
    command = [sys.executable, "-c", BARE, *map(str, arguments), key.rpartition(".")[2]]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=1_000_000)
parser.add_argument("--more-rows", type=int, default=4_000_000)
parser.add_argument("--columns", type=int, default=15)
parser.add_argument("--rounds", type=int, default=100)
parser.add_argument("--library", choices=["xgboost", "lightgbm", "catboost"], default="xgboost")
parser.add_argument("--format", choices=["parquet", "csv", "jsonl"], default="parquet")
parser.add_argument("--runs", type=int, default=5)
args = parser.parse_args()

with tempfile.TemporaryDirectory() as scratch:
    volume = DirectoryVolume(Path(scratch))
    sample = next(frames(50_000, args.columns)).drop(columns=KEY)
    parameters = {
        "model_type": f"{args.library}_regression",
        "target_column": "target",
        "hyperparameters": {ROUNDS[args.library]: args.rounds},
    }
    model = train(sample, parameters, kinds=("model",))["model"]
    peaks, speeds = {}, {"node": [], "bare": []}
    for rows in (args.rows, args.more_rows):
        key = f"table-{rows}.{args.format}"
        make_table(volume.path(key), rows, args.columns)
        once = rows != args.rows
        for _ in range(1 if once else args.runs):
            result = run_node(model, volume, key)
            peaks.setdefault(rows, []).append(result["peak_memory_bytes"])
            if not once:
                speeds["node"].append(result["rows_per_s"])
                speeds["bare"].append(run_bare(model, volume, key)["rows_per_s"])
        print(f"{rows:>11,} rows  peak {statistics.median(peaks[rows]) / 1e6:.0f} MB  {result['rows_per_s']:,.0f} rows/s")
        volume.path(key).unlink()
    for name, values in speeds.items():
        print(f"{name}: {statistics.median(values):>11,.0f} rows/s ({min(values):,.0f} to {max(values):,.0f})")
    few, many = (statistics.median(peaks[rows]) for rows in (args.rows, args.more_rows))
    print(f"peak memory of {args.more_rows:,} rows: {many / few:.2f} x that of {args.rows:,}")
    ratios = [ours / theirs for ours, theirs in zip(speeds["node"], speeds["bare"], strict=True)]
    print(f"rows a second: {statistics.median(ratios):.2f} x the library's own loop ({min(ratios):.2f} to {max(ratios):.2f})")
