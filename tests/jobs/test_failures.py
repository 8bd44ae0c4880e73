"""The first line of a job's failure, which records and notices have of it, names the error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kedro_cloudtrain.jobs.failures import failed_on
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.result import JobResult

RAISED = {
    "type": "FileNotFoundError",
    "message": "no x.csv\nand more",
    "traceback": "Traceback (most recent call last):\n  …",
    "stage": "call",
}


@pytest.mark.parametrize(
    ("error", "first_line"),
    [
        (RAISED, "opens-1 failed in its call stage: FileNotFoundError: no x.csv"),
        (RAISED | {"message": ""}, "opens-1 failed in its call stage: FileNotFoundError"),
        (RAISED | {"traceback": ""}, "opens-1: no x.csv"),
        (RAISED | {"input_error": True, "message": "no column y"}, "opens-1: no column y"),
        (None, "opens-1 failed without an error message."),
    ],
)
def test_the_first_line_of_a_failure_names_the_error(tmp_path: Path, error: dict[str, Any] | None, first_line: str) -> None:
    folder = JobFolder(tmp_path / "opens-1")
    failure = failed_on(folder, JobResult.model_validate({"state": "failed", "error": error}), 60.0)
    assert failure.message.partition("\n")[0] == first_line


@pytest.mark.parametrize(
    ("error", "headline"),
    [
        (RAISED, "FileNotFoundError: no x.csv"),
        (RAISED | {"input_error": True}, "no x.csv"),
        ({"type": "Stopped", "message": "ended by `kedro cloudtrain stop`"}, "ended by `kedro cloudtrain stop`"),
        ({"type": "Stopped"}, "Stopped"),
    ],
)
def test_an_error_in_a_line_has_its_class_where_the_script_raised_it(error: dict[str, Any], headline: str) -> None:
    result = JobResult.model_validate({"state": "failed", "error": error})
    assert result.error is not None
    assert result.error.headline == headline
