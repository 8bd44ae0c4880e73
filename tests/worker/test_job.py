from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain import worker
from kedro_cloudtrain.jobs.worker_archive import worker_archive
from kedro_cloudtrain.worker import deadline, inputs, results, training
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.training import TrainingJob

HEAD = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))
from cloudtrain_worker import TrainingJob
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    frame = pd.DataFrame({"a": np.arange(40.0), "b": ["x", "y"] * 20, "y": np.arange(40.0) * 2})
    frame.loc[[3, 7], "y"] = np.nan
    (tmp_path / "volume").mkdir()
    frame.to_csv(tmp_path / "volume/t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "worker.zip").write_bytes(worker_archive())
    monkeypatch.setenv("CLOUDTRAIN_VOLUME", str(tmp_path / "volume"))
    monkeypatch.delenv("CLOUDTRAIN_TIMEOUT_S", raising=False)
    return tmp_path


def begin(folder, task="regression", hyperparameters=None, outputs=("model", "metrics", "history", "importance", "predictions")):
    return TrainingJob(str(folder / "train.py"), "lightgbm", task, hyperparameters or {}, outputs)


def result(folder):
    return json.loads((folder / "result.json").read_text())


def train(job, **reading):
    table = job.read("y", None, {}, **(reading or {"dataset_key": "t.csv"}))
    parts = job.split(table, {"fraction": 0.2, "test_fraction": 0.1})
    with job.stage("fit"):
        data = lgb.Dataset(parts[0].features, parts[0].target)
        job.progress.begin(3)
        booster = lgb.train(
            {"verbosity": -1, "min_data_in_leaf": 2, "metric": "rmse"},
            data,
            3,
            valid_sets=[data],
            valid_names=["train"],
            callbacks=[job.progress.for_lightgbm()],
        )
    job.score(booster, parts[1], parts[2])
    return booster, parts


def test_a_result_has_the_outcome_of_its_job(folder) -> None:
    with begin(folder) as job:
        booster, (fitted, held, tested) = train(job)
        job.save(booster, job.permutation_importance(booster, held))
    outcome = result(folder)
    assert outcome["state"] == "succeeded"
    assert outcome["error"] is None
    # Rows without a target are neither fitted nor judged; the others keep their numbers in the table.
    assert outcome["rows"] == {"read": 40, "train": len(fitted), "validation": len(held), "test": len(tested)}
    assert len(fitted) + len(held) + len(tested) == 38
    rows = set(fitted.rows) | set(held.rows) | set(tested.rows)
    assert rows == set(range(40)) - {3, 7}
    assert set(pd.read_parquet(folder / "outputs/predictions.parquet")["row"]) == set(held.rows)
    assert set(outcome["seconds"]) == {"read", "fit", "save"}
    assert outcome["bytes_read"] == (folder / "volume/t.csv").stat().st_size
    assert outcome["finished_at"] >= outcome["started_at"]
    assert outcome["peak_memory_bytes"] > 10_000_000
    assert outcome["versions"]["lightgbm"] == lgb.__version__
    for kind in ("model", "metrics", "history", "importance", "predictions"):
        described = outcome["outputs"][kind]
        path = folder / described["path"]
        assert path.exists()
        assert len(described["sha256"]) == 64
        files = [path] if path.is_file() else list(path.iterdir())
        assert described["size"] == sum(file.stat().st_size for file in files)
    importance = json.loads((folder / "outputs/importance.json").read_text())
    assert importance[0]["feature"] == "a"
    assert importance[0]["importance"] > importance[1]["importance"]
    assert not list(folder.glob(".result*"))


def test_a_model_without_importance_has_zeros(folder) -> None:
    with begin(folder, outputs=("importance",)) as job:
        booster, _ = train(job)
        job.save(booster)
    assert set(result(folder)["outputs"]) == {"importance"}
    assert {row["importance"] for row in json.loads((folder / "outputs/importance.json").read_text())} == {0.0}


def test_an_error_is_reported_with_its_traceback_and_its_stage(folder, capsys) -> None:
    with pytest.raises(ZeroDivisionError), begin(folder) as job:  # noqa: PT012
        job.read("y", dataset_key="t.csv")
        with job.stage("fit"):
            _ = 1 / 0
    outcome = result(folder)
    assert outcome["state"] == "failed"
    assert outcome["error"]["type"] == "ZeroDivisionError"
    assert "1 / 0" in outcome["error"]["traceback"]
    assert outcome["error"]["stage"] == "fit"
    assert not outcome["error"]["input_error"]
    assert outcome["outputs"] == {}


def test_a_mistake_is_reported_without_a_traceback(folder, capsys) -> None:
    with pytest.raises(SystemExit, match="1"), begin(folder) as job:
        job.read("yy", ["a"], dataset_key="t.csv")
    assert "yy" in capsys.readouterr().err
    assert result(folder)["error"]["input_error"]
    (folder / "result.json").unlink()
    with pytest.raises(SystemExit, match="1"), begin(folder, hyperparameters={"num_leavs": 3}):
        pass
    assert "num_leaves" in result(folder)["error"]["message"]


def test_what_ends_a_job_from_outside_leaves_no_result(folder) -> None:
    with pytest.raises(KeyboardInterrupt), begin(folder):
        raise KeyboardInterrupt
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize("code", [0, 3])
def test_work_that_exits_has_failed(folder, code: int) -> None:
    with pytest.raises(SystemExit), begin(folder):
        sys.exit(code)
    assert result(folder)["state"] == "failed"
    assert result(folder)["error"]["type"] == "SystemExit"


@pytest.mark.parametrize(
    ("reading", "asked", "words"),
    [
        ({"dataset_key": "gone.csv"}, {}, "gone.csv"),
        ({"dataset_key": "t.csv", "features": ["a", "c"]}, {}, "`c`"),
        ({"dataset_key": "t.csv"}, {"column": "part"}, "no column `part`.* Fix validation.column"),
        ({"dataset_key": "t.csv"}, {"time_column": "when"}, "no column `when`.* Fix validation.time_column"),
        ({"dataset_key": "only.csv"}, {}, "no column but the target"),
        ({"dataset_key": "blank.csv"}, {}, "No row of .* has a `y`"),
    ],
)
def test_tables_that_do_not_serve_are_refused(folder, reading, asked, words) -> None:
    (folder / "volume/only.csv").write_text("y\n1\n2\n")
    (folder / "volume/blank.csv").write_text("a,y\n1,\n2,\n")
    job = begin(folder)
    with pytest.raises(InputError, match=words):
        job.read("y", reading.pop("features", None), asked, **reading)


def test_the_volume_is_found(folder, monkeypatch) -> None:
    monkeypatch.delenv("CLOUDTRAIN_VOLUME")
    assert inputs.volume_of(folder) == folder
    (folder / "job.json").write_text(json.dumps({"volume_path": "/somewhere"}))
    assert inputs.volume_of(folder) == Path("/somewhere")
    assert inputs.volume_of(Path("/vol/.cloudtrain/jobs/mass-1")) == Path("/vol")
    monkeypatch.setenv("CLOUDTRAIN_VOLUME", "/named")
    assert inputs.volume_of(folder) == Path("/named")


def test_a_sent_table_and_a_url_are_read(folder, monkeypatch) -> None:
    assert len(begin(folder).read("y", dataset_file="t.parquet")) == 38
    monkeypatch.setenv("CLOUDTRAIN_URL_SECRETS", json.dumps({"https://e.org/a.csv": {"headers": {"A": "b"}, "query": "sig=1"}}))
    monkeypatch.setenv("CLOUDTRAIN_READ_TIMEOUT_S", "7")
    place = inputs.input_location(folder, None, "https://e.org/a.csv", None, "csv", None)
    assert (place.headers, place.secret_query, place.timeout_s) == ({"A": "b"}, "sig=1", 7)
    other = inputs.input_location(folder, None, "https://e.org/b.csv", None, None, {"sep": ";"})
    assert (other.headers, other.secret_query, other.load_args) == ({}, "", {"sep": ";"})


def test_catboost_refuses_a_table_of_constants(folder) -> None:
    pd.DataFrame({"a": [1.0, 1.0, 1.0] * 5, "b": ["x"] * 15, "n": [None] * 15, "y": range(15)}).to_csv(folder / "volume/c.csv", index=False)
    job = TrainingJob(str(folder / "train.py"), "catboost", "regression", {})
    table = job.read("y", dataset_key="c.csv")
    with pytest.raises(InputError, match="constant"):
        job.split(table, {})
    train_part, _, test = begin(folder).__class__.split(job, table.assign(a=range(15)), {})
    assert len(train_part) == 12
    assert test is None


def test_rows_to_fit_of_one_class_are_refused(folder) -> None:
    frame = pd.DataFrame({"a": range(20), "c": ["x"] * 12 + ["y"] * 8, "part": ["train"] * 10 + ["val"] * 10})
    frame.to_csv(folder / "volume/c.csv", index=False)
    job = begin(folder, "binary_classification")
    table = job.read("c", None, {"column": "part"}, dataset_key="c.csv")
    with pytest.raises(InputError, match=r"one class of `c` only, 'x'"):
        job.split(table, {"column": "part"})


def test_a_missing_column_is_reported_with_the_setting_to_fix(folder) -> None:
    for features, target, asked, setting in (
        (["a"], "why", {}, "target_column"),
        (["a", "bb"], "y", {}, "feature_columns"),
        (["a"], "y", {"time_column": "tt"}, "validation.time_column"),
    ):
        with pytest.raises(InputError, match=rf"has no column `\w+`.* Fix {setting}\.$"):
            begin(folder).read(target, features, asked, dataset_key="t.csv")
    with pytest.raises(InputError, match="does not exist"):
        begin(folder).read("y", ["a"], {}, dataset_key="other.csv")
    job = begin(folder)
    job.read("y", None, {}, dataset_key="t.csv")
    pd.DataFrame({"a": [1], "y": [2]}).to_csv(folder / "volume/held.csv", index=False)
    with pytest.raises(InputError, match=r"held.csv has no column `b`"):
        job.read("y", None, dataset_key="held.csv")


def test_a_sheet_whose_header_holds_numbers_is_read(folder) -> None:
    pd.DataFrame({2024: [1.0, 2.0, 3.0], 2025: [3.0, 5.0, 7.0]}).to_excel(folder / "volume/t.xlsx", index=False)
    for features in (None, ["2024"]):
        assert list(begin(folder).read("2025", features, {}, dataset_key="t.xlsx").columns) == ["2024", "2025"]


def test_a_library_under_another_distributions_name_has_its_version(folder, monkeypatch) -> None:
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert results.version_of("lightgbm") == lgb.__version__
    assert results.version_of("no_such_library") == "unknown"


def test_a_job_that_cannot_begin_leaves_its_error(folder, monkeypatch) -> None:
    def broken(library, *_):
        raise OSError(f"{library} lacks libgomp.so.1")

    monkeypatch.setattr(training, "choose_device", broken)
    with pytest.raises(OSError, match="libgomp"), begin(folder):
        pass
    assert result(folder)["state"] == "failed"
    assert result(folder)["error"]["message"] == "lightgbm lacks libgomp.so.1"


def test_a_validation_table_is_judged_by_what_the_training_rows_teach(folder) -> None:
    pd.DataFrame({"a": [1, 2], "b": ["x", "new"], "y": [1, None]}).to_csv(folder / "volume/held.csv", index=False)
    pd.DataFrame({"a": [1, 2], "b": ["x", "new"], "y": ["one", "two"]}).to_csv(folder / "volume/words.csv", index=False)
    job = begin(folder)
    table, held = job.read("y", dataset_key="t.csv"), job.read("y", dataset_key="held.csv")
    fitted, judged, test = job.split(table, {"dataset": "held"}, held)
    assert (len(fitted), len(judged), test) == (38, 1, None)
    with pytest.raises(InputError, match="`y` holds text"):
        job.split(table, {}, job.read("y", dataset_key="words.csv"))
    with pytest.raises(InputError, match="no column `b`"):
        job.split(table, {}, held.drop(columns="b"))


def launch(folder, body, **environment):
    (folder / "train.py").write_text(HEAD + textwrap.dedent(body))
    return subprocess.Popen(
        [sys.executable, str(folder / "train.py")],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_script_ends_as_it_was_ended(folder) -> None:
    # Three processes at once: an error, SIGTERM, and a deadline that passes with no client to see it.
    body = 'with TrainingJob(__file__, "lightgbm", "regression", {}) as job:\n    print("in", flush=True)\n'
    folders = [folder / name for name in ("error", "term", "deadline")]
    for each in folders:
        each.mkdir()
        (each / "worker.zip").write_bytes(worker_archive())
    error = launch(folders[0], body + "    raise RuntimeError('over')\n")
    term = launch(folders[1], body + "    import time; time.sleep(600)\n")
    before = "import cloudtrain_worker.job as j; j._OWN_DEADLINE_GRACE_S = 0.1\n"
    late = launch(folders[2], before + body + "    import time; time.sleep(600)\n", CLOUDTRAIN_TIMEOUT_S="0.5")
    try:
        for line in term.stdout:
            if line == "in\n":
                break
        term.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert term.wait(20) == -signal.SIGTERM
        assert "deadline of 0.5 s has passed" in late.communicate(timeout=40)[1]
        assert late.returncode == -signal.SIGKILL
        assert time.monotonic() - began < 40
        assert "RuntimeError: over" in error.communicate(timeout=40)[1]
        assert error.returncode == 1
    finally:
        for process in (error, term, late):
            if process.poll() is None:
                process.kill()
    assert "in train.py" not in json.loads((folders[0] / "result.json").read_text())["error"]["message"]
    assert "raise RuntimeError('over')" in result(folders[0])["error"]["traceback"]
    assert not (folders[1] / "result.json").exists()
    assert not (folders[2] / "result.json").exists()


def test_a_split_holds_no_table_beside_the_frame_and_its_parts(folder) -> None:
    """The largest is one matrix: numpy tells tracemalloc what it takes."""
    rows, columns = 20_000, 40
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)).add_prefix("n")
    frame = frame.assign(text=np.array(["a", "b", "c"])[np.arange(rows) % 3], code=np.arange(rows) % 7, y=np.arange(rows) / rows)
    frame.to_parquet(folder / "volume/wide.parquet")
    job = begin(folder)
    table = job.read("y", dataset_key="wide.parquet")
    job.split(table.head(100), {})  # what it imports
    tracemalloc.start()
    try:
        parts = job.split(table, {"fraction": 0.2, "test_fraction": 0.1})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    matrices = sum(part.features.nbytes for part in parts)
    assert matrices == 4 * rows * (columns + 2)
    assert peak < 1.5 * matrices


