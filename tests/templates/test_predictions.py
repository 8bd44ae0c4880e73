"""The script of a prediction as a machine runs it: every library, where it saves, and how it goes on after a lost machine."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.forked import JOBS, unmeasured
from support.recipe_job import LIBRARIES, TASKS
from support.small_models import flights, train

import kedro_cloudtrain.worker
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.sent import SentFiles
from kedro_cloudtrain.jobs.spec import PredictionSpec
from kedro_cloudtrain.jobs.worker_archive import worker_archive
from kedro_cloudtrain.worker import pieces
from kedro_cloudtrain.worker.devices import Device
from kedro_cloudtrain.worker.gpus import Gpu
from kedro_cloudtrain.worker.models import TrainedModel

ROWS = 16
KEEP = ("carrier", "seats")
# Pieces of so few rows, and a machine that is lost after so many of them: not even Python's own cleanup runs.
SMALL = """
import os, runpy, signal, sys
sys.path.insert(0, "worker.zip")
from cloudtrain_worker import pieces, prediction
from cloudtrain_worker.progress import Progress
pieces._FEWEST_ROWS = pieces._MOST_ROWS = {rows}
write, last = prediction.PredictionJob.write, {last}
def lose(self, predictions):
    write(self, predictions)
    if self._piece.number + 1 == last:
        os.kill(os.getpid(), signal.SIGKILL)
prediction.PredictionJob.write = lose
told = Progress.round
def lose_shared(self, metrics):
    told(self, metrics)
    if "SharedPrediction" in open("train.py").read() and self.rounds == last:
        os.kill(os.getpid(), signal.SIGKILL)
Progress.round = lose_shared
runpy.run_path("train.py", run_name="__main__")
"""


class Prediction:
    """A job folder below a volume, with the model's files beside the script."""

    def __init__(self, folder: Path) -> None:
        self.volume, self.folder = folder / "volume", folder / "job"
        self.volume.mkdir()
        self.log = ""

    def write(
        self, model: TrainedModel, key: str, keep: tuple[str, ...] = KEEP, save: dict[str, Any] | None = None, workers: int = 1
    ) -> Path:
        files = {file.name: file for file in model.folder.iterdir()}
        sent = SentFiles.of(files)
        (self.folder / "inputs").mkdir(parents=True, exist_ok=True)
        for each in (sent.contents, *sent.files):
            content = each.content if isinstance(each.content, bytes) else each.content.read_bytes()
            (self.folder / "inputs" / each.name).write_bytes(content)
        spec = PredictionSpec(
            name="score",
            predicts_by="delay_model",
            library=model.library,
            sources={"data": {"dataset_key": key}},
            files={"model": f"inputs/{sent.contents.name}"},
            keep=keep,
            save=save,
            workers=workers,
        )
        script = self.folder / "train.py"
        script.write_text(TrainingScriptGenerator().render_prediction(spec), encoding="utf-8")
        (self.folder / "worker.zip").write_bytes(worker_archive())
        return script

    def run_here(self, script: Path, patch: pytest.MonkeyPatch, rows: int = ROWS) -> dict[str, Any]:
        """Run the script in this process, which has imported the libraries already."""
        patch.setitem(sys.modules, "cloudtrain_worker", kedro_cloudtrain.worker)
        patch.setattr(pieces, "_FEWEST_ROWS", rows)
        patch.setattr(pieces, "_MOST_ROWS", rows)
        patch.setenv("CLOUDTRAIN_VOLUME", str(self.volume))
        path = list(sys.path)
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit:
            pass
        finally:
            sys.path[:] = path
        return self.result

    def run(self, last: int | None = None, **environment: str) -> int:
        """Run the script in a process of its own, which is lost after some pieces; return its exit code."""
        whole = unmeasured({**os.environ, "CLOUDTRAIN_VOLUME": str(self.volume), **environment})
        done = JOBS.run(["-c", SMALL.format(rows=ROWS, last=last)], self.folder, whole, timeout=100)
        self.log = done.stdout + done.stderr
        return done.returncode

    @property
    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return result

    @property
    def predictions(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "outputs/predictions.parquet")


@pytest.fixture
def job(tmp_path: Path) -> Prediction:
    return Prediction(tmp_path)


