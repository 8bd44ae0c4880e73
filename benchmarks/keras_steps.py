"""Measure the steps a second of a Keras recipe: its blocks of batches against Keras's own fit, a step at a time, in turn.

python benchmarks/keras_steps.py [--pairs 5] [--rows 50000] [--columns 20] [--epochs 3] [--batch-size 128]

Both are the script of the recipe itself, and the time is that of the processor, from the second epoch on: the first one compiles. Ends with
1 if the blocks are not 1.8 times as quick, or do not end with the same loss to 1e-6.
"""

import argparse
import contextlib
import io
import math
import os
import runpy
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import kedro_cloudtrain.worker
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.worker.blocks import in_blocks
from kedro_cloudtrain.worker.devices import choose_keras_backend

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--pairs", type=int, default=5)
parser.add_argument("--rows", type=int, default=50_000)
parser.add_argument("--columns", type=int, default=20)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--batch-size", type=int, default=128)
args = parser.parse_args()
LEAST_RATIO, LARGEST_DIFFERENCE = 1.8, 1e-6
backend = choose_keras_backend()
import keras  # noqa: E402  # Keras reads its backend when it is imported


class Clock(keras.callbacks.Callback):
    """Takes the processor's time of the epochs behind the first; those of a block's model are as long, whatever a batch is to it."""

    def __init__(self) -> None:
        super().__init__()
        self.began = self.seconds = self.loss = 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Begin at the end of the first epoch."""
        if epoch == 0:
            self.began = time.process_time()
        self.seconds, self.loss = time.process_time() - self.began, logs["loss"]


class SingleSteps:
    """What the recipe fits with instead of its blocks: Keras's own fit."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self.compile = model.compile
        self.fit = lambda *given, **more: model.fit(*given, **more, batch_size=batch_size)


def fit(script: Path, fitted_by: Any) -> tuple[float, float]:
    """Run the script; return its steps a second and its last loss."""
    clock = Clock()

    def timed(model: Any, batch_size: int) -> Any:
        made = fitted_by(model, batch_size)
        own = made.fit
        made.fit = lambda *given, callbacks, **more: own(*given, callbacks=[*callbacks, clock], **more)
        return made

    kedro_cloudtrain.worker.in_blocks = timed
    with contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(str(script), run_name="__main__")
    return steps * (args.epochs - 1) / clock.seconds, clock.loss


with tempfile.TemporaryDirectory() as scratch:
    root = Path(scratch)
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(args.rows, args.columns)), columns=[f"x{number}" for number in range(args.columns)])
    frame["y"] = 3 * frame["x0"] + np.sin(frame["x1"]) + random.normal(size=args.rows)
    # A part of its own for the validation rows: a tenth of a percent costs the epochs nothing.
    frame["part"] = np.where(np.arange(args.rows) % 1000 == 0, "validation", "train")
    frame.to_parquet(root / "table.parquet")
    os.environ["CLOUDTRAIN_VOLUME"] = scratch
    sys.modules["cloudtrain_worker"] = kedro_cloudtrain.worker
    script = root / "train.py"
    script.write_text(
        TrainingScriptGenerator().generate_training_script(
            model_id="steps",
            model_type="keras_regression",
            target_column="y",
            hyperparameters={"epochs": args.epochs, "batch_size": args.batch_size},
            storage_config={"dataset_key": "table.parquet"},
            validation={"column": "part"},
            outputs=["metrics"],
        )
    )
    steps = math.ceil(int((frame["part"] == "train").sum()) / args.batch_size)
    pairs = [(fit(script, SingleSteps), fit(script, in_blocks)) for _ in range(args.pairs)]

before, after = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
ratio = statistics.median(pair[1][0] / pair[0][0] for pair in pairs)
difference = max(abs(pair[1][1] - pair[0][1]) / abs(pair[0][1]) for pair in pairs)
print(f"keras {keras.__version__} on {backend}: {args.rows:,} rows, {args.columns} columns, batches of {args.batch_size}")
print(f"steps a second of the processor's time: {before:,.0f} one at a time, {after:,.0f} in blocks")
print(f"median ratio of {args.pairs} pairs in turn: {ratio:.2f} (at least {LEAST_RATIO})")
print(f"largest relative difference of the last loss: {difference:.1e} (at most {LARGEST_DIFFERENCE:.0e})")
sys.exit(0 if ratio >= LEAST_RATIO and difference <= LARGEST_DIFFERENCE else 1)