def test_no_importance_is_computed_that_is_not_an_output(folder) -> None:
    job = TrainingJob(str(folder / "train.py"), "keras", "regression", {}, ["model", "metrics"])
    assert job.permutation_importance(native=None, part=None) is None


def test_no_deadline_starts_no_watch(monkeypatch) -> None:
    def never(*_):
        pytest.fail("a timer was started")

    monkeypatch.setattr(deadline, "Timer", never)
    for value in ("", "inf", "1e300"):
        monkeypatch.setenv("CLOUDTRAIN_TIMEOUT_S", value)
        deadline.watch_deadline()


def test_a_deadline_kills_the_whole_group_or_the_process_alone(monkeypatch, capsys) -> None:
    started, killed, left = [], [], []

    class Timer:
        def __init__(self, seconds, end) -> None:
            started.append(seconds)
            self.end = end

        def start(self) -> None:
            assert self.daemon
            self.end()

    monkeypatch.setenv("CLOUDTRAIN_TIMEOUT_S", "3")
    monkeypatch.setattr(deadline, "Timer", Timer)
    system = SimpleNamespace(
        environ=os.environ, getpid=os.getpid, killpg=lambda group, number: killed.append((group, number)), _exit=left.append
    )
    monkeypatch.setattr(deadline, "os", system)
    for group in (os.getpid(), 1):
        system.getpgid = lambda _, group=group: group
        deadline.watch_deadline()
    assert started == [8, 8]
    assert killed == [(0, signal.SIGKILL)]
    assert left == [124, 124]
    assert "deadline of 3 s has passed" in capsys.readouterr().err


