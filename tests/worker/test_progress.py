from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from kedro_cloudtrain.worker import choose_keras_backend
from kedro_cloudtrain.worker.progress import Progress, finite


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr("kedro_cloudtrain.worker.progress.monotonic", lambda: now.seconds)
    return now


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_round_is_a_line_and_a_row(tmp_path, clock, capsys) -> None:
    progress = Progress(tmp_path / "p.jsonl")
    progress.begin(20)
    for _ in range(20):
        clock.seconds += 0.5
        progress.round({"train_rmse": 1.5, "validation_rmse": float("nan")})
    progress.close()
    written = lines(tmp_path / "p.jsonl")
    assert [line["step"] for line in written] == list(range(1, 21))
    assert written[-1] == {"step": 20, "of": 20, "metrics": {"train_rmse": 1.5, "validation_rmse": None}, "seconds": 10.0}
    assert progress.history[2] == {"round": 3, "train_rmse": 1.5, "validation_rmse": None}
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 11
    assert shown[0] == "round 1/20  train_rmse 1.5  validation_rmse nan"


def test_lines_wait_a_fifth_of_a_second(tmp_path, clock) -> None:
    progress = Progress(tmp_path / "p.jsonl")
    progress.begin(100)
    progress.round({"a": 1.0})
    assert len(lines(tmp_path / "p.jsonl")) == 1
    for _ in range(5):
        clock.seconds += 0.01
        progress.round({"a": 1.0})
    assert len(lines(tmp_path / "p.jsonl")) == 1
    clock.seconds += 0.2
    progress.round({"a": 1.0})
    assert len(lines(tmp_path / "p.jsonl")) == 7
    progress.round({"a": 1.0})
    progress.close()
    assert len(lines(tmp_path / "p.jsonl")) == 8


def test_more_rounds_than_were_said_are_counted(tmp_path) -> None:
    progress = Progress(tmp_path / "p.jsonl")
    for _ in range(2):
        progress.round({"a": 1.0})
    progress.close()
    assert [(line["step"], line["of"]) for line in lines(tmp_path / "p.jsonl")] == [(1, 1), (2, 2)]


def test_each_librarys_callback_names_the_parts_alike(tmp_path) -> None:
    progress = Progress(tmp_path / "p.jsonl")
    kept = progress.for_xgboost().after_iteration(None, 0, {"train": {"rmse": [9.0, 1.0]}, "validation": {"rmse": [9.0, 2.0]}})
    assert kept is False
    progress.for_lightgbm()(
        SimpleNamespace(evaluation_result_list=[("train", "rmse", 1.0, False), ("validation", "rmse", 2.0, False, 0.1)])
    )
    progress.for_lightgbm()(SimpleNamespace(evaluation_result_list=None))
    info = SimpleNamespace(metrics={"learn": {"rmse": [9.0, 9.0, 9.0, 1.0]}, "validation": {"rmse": [9.0, 9.0, 9.0, 2.0]}}, iteration=4)
    assert progress.for_catboost().after_iteration(info) is True
    choose_keras_backend()
    progress.for_keras().on_epoch_end(0, {"rmse": np.float32(1), "val_rmse": np.float32(2)})
    rows = [{name: value for name, value in row.items() if name != "round"} for row in progress.history]
    wanted = {"train_rmse": 1.0, "validation_rmse": 2.0}
    assert rows == [wanted, wanted, {}, wanted, wanted]
    progress.close()


def test_a_fit_that_called_nobody_back_has_its_history_all_the_same(tmp_path) -> None:
    from catboost import CatBoost, Pool

    called, asked = Progress(tmp_path / "a.jsonl"), Progress(tmp_path / "b.jsonl")
    rows = np.random.default_rng(0).normal(size=(40, 2))
    model = CatBoost({"iterations": 7, "loss_function": "RMSE", "eval_metric": "MAE", "allow_writing_files": False, "thread_count": 1})
    called.begin(7)
    pools = [Pool(part, part[:, 0]) for part in (rows[:30], rows[30:])]
    model.fit(pools[0], eval_set=pools[1], logging_level="Silent", callbacks=[called.for_catboost()], use_best_model=False)
    asked.begin(7)
    asked.take_from_catboost(model)
    assert asked.history == called.history
    assert len(asked.history) == 7
    for progress in (called, asked):
        progress.close()
    assert [line["step"] for line in lines(tmp_path / "b.jsonl")] == list(range(1, 8))


def test_finite() -> None:
    assert finite(np.float32(1.5)) == 1.5
    assert type(finite(np.float32(1.5))) is float
    assert [finite(value) for value in (float("nan"), float("inf"), -float("inf"))] == [None] * 3
