"""A group's machine, as its script runs it: jobs one after another, in this process, with small scripts in place of jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kedro_cloudtrain.worker import run_group

# Leaves a result, and counts how often it has run.
JOB = """
import json
from pathlib import Path

runs = Path("runs")
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
fault = {"type": "MachineError", "message": "xgboost does not open the GPU"} if FAULTY and runs.read_text() == "x" else None
Path("result.json").write_text(json.dumps({"state": "failed" if fault else "succeeded", "error": fault}))
"""


def test_a_fault_of_the_machine_ends_the_group_and_the_next_machine_goes_on(tmp_path: Path) -> None:
    names: dict[str, dict[str, str]] = {"a": {}, "b": {}, "c": {}}
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.py").write_text(JOB.replace("FAULTY", str(name == "b")))
    (tmp_path / "group").mkdir()
    script = str(tmp_path / "group/train.py")
    with pytest.raises(SystemExit):
        run_group(script, "run1", names)
    result = json.loads((tmp_path / "group/result.json").read_text())
    assert (result["state"], result["error"]) == ("failed", {"type": "MachineError", "message": "xgboost does not open the GPU"})
    assert not (tmp_path / "c/runs").exists()
    run_group(script, "run1", names)
    assert json.loads((tmp_path / "group/result.json").read_text())["state"] == "succeeded"
    assert [(tmp_path / name / "runs").read_text() for name in names] == ["x", "xx", "x"]
