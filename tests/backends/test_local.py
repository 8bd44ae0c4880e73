"""The backend of this computer: the contract, and what only a process has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.backend_contract import BackendContract, submit
from support.cloud import script
from support.waiting import wait_until

from kedro_cloudtrain.backends.local import KeptProcess, LocalBackend
from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.job import Job
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import make_source


@dataclass
class Computer:
    """A volume that is a directory."""

    root: Path

    def backend(self) -> LocalBackend:
        return LocalBackend()

    def job(self, name: str = "train", body: str = "", **settings: Any) -> Job:
        order = TrainingOrder(
            node=name,
            parameters=TrainingParameters(model_type="lightgbm_regression", target_column="body_mass_g"),
            data=make_source(dataset_key="penguins.csv"),
            outputs=("metrics",),
            volume=DirectoryVolume(self.root),
            settings=NodeSettings(**{"timeout_s": 60, **settings}),
            given_script=script(body),
        )
        return prepare(order, TrainingScriptGenerator())


@pytest.fixture
def site(tmp_path: Path) -> Computer:
    (tmp_path / "penguins.csv").write_text("body_mass_g\n1\n")
    return Computer(tmp_path)


class TestLocalBackend(BackendContract):
    """The contract, on this computer."""


def test_a_job_that_was_left_is_stopped_with_what_it_has_started(site: Computer) -> None:
    child = "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\nPath('child').write_text(str(child.pid))\ntime.sleep(600)"
    job = submit(site, site.backend(), child)
    wait_until(lambda: (job.folder.path / "child").is_file() and (job.folder.path / "child").read_text())
    pid, kept = int((job.folder.path / "child").read_text()), KeptProcess(job.folder)
    assert kept.stop()
    assert not kept.is_running()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/status").read_text().split("State:")[1][:4])
    result = kept.result()
    assert result is not None
    assert result.state == "failed"
    assert not kept.stop()
