"""Scripts as a machine runs them: a job folder with `train.py` and `worker.zip`, and a volume with a table."""

from __future__ import annotations

import json
import os
import runpy
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import kedro_cloudtrain.worker
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.spec import TrainingSpec
from kedro_cloudtrain.jobs.worker_archive import worker_archive
from support.forked import JOBS, unmeasured

if TYPE_CHECKING:
    from pathlib import Path

LIBRARIES = ("xgboost", "lightgbm", "catboost", "keras")
TASKS = ("regression", "binary_classification", "multiclass_classification")
RECIPES = [f"{library}_{task}" for library in LIBRARIES for task in TASKS]
EVERYTHING = ("model", "metrics", "history", "importance", "predictions")
FEW_ROUNDS: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 6, "max_depth": 3, "n_jobs": 1},
    "lightgbm": {"n_estimators": 6, "num_leaves": 7, "min_data_in_leaf": 5, "num_threads": 1},
    "catboost": {"iterations": 6, "depth": 3, "thread_count": 1},
    "keras": {"epochs": 2, "hidden_units": [8], "batch_size": 64},
}

# A machine that is lost right after a round: not even Python's own cleanup runs. The pause makes the rounds long enough for CatBoost's
# clock, which counts in whole seconds, to write a snapshot.
KILLED = """
import os, runpy, signal, sys, time
sys.path.insert(0, "worker.zip")
from cloudtrain_worker.progress import Progress
record, last, pause_s = Progress.round, int(sys.argv[1]), float(sys.argv[2])
def lose(self, metrics):
    record(self, metrics)
    time.sleep(pause_s)
    if self.rounds >= last:
        os.kill(os.getpid(), signal.SIGKILL)
Progress.round = lose
runpy.run_path("train.py", run_name="__main__")
"""


