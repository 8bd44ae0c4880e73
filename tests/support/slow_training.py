"""A project whose one training takes its time, here and on pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cloud import Cloud
from support.kedro_project import Project, edit

SLOW = """
import json, os, time
from pathlib import Path
give_up_at = time.monotonic() + 240
for step in range(1, 31):
    with open("progress.jsonl", "a") as stream:
        stream.write(json.dumps({"step": step, "of": 30, "metrics": {"validation_rmse": 1 / step}, "seconds": step / 10}) + "\\n")
    print("round", step, flush=True)
    time.sleep(0.1)
Path("outputs/model").mkdir(parents=True)
for name in ("metrics", "history"):
    Path(f"outputs/{name}.json").write_text(json.dumps({"rmse": 2.5} if name == "metrics" else [{"round": 1, "rmse": 2.5}]))
import hashlib
outputs = {
    name: {"path": f"outputs/{name}.json", "size": 1, "sha256": hashlib.sha256(Path(f"outputs/{name}.json").read_bytes()).hexdigest()}
    for name in ("metrics", "history")
}
result = {"state": "succeeded", "outputs": outputs, "attempt": os.environ.get("CLOUDTRAIN_ATTEMPT")}
Path("result.new").write_text(json.dumps(result))
Path("result.new").replace("result.json")
"""
# In its middle the training waits for a file `go` in its folder.
HELD = 'while step == 15 and not Path("go").exists() and time.monotonic() < give_up_at:\n        time.sleep(0.02)'


def hold(project: Project) -> Path:
    """Let the slow training stop after a round for as long as the returned file exists, so that no test races against its end."""
    file = project.path / "hold"
    file.touch()
    pause = "    time.sleep(0.1)\n"
    held = f"    while Path({str(file)!r}).exists() and time.monotonic() < give_up_at:\n        time.sleep(0.05)\n"
    edit(project, "templates/mine.py.j2", pause, pause + held)
    return file


@pytest.fixture
def slow(project: Project) -> Project:
    """A project whose training takes three seconds, and says which round it is in."""
    project.write("templates/mine.py.j2", SLOW)
    edit(project, "conf/base/parameters.yml", "xgboost_regression", "mine")
    edit(project, "src/shop/pipeline_registry.py", 'model="mass_model", ', "")
    return project


@pytest.fixture
def shop(slow: Project, cloud: Cloud) -> Project:
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    slow.write("conf/runpod/globals.yml", volume)
    slow.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{volume}defaults: {{install: false, gpu: none}}\n")
    return slow