def test_memory_is_counted_in_bytes_everywhere(monkeypatch) -> None:
    on_linux = results.peak_memory_bytes()
    monkeypatch.setattr(results, "sys", SimpleNamespace(platform="darwin"))
    assert on_linux >= results.peak_memory_bytes() * 1000


def test_the_package_gives_its_names() -> None:
    for name in worker.__all__:
        assert getattr(worker, name) is not None
    with pytest.raises(AttributeError, match="no_such"):
        _ = worker.no_such


def test_a_jobs_log_reports_a_feature_that_is_an_id(folder, capsys) -> None:
    frame = pd.DataFrame({"a": np.arange(40.0), "id": [f"order {n}" for n in range(40)], "y": np.arange(40.0)})
    frame.to_csv(folder / "volume/t.csv", index=False)
    with begin(folder) as job:
        train(job)
    assert "check: `id` becomes a category of 28 values in 28 rows: an id or free text" in capsys.readouterr().out


def test_a_nested_feature_ends_the_job_with_the_way_out(folder, capsys) -> None:
    pd.DataFrame({"a": [[1], [2]] * 20, "y": np.arange(40.0)}).to_parquet(folder / "volume/t.parquet")
    with pytest.raises(SystemExit), begin(folder) as job:
        train(job, dataset_key="t.parquet")
    assert "lists, structures or bytes in `a`" in capsys.readouterr().err
    assert result(folder)["error"]["input_error"]


