"""`kedro cloudtrain upload`, `download` and a pod's `logs`, typed in a project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.cloud import SECRETS, Cloud
from support.kedro_project import PENGUINS, Project
from support.waiting import wait_until


@pytest.fixture
def shop(project: Project, cloud: Cloud) -> Project:
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    project.write("conf/runpod/globals.yml", volume)
    project.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{volume}")
    return project


@pytest.mark.measured
def test_a_file_goes_up_once_and_comes_down_whole(shop: Project, cloud: Cloud) -> None:
    done = shop.kedro("cloudtrain", "upload", str(PENGUINS), "new/p.csv", "--env=runpod")
    assert done.returncode == 0, done.stderr
    assert f"new/p.csv is on the volume {cloud.volume_id} in EU-RO-1, 15,241 bytes." in done.stdout
    assert (cloud.bucket / "new/p.csv").read_bytes() == PENGUINS.read_bytes()
    done = shop.kedro("cloudtrain", "upload", str(PENGUINS), "new/p.csv", "--env=runpod")
    assert "already" in done.stdout
    assert len([path for method, path in cloud.s3.requests if method == "PUT"]) == 1
    done = shop.kedro("cloudtrain", "download", "new/p.csv", "data", "--env=runpod")
    assert done.returncode == 0, done.stderr
    assert (shop.path / "data/p.csv").read_bytes() == PENGUINS.read_bytes()
    done = shop.kedro("cloudtrain", "upload", str(PENGUINS), "new/p.csv")
    assert (shop.path / "data/volume/new/p.csv").is_file()


@pytest.mark.measured
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["upload", "none.csv", "a.csv"], "'none.csv' does not exist"),
        (["download", "none.csv", "here.csv"], "There is no none.csv on the volume"),
        (["upload", "pyproject.toml", "../a"], "is not a valid key on the volume"),
    ],
)
def test_what_cannot_be_copied_is_named(shop: Project, args: list[str], message: str) -> None:
    done = shop.kedro("cloudtrain", *args, "--env=runpod")
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_pods_log_is_followed_as_it_is_written_and_read_when_it_is_gone(shop: Project, cloud: Cloud) -> None:
    shop.write(
        "conf/runpod/cloudtrain.yml", (shop.path / "conf/runpod/cloudtrain.yml").read_text() + "defaults: {install: false, gpu: none}\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--runner=cloudtrain", "--env=runpod"],
        cwd=shop.path,
        env=shop.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    jobs = cloud.volume.folder(".cloudtrain/jobs")
    wait_until(lambda: any(json.loads(file.read_text()).get("pod") for file in jobs.glob("*/machine.json")))
    followed = shop.kedro("cloudtrain", "logs", "train_mass", "-f", "--env=runpod")
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert followed.returncode == 0, followed.stderr
    after = shop.kedro("cloudtrain", "logs", "train_mass", "--env=runpod")
    for text in (followed.stdout, after.stdout):
        assert "xgboost" in text
        assert not [secret for secret in SECRETS if secret in text]
    assert (shop.path / "data/06_models/mass/model.json").is_file()
    assert Path(shop.path / "data/08_reporting/mass.json").is_file()
