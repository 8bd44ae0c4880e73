"""A job's folder, and why a job runs: by the files of earlier jobs, those of earlier releases too."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.waiting import wait_until

from kedro_cloudtrain.commands.tables import jobs_table
from kedro_cloudtrain.errors import JobLostError
from kedro_cloudtrain.jobs.fingerprint import Fingerprint
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.jobs.reuse import reason_to_run
from kedro_cloudtrain.jobs.spec import TrainingSpec, source_fields
from kedro_cloudtrain.storage.sources import make_source

# As releases before the nested spec wrote it.
EARLIER = {
    "model_type": "xgboost_regression",
    "target_column": "y",
    "feature_columns": ["a"],
    "hyperparameters": {"max_depth": 3},
    "validation": dict.fromkeys(("fraction", "test_fraction", "seed", "column", "time_column", "dataset")),
    "early_stopping_rounds": None,
    "seed": None,
    "name": "train",
    "dataset_url": None,
    "dataset_key": "t.csv",
    "dataset_file": None,
    "file_format": "csv",
    "load_args": {},
    "validation_source": None,
    "outputs": ["model", "metrics"],
    "volume_path": "/volume",
    "sent": [],
}


def spec(load_args: dict[str, Any] | None = None, outputs: tuple[str, ...] = ("model", "metrics"), **parameters: Any) -> dict[str, Any]:
    asked = {
        "model_type": "xgboost_regression",
        "target_column": "y",
        "feature_columns": ["a"],
        "hyperparameters": {"max_depth": 3},
        **parameters,
    }
    source = make_source(dataset_key="t.csv", load_args=load_args)
    made = TrainingSpec(
        name="train", parameters=TrainingParameters.parse(asked, "train"), sources={"data": source_fields(source)}, outputs=outputs
    )
    return {**made.model_dump(mode="json"), "volume_path": "/volume", "sent": []}


def fingerprint(script: str = "s", **inputs: str) -> Fingerprint:
    return Fingerprint.of(script, {"data": "1", **inputs}, "code", ("numpy",))


def write(folder: Path, content: dict[str, Any], work: Fingerprint | None = None) -> JobFolder:
    job = JobFolder(folder)
    job.write_json(job.spec, content)
    job.write_json(job.fingerprint, (work or fingerprint()).model_dump(mode="json"))
    return job


@pytest.mark.parametrize("before", [spec(), EARLIER], ids=["nested", "earlier release"])
@pytest.mark.parametrize(
    ("now", "work", "reason"),
    [
        (spec(), fingerprint(), "first run"),
        (spec(hyperparameters={"max_depth": 4}, seed=1), fingerprint("t"), "changed: hyperparameters, seed"),
        (spec(load_args={"sep": ";"}), fingerprint("t"), "changed: load args"),
        (spec(outputs=("model",)), fingerprint("t"), "changed: outputs"),
        (spec(), fingerprint("t"), "changed: the script"),
        (spec(), fingerprint("t", data="2"), "changed: the input data, the script"),
    ],
)
def test_a_change_since_the_last_job_of_the_node_is_named(
    tmp_path: Path, before: dict[str, Any], now: dict[str, Any], work: Fingerprint, reason: str
) -> None:
    write(tmp_path / "train-000000000001", before)
    write(tmp_path / "train-more-000000000001", spec(seed=5))
    assert reason_to_run(JobFolder(tmp_path / "train-000000000002"), work, now, reuse=True) == reason


@pytest.mark.parametrize("content", [None, "", "[]", "null"])
def test_an_earlier_job_without_a_spec_names_no_change(tmp_path: Path, content: str | None) -> None:
    earlier = write(tmp_path / "train-000000000001", spec())
    earlier.spec.unlink()
    if content is not None:
        earlier.spec.write_text(content)
    assert reason_to_run(JobFolder(tmp_path / "train-000000000002"), fingerprint("t"), spec(), reuse=True) == "first run"


def test_jobs_lists_trainings_of_earlier_releases_functions_and_groups(tmp_path: Path) -> None:
    specs = [spec(), {**EARLIER, "model_type": "mine"}, {"function": "shop.nodes:f", "parameters": {}}, {"jobs": ["a", "b"]}]
    folders = [write(tmp_path / f"job-{number}", content) for number, content in enumerate(specs)]
    console = Console(width=200)
    with console.capture() as captured:
        console.print(jobs_table(folders))
    for shown in ("xgboost_regression", "mine", "shop.nodes:f", "2 jobs"):
        assert shown in captured.get()


def test_siblings_are_the_nodes_other_jobs_the_latest_first(tmp_path: Path) -> None:
    folders = [write(tmp_path / f"train-{number:012}", spec()) for number in range(3)]
    write(tmp_path / "train-2-000000000001", spec())
    (tmp_path / "train-000000000009").mkdir()
    for age, folder in enumerate(folders):
        os.utime(folder.fingerprint, (1e9 - age, 1e9 - age))
    assert [sibling.name for sibling in folders[1].siblings()] == [folders[0].name, folders[2].name]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.write(folder.script, b"old")
    with pytest.raises(TypeError):
        folder.write(folder.script, "text")  # type: ignore[arg-type]
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("train.py", "old")]
    assert folder.bytes_passed == 3
    folder.write(folder.archive, b"of this package", counted=False)
    assert folder.bytes_passed == 3


def test_another_client_waits_until_the_job_is_free(tmp_path: Path) -> None:
    waited, held = threading.Event(), threading.Event()

    def hold() -> None:
        with JobFolder(tmp_path).held(waited.set, poll_s=0.01):
            held.set()

    other = threading.Thread(target=hold)
    with JobFolder(tmp_path).held():
        other.start()
        assert waited.wait(60)
        assert JobFolder(tmp_path).state() is JobState.RUNNING
        assert not held.is_set()
    other.join(60)
    assert held.is_set()
    wait_until(lambda: not JobFolder(tmp_path).is_running())


def test_a_cut_or_unfinished_line_of_progress_is_passed_over(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    assert folder.new_progress() is None
    lines = [json.dumps({"step": step, "of": 90, "metrics": {"rmse": 1 / step}}) for step in range(1, 91)]
    folder.progress.write_text("\n".join(lines) + '\n{"step": 9')
    progress = folder.new_progress()
    assert progress is not None
    assert progress.step == 90
    assert folder.new_progress() is None, "the file has not grown"


def test_a_result_that_is_not_one_is_named(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.result.write_text('{"state": "fine"}')
    with pytest.raises(JobLostError, match=r"result\.json is the job's result, and cannot be read as one: the same run does the job again"):
        folder.read_result()