def expected(model: TrainedModel, frame: pd.DataFrame) -> pd.DataFrame:
    columns = [frame[list(KEEP)], pd.DataFrame({"prediction": model.predict(frame)})]
    if model.task != "regression":
        columns.append(model.predict_proba(frame).add_prefix("probability_"))
    return pd.concat(columns, axis=1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_predicts_to_the_bit_as_its_model_does(job: Prediction, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Batches of a network are of 4,096 rows.
    rows, frame = (4096, flights(5000, seed=1)) if library == "keras" else (ROWS, flights(100, seed=1))
    frame.to_parquet(job.volume / "flights.parquet", row_group_size=rows - 7)
    for task in TASKS:
        model = train(job.folder.parent / task, flights(200), task, library)
        result = job.run_here(job.write(model, "flights.parquet"), monkeypatch, rows)
        assert result["state"] == "succeeded", result["error"]
        pd.testing.assert_frame_equal(job.predictions, expected(model, frame), check_exact=True)
        assert result["rows"]["read"] == len(frame)
        assert result["versions"][library]


@pytest.mark.parametrize("classes", [(1, 2, 3), (False, True), (0.5, 1.5)])
def test_labels_keep_their_own_type(job: Prediction, classes: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    frame = flights(40)
    frame.to_parquet(job.volume / "flights.parquet")
    task = "binary_classification" if len(classes) == 2 else "multiclass_classification"
    model = train(job.folder.parent / "model", frame, task, classes=list(classes))
    job.run_here(job.write(model, "flights.parquet"), monkeypatch)
    pd.testing.assert_frame_equal(job.predictions, expected(model, frame), check_exact=True)
    assert list(job.predictions.columns[3:]) == [f"probability_{label}" for label in classes]


def test_the_machine_saves_on_the_volume_and_leaves_the_same_content_untouched(job: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = flights(50)
    frame.to_parquet(job.volume / "flights.parquet")
    model = train(job.folder.parent / "model", frame)
    script = job.write(model, "flights.parquet", save={"dataset_key": "scores/all.parquet", "file_format": "parquet"})
    saved = job.run_here(script, monkeypatch)["outputs"]["predictions"]
    place = job.volume / "scores/all.parquet"
    assert (saved["key"], saved["size"]) == ("scores/all.parquet", place.stat().st_size)
    assert not (job.folder / "outputs/predictions.parquet").exists()
    pd.testing.assert_frame_equal(pd.read_parquet(place), expected(model, frame), check_exact=True)
    inode = place.stat().st_ino
    job.run_here(script, monkeypatch)
    assert (place.stat().st_ino, [path.name for path in place.parent.iterdir()]) == (inode, ["all.parquet"])


def test_a_failure_leaves_what_was_on_the_volume(job: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    place = job.volume / "scores.parquet"
    place.write_bytes(b"the scores of yesterday")
    frame = flights(50)
    model = train(job.folder.parent / "model", frame)
    # In the third piece a line has too many fields.
    frame.to_csv(job.volume / "flights.csv", index=False)
    lines = (job.volume / "flights.csv").read_text().splitlines()
    lines[40] += ",1,2,3"
    (job.volume / "flights.csv").write_text("\n".join(lines))
    result = job.run_here(job.write(model, "flights.csv", save={"dataset_key": "scores.parquet"}), monkeypatch)
    assert result["state"] == "failed"
    assert "cannot be read as csv" in result["error"]["message"]
    assert (place.read_bytes(), list(job.volume.glob(".*"))) == (b"the scores of yesterday", [])


def test_an_empty_table_gives_an_empty_table_of_the_right_columns(job: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = flights(40)
    model = train(job.folder.parent / "model", frame, "binary_classification", classes=[1, 2])
    for name in ("flights.parquet", "flights.csv"):
        (frame.iloc[:0].to_parquet if name.endswith("t") else frame.iloc[:0].to_csv)(job.volume / name, index=False)
        job.run_here(job.write(model, name), monkeypatch)
        schema = pq.read_schema(job.folder / "outputs/predictions.parquet")
        assert schema.names == [*KEEP, "prediction", "probability_1", "probability_2"]
        assert [str(field.type) for field in schema][2:] == ["int64", "double", "double"]
        assert len(job.predictions) == 0


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_lost_machine_goes_on_from_the_piece_that_it_had_reached(job: Prediction, ending: str) -> None:
    frame = flights(100)
    (frame.to_parquet if ending == "parquet" else frame.to_csv)(job.volume / f"flights.{ending}", index=False)
    model = train(job.folder.parent / "model", frame)
    job.write(model, f"flights.{ending}")
    every_piece = {"CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS": "1"}
    assert job.run(last=4, **every_piece) == -9
    parts = sorted(path.name for path in (job.folder / "checkpoint/parts").iterdir())
    assert parts == [f"{number:08d}.parquet" for number in (1, 2, 3, 4)]
    assert job.run(**every_piece) == 0, job.log
    assert "4 pieces were done before" in job.log
    steps = [json.loads(line) for line in (job.folder / "progress.jsonl").read_text().splitlines()]
    assert [(line["step"], line["unit"]) for line in steps] == [(step, "piece") for step in (4, 5, 6, 7)]
    assert steps[-1]["of"] == 7
    pd.testing.assert_frame_equal(job.predictions, expected(model, frame), check_exact=True)
    assert job.result["rows"]["read"] == 100
    assert not (job.folder / "checkpoint").exists()


@pytest.mark.parametrize("library", ["xgboost", "keras"])
def test_processes_that_share_a_table_predict_what_one_does(
    job: Prediction, library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A GPU of this computer has no memory for two.
    gpu = Gpu("NVIDIA L4", count=1)
    monkeypatch.setattr("kedro_cloudtrain.worker.prediction.choose_device", lambda *_: Device("cpu", gpu.name, gpu))
    rows, frame = (4096, flights(9000, seed=1)) if library == "keras" else (ROWS, flights(100, seed=1))
    frame.loc[3, "carrier"] = "ZZ"
    (job.volume / "flights.parquet").mkdir()  # a table in parts
    for number, part in enumerate((frame[:50], frame[50:])):
        part.to_parquet(job.volume / f"flights.parquet/{number}.parquet", row_group_size=rows - 7, index=False)
    model = train(job.folder.parent / "model", flights(200), "multiclass_classification", library)
    save = {"dataset_key": "scores.parquet"}
    result = job.run_here(job.write(model, "flights.parquet", save=save, workers=2), monkeypatch, rows)
    assert result["state"] == "succeeded", result["error"]
    predictions = pd.read_parquet(job.volume / "scores.parquet")
    pd.testing.assert_frame_equal(predictions, expected(model, frame), check_exact=True)
    assert (result["rows"]["read"], result["bytes_read"] > 0) == (len(frame), True)
    assert ("2 processes have no GPU each on this computer" in capsys.readouterr().out) is (library == "keras")


def test_processes_whose_job_is_lost_go_on_from_their_own_pieces(job: Prediction) -> None:
    frame = flights(100)
    frame.to_parquet(job.volume / "flights.parquet", row_group_size=40)
    model = train(job.folder.parent / "model", frame)
    job.write(model, "flights.parquet", workers=2)
    every_piece = {"CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS": "1"}
    assert job.run(last=4, **every_piece) == -9
    parts = list((job.folder / "checkpoint").glob("stretch-*/parts/*.parquet"))
    assert len(parts) >= 4
    assert job.run(**every_piece) == 0, job.log
    assert f"{len(parts)} pieces were done before" in job.log
    pd.testing.assert_frame_equal(job.predictions, expected(model, frame), check_exact=True)
    assert job.result["rows"]["read"] == 100
    assert not (job.folder / "checkpoint").exists()


def test_fewer_pieces_than_processes_and_a_wrong_table_are_as_for_one(job: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = flights(10)
    model = train(job.folder.parent / "model", flights(200))
    frame.to_parquet(job.volume / "flights.parquet")
    assert job.run_here(job.write(model, "flights.parquet", workers=2), monkeypatch)["error"] is None
    pd.testing.assert_frame_equal(job.predictions, expected(model, frame), check_exact=True)
    frame.assign(distance="far").to_parquet(job.volume / "flights.parquet")
    error = job.run_here(job.write(model, "flights.parquet", workers=2), monkeypatch)["error"]
    assert error["input_error"]
    assert "flights.parquet: column `distance` holds text (such as 'far'), and the model was trained on numbers" in error["message"]


def test_pieces_whose_type_proves_wrong_are_not_kept(job: Prediction) -> None:
    frame = flights(100).assign(carrier="007")
    frame.loc[90, "carrier"] = "x"
    frame.to_csv(job.volume / "flights.csv", index=False)
    model = train(job.folder.parent / "model", frame)
    job.write(model, "flights.csv")
    assert job.run(CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS="1") == 0, job.log
    assert "the pieces start over" in job.log
    assert job.predictions["carrier"].tolist() == frame["carrier"].tolist()
    assert job.predictions["prediction"].tolist() == model.predict(frame).tolist()


def test_a_column_of_another_kind_ends_the_job_before_anything_is_predicted(job: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = flights(50)
    model = train(job.folder.parent / "model", frame)
    frame.assign(distance="12 km").to_parquet(job.volume / "flights.parquet")
    error = job.run_here(job.write(model, "flights.parquet"), monkeypatch)["error"]
    assert error["input_error"]
    assert "column `distance` holds text (such as '12 km'), and the model was trained on numbers" in error["message"]


def test_categories_that_the_model_does_not_know_are_told(
    job: Prediction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = flights(50)
    model = train(job.folder.parent / "model", frame)
    frame.assign(carrier="ZZ").to_parquet(job.volume / "flights.parquet")
    assert job.run_here(job.write(model, "flights.parquet"), monkeypatch)["state"] == "succeeded"
    assert "column `carrier` has none of the model's 4 categories (7, AA, B6, UA) in its first rows" in capsys.readouterr().out
