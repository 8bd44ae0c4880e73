"""A prediction on a pod: what it reads and saves itself, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.cloud import Cloud
from support.small_models import flights, train

from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.job import Job
from kedro_cloudtrain.running.prediction import PredictionOrder
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import VolumeSource
from kedro_cloudtrain.worker.models import TrainedModel

SETTINGS = NodeSettings.model_validate({"gpu": "none", "install": False, "timeout_s": 60})


def job_of(model: TrainedModel, data: Any, volume: Any, save: VolumeSource | None = None) -> Job:
    order = PredictionOrder("score", "delay_model", model, data, volume, ("carrier",), save, settings=SETTINGS)
    return prepare(order, TrainingScriptGenerator())


def test_a_pod_reads_the_table_and_saves_the_predictions_and_nothing_of_them_comes_here(cloud: Cloud, tmp_path: Path) -> None:
    frame = flights(50)
    frame.to_parquet(cloud.bucket / "datasets/flights.parquet")
    model, place = train(tmp_path / "model", frame), VolumeSource("datasets/scores.parquet", "parquet")
    job = job_of(model, VolumeSource("datasets/flights.parquet", "parquet"), cloud.volume, place)
    row, receipts = Row("score", job.workload.library, "flights"), []
    values = job.run(cloud.backend(), row, receipts, reuse=True)
    assert values == {"predictions": place}
    saved = pd.read_parquet(cloud.bucket / "datasets/scores.parquet")
    assert saved["prediction"].tolist() == model.predict(frame).tolist()
    gets = [path for method, path in cloud.s3.requests if method == "GET"]
    assert not [path for path in gets if "flights.parquet" in path or "scores.parquet" in path]
    assert (receipts[0].rows, receipts[0].state) == (50, "succeeded")
    # Nothing has changed: no other pod is asked for, though the model's folder is another one.
    moved = train(tmp_path / "moved", frame)
    again = job_of(moved, VolumeSource("datasets/flights.parquet", "parquet"), cloud.volume, place)
    assert again.run(cloud.backend(), Row("score", "xgboost", "flights"), receipts, reuse=True) == {"predictions": place}
    assert (receipts[1].state, len(cloud.runpod.pods)) == ("reused", 1)
    # What somebody has changed since is made again.
    saved.iloc[:9].to_parquet(cloud.bucket / "datasets/scores.parquet")
    again.run(cloud.backend(), Row("score", "xgboost", "flights"), receipts, reuse=True)
    assert (receipts[2].state, len(pd.read_parquet(cloud.bucket / "datasets/scores.parquet"))) == ("succeeded", 50)


def test_a_pod_that_is_lost_costs_no_piece_that_was_written(cloud: Cloud, tmp_path: Path) -> None:
    frame = pd.concat([flights(2**14)] * 40, ignore_index=True)
    frame.to_parquet(cloud.bucket / "datasets/flights.parquet")
    model, place = train(tmp_path / "model", frame.head(500)), VolumeSource("datasets/scores.parquet", "parquet")
    order = PredictionOrder(
        "score",
        "delay_model",
        model,
        VolumeSource("datasets/flights.parquet", "parquet"),
        cloud.volume,
        ("carrier",),
        place,
        settings=SETTINGS.model_copy(update={"checkpoint_every_rounds": 1}),
    )
    job = prepare(order, TrainingScriptGenerator())
    cloud.runpod.faults.befall("vanishes", when_file=f".cloudtrain/jobs/{job.name}/checkpoint/parts/00000002.parquet")
    backend = cloud.backend()
    job.run(backend, Row("score", "xgboost", "flights"), [])
    backend.close()
    assert len(cloud.runpod.pods) == 2
    log = (cloud.bucket / f".cloudtrain/jobs/{job.name}/log.txt").read_text()
    done = int(log.partition(" pieces were done")[0].rpartition("\n")[2])
    # The file of a part is there a moment before the checkpoint names it.
    assert 1 <= done < 40
    saved = pd.read_parquet(cloud.bucket / "datasets/scores.parquet")
    assert saved["carrier"].tolist() == frame["carrier"].tolist()
    assert saved["prediction"].tolist() == model.predict(frame).tolist()


def test_of_a_pod_without_a_volume_the_predictions_come_back(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cloud.use_bucket(monkeypatch)
    frame = flights(50)
    model = train(tmp_path / "model", frame, "binary_classification")
    job = job_of(model, frame, cloud.volume)
    predicted = job.run(cloud.backend(), Row("score", "xgboost", "flights"), [])["predictions"]
    assert list(predicted.columns) == ["carrier", "prediction", "probability_late", "probability_on time"]
    assert predicted["probability_late"].tolist() == model.predict_proba(frame)["late"].tolist()


def test_of_a_sent_table_only_the_columns_that_are_needed_are_sent(tmp_path: Path) -> None:
    frame = flights(30)
    model = train(tmp_path / "model", frame.drop(columns=["date", "weekend"]))
    volume = DirectoryVolume(tmp_path / "volume")
    job = job_of(model, frame.assign(secret="x"), volume)
    table = next(sent for sent in job.sent if sent.name.endswith(".parquet"))
    (tmp_path / "sent.parquet").write_bytes(table.content if isinstance(table.content, bytes) else b"")
    assert list(pd.read_parquet(tmp_path / "sent.parquet").columns) == ["distance", "seats", "carrier"]
    assert job.workload.rows == 30


def test_a_model_whose_folder_is_gone_is_named(tmp_path: Path) -> None:
    model = train(tmp_path / "model", flights(30))
    for file in model.folder.iterdir():
        file.unlink()
    with pytest.raises(SourceError, match=r"`delay_model` of score cannot be sent to the machine: its folder .* is gone. Train it again."):
        job_of(model, flights(30), DirectoryVolume(tmp_path / "volume"))


def test_the_steps_of_a_prediction_are_pieces_in_words_too() -> None:
    from kedro_cloudtrain.jobs.result import JobProgress

    row = Row("score", "xgboost prediction", "flights")
    row.progress = JobProgress(step=9, of=9, unit="piece", seconds=4.0)
    assert row._done() == "done after 9 of 9 pieces"