def test_rows_are_known_by_their_numbers_whatever_index_the_table_has(folder) -> None:
    frame = pd.DataFrame({"id": [f"order {n}" for n in range(40)], "a": np.arange(40.0), "y": np.arange(40.0)})
    frame.to_csv(folder / "volume/t.csv", index=False)
    with begin(folder) as job:
        _, (fitted, held, tested) = train(job, dataset_key="t.csv", load_args={"index_col": "id"})
    assert sorted([*fitted.rows, *held.rows, *tested.rows]) == list(range(40))


@pytest.mark.parametrize("metric", ["auc", "average_precision"])
def test_a_ranking_of_validation_rows_of_one_class_is_not_watched(folder, metric) -> None:
    from kedro_cloudtrain.worker.part_checks import check_held
    from kedro_cloudtrain.worker.splitting import Part
    from kedro_cloudtrain.worker.target import Target

    target = Target.fit(pd.Series(["no", "yes"], name="y"), "binary_classification")
    held = Part(np.zeros((3, 1), np.float32), np.array([1, 1, 0], np.int32), np.arange(3), np.array([1.0, 1.0, 0.0], np.float32))
    with pytest.raises(InputError, match=f"one class of `y` only, 'yes', of which `{metric}` is not defined"):
        check_held("binary_classification", target, held, {"metric": metric})
    assert "their scores say little" in (check_held("binary_classification", target, held, {"metric": "binary_logloss"}) or "")
    assert check_held("regression", target, held, {}) is None