@dataclass
class Job:
    """A job folder, and the volume beside it."""

    folder: Path
    volume: Path
    patch: pytest.MonkeyPatch
    log: str = ""
    exit_code: int | None = None

    def table(self, key: str, frame: pd.DataFrame) -> str:
        """Put a table on the volume."""
        file = self.volume / key
        file.parent.mkdir(parents=True, exist_ok=True)
        if key.endswith(".parquet"):
            frame.to_parquet(file)
        elif key.endswith(".jsonl"):
            frame.to_json(file, orient="records", lines=True, date_format="iso")
        else:
            frame.to_csv(file, index=False)
        return key

    def write(self, recipe: str, key: str, target: str, **more: Any) -> Path:
        library = recipe.partition("_")[0]
        values: dict[str, Any] = {"hyperparameters": FEW_ROUNDS[library], "outputs": EVERYTHING, **more}
        outputs, validation = values.pop("outputs"), values.pop("validation_source", None)
        machines = values.pop("machines", 1)
        shared = {"workers": values.pop("workers", machines), "machines": machines}
        sources = {"data": values.pop("source", {"dataset_key": key})} | ({"validation": validation} if validation is not None else {})
        parameters = TrainingParameters(model_type=recipe, target_column=target, **values)
        spec = TrainingSpec(name="job", parameters=parameters, sources=sources, outputs=outputs, **shared)
        self.folder.mkdir(exist_ok=True)
        script = self.folder / "train.py"
        script.write_text(TrainingScriptGenerator().render(spec), encoding="utf-8")
        (self.folder / "worker.zip").write_bytes(worker_archive())
        return script

    def run(self, recipe: str, key: str, target: str, **more: Any) -> dict[str, Any]:
        """Run a script as a machine does: in its own process, with the archive instead of the package's worker."""
        return self.run_again(self.write(recipe, key, target, **more))

    def run_again(self, script: Path, **environment: str) -> dict[str, Any]:
        """Run a written script again, in the folder as the last run has left it."""
        self._process([str(script)], self.folder.parent, environment)
        return self.result

    def lose(self, after_rounds: int, pause_s: float = 0.0, **environment: str) -> None:
        """Run the written script on a machine that is lost after `after_rounds` rounds."""
        self._process(["-c", KILLED, str(after_rounds), str(pause_s)], self.folder, environment)
        assert self.exit_code == -9, self.log
        (self.folder / "result.json").unlink(missing_ok=True)

    def _process(self, arguments: list[str], cwd: Path, environment: dict[str, str]) -> None:
        whole = unmeasured({**os.environ, "CLOUDTRAIN_VOLUME": str(self.volume), **environment})
        done = JOBS.run(arguments, cwd, whole, timeout=200)
        self.log, self.exit_code = done.stdout + done.stderr, done.returncode

    def run_here(self, recipe: str, key: str, target: str, **more: Any) -> dict[str, Any]:
        """Run a script in this process, which has imported the libraries already."""
        script = self.write(recipe, key, target, **more)
        self.patch.setitem(sys.modules, "cloudtrain_worker", kedro_cloudtrain.worker)
        self.patch.setenv("CLOUDTRAIN_VOLUME", str(self.volume))
        for variable in ("CLOUDTRAIN_CHECKPOINT", "CLOUDTRAIN_WORK"):
            self.patch.setenv(variable, "")  # the job sets them, and the patch resets them after the test
        path = list(sys.path)
        self.exit_code = 0
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as error:
            self.exit_code = int(str(error.code))
        finally:
            sys.path[:] = path
        return self.result

    @property
    def result(self) -> dict[str, Any]:
        file = self.folder / "result.json"
        assert file.is_file(), self.log
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return result

    def output(self, kind: str) -> Any:
        return json.loads((self.folder / f"outputs/{kind}.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)

    @property
    def predictions(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "outputs/predictions.parquet")

    @property
    def model(self) -> Any:
        return kedro_cloudtrain.worker.load_model(self.folder / "outputs/model")


def awkward_table(rows: int = 160) -> pd.DataFrame:
    """Return a table with everything awkward at once, and three targets."""
    random = np.random.default_rng(3)
    number = random.normal(size=rows)
    text = random.choice(["red", "green", "bläu", 'qu"ote', "[x]", "with, comma"], size=rows).astype(object)
    frame = pd.DataFrame(
        {
            "number": number,
            "whole numbers": random.integers(0, 9, rows),
            'quote"d': np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows)),
            "it's": np.where(random.random(rows) < 0.1, np.inf, np.where(random.random(rows) < 0.1, -np.inf, number)),
            "[brackets]<x>": pd.Series(text).where(random.random(rows) > 0.2, None),
            '{"json": [1, 2]}': random.random(rows) < 0.5,
            "naïve_日本_😀": pd.Series(random.random(rows) < 0.5).astype(object).where(random.random(rows) > 0.2, None),
            "comma,colon:": pd.Timestamp("2024-02-28") + pd.to_timedelta(random.integers(0, 400, rows), unit="D"),
            "back\\slash": [f"2024-{month:02d}-15" for month in random.integers(1, 13, rows)],
            "tab\tname": [None if i % 7 == 0 else f"2024-01-{1 + i % 28:02d}T10:30:00Z" for i in range(rows)],
            "nothing": np.full(rows, np.nan),
            "no text": pd.Series([None] * rows, dtype=object),
            "no words": pd.Series([None] * rows, dtype="string"),
            "constant": np.full(rows, 0.1),
            "constant text": ["same"] * rows,
            "huge": np.where(random.random(rows) < 0.1, 1e300, 1.0),
        }
    )
    score = number + (frame["[brackets]<x>"] == "red") + random.normal(scale=0.2, size=rows)
    frame["räte ($)"] = np.where(np.arange(rows) % 40 == 0, np.nan, 100 + 10 * score)
    frame["is it?"] = np.where(score > 0.2, 'y"es', "nö")
    frame["class {{ }}"] = pd.cut(score, [-np.inf, -0.5, 0.7, np.inf], labels=["låg", "mid'dle", "[high]"]).astype(object)
    frame.loc[::50, ["is it?", "class {{ }}"]] = None
    return frame
