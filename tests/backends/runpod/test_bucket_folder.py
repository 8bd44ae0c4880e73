"""Pods without a network volume: an S3 bucket has their jobs, and they reach it by signed URLs only."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from support.cloud import Cloud
from support.http_server import Server
from support.kedro_project import PENGUINS, Project
from support.waiting import wait_until

from kedro_cloudtrain.backends.runpod.backend import RunPodBackend
from kedro_cloudtrain.backends.runpod.bucket_folder import remote_folder
from kedro_cloudtrain.backends.runpod.budget import Budget
from kedro_cloudtrain.backends.runpod.claim import Claim
from kedro_cloudtrain.backends.runpod.spending import Spending
from kedro_cloudtrain.errors import JobFailedError
from kedro_cloudtrain.rehearsal import API_KEY, SECRET_KEY
from kedro_cloudtrain.rehearsal.storage import StorageFault


@pytest.fixture
def jobs(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An account without a network volume, and a bucket."""
    cloud.use_bucket(monkeypatch)
    return cloud


@pytest.fixture
def backend(jobs: Cloud):
    backend: RunPodBackend = jobs.backend(heartbeat_lost_s=30.0)
    yield backend
    backend.close()
    wait_until(lambda: not jobs.runpod.living)


FRAME = pd.DataFrame({"x": range(9), "body_mass_g": range(9)})


def test_a_job_goes_to_the_bucket_and_its_result_comes_from_there(jobs: Cloud, backend: RunPodBackend) -> None:
    metrics = jobs.run(
        backend, body="print('half way', next(Path('inputs').iterdir()).stat().st_size > 0, flush=True); time.sleep(3)", data=FRAME
    )
    (pod,) = jobs.runpod.pods.values()
    assert metrics == {"rmse": 1.5, "by": pod.id}
    assert pod.request.mounts.network == []
    assert pod.request.data_center_ids == []
    assert len(pod.request.args) < 200
    (folder,) = jobs.volume.folder(".cloudtrain/jobs").iterdir()
    assert "half way True" in (folder / "log.txt").read_text()
    wait_until(lambda: pod.gone)
    for text in (json.dumps(pod.request.env), *("\n".join(line) for line in pod.lines)):
        # A signed URL contains the id of the keys that it was signed with, and never the secret key.
        assert not [secret for secret in (API_KEY, SECRET_KEY) if secret in text]


def test_a_failure_and_its_log_are_downloaded_too(jobs: Cloud, backend: RunPodBackend) -> None:
    with pytest.raises(JobFailedError, match="no such thing") as raised:
        jobs.run(backend, body="print('half way')\nraise ValueError('no such thing')", data=FRAME)
    assert "half way" in str(raised.value)


def test_a_job_that_is_revoked_ends(jobs: Cloud, backend: RunPodBackend) -> None:
    job = jobs.job(body="time.sleep(600)", data=FRAME, timeout_s=600)
    remote = remote_folder(job.folder, jobs.volume)
    remote.send()
    request = job.request()
    placement = backend._launcher.launch(request, Claim(remote, is_contested=False), Spending(request, Budget()))
    wait_until(lambda: remote.heartbeat(placement.attempt) is not None)
    remote.revoke()
    wait_until(lambda: not jobs.runpod.living)


def test_a_bucket_that_stumbles_loses_nothing(jobs: Cloud, backend: RunPodBackend) -> None:
    for part in ("result.json", "outputs.zip", "train.py", "store.json", "courier.py"):
        for method in ("GET", "PUT"):
            jobs.s3.faults.append(StorageFault(method, part, 503, times=1 if part != "courier.py" else 0))
    assert jobs.run(backend, data=FRAME)["rmse"] == 1.5
    assert len(jobs.runpod.pods) == 1


def test_a_folder_that_cannot_be_copied_ends_the_pod_and_another_is_tried(jobs: Cloud, backend: RunPodBackend) -> None:
    jobs.s3.faults.append(StorageFault("GET", "store.json", 403, times=6))
    assert jobs.run(backend, data=FRAME, startup_timeout_s=60)["rmse"] == 1.5
    assert len(jobs.runpod.pods) == 2


@pytest.fixture
def shop(project: Project, jobs: Cloud) -> Project:
    volume = f"volume: {{bucket: {jobs.volume_id}, region: eu-central-1, endpoint_url: '{jobs.s3.endpoint_url}'}}\n"
    project.write("conf/pods/globals.yml", "volume: {path: data/volume}\n")
    project.write("conf/pods/cloudtrain.yml", f"backend: runpod\n{volume}defaults: {{install: false, gpu: none}}\n")
    return project


def test_a_run_with_urls_alone_needs_no_network_volume(shop: Project, jobs: Cloud) -> None:
    with Server({"p.csv": PENGUINS.read_bytes()}) as server:
        catalog = (shop.path / "conf/base/catalog.yml").read_text()
        entry = f"penguins:\n  type: kedro_cloudtrain.CloudDataset\n  dataset_url: {server.url('p.csv')}\n"
        shop.write("conf/base/catalog.yml", entry + catalog[catalog.index("mass_model") :])
        planned = shop.kedro("cloudtrain", "plan", "--env=pods")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        doctor = shop.kedro("cloudtrain", "doctor", "--env=pods")
        assert f"none; bucket {jobs.volume_id} keeps the jobs" in doctor.stdout
        done = shop.kedro("run", "--runner=cloudtrain", "--env=pods")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"volume bucket {jobs.volume_id}" in done.stdout + done.stderr
    assert (shop.path / "data/06_models/mass/model.json").is_file()
    assert "Traceback" not in done.stdout + done.stderr


def test_a_key_needs_a_network_volume_and_the_plan_refuses_it(shop: Project, jobs: Cloud) -> None:
    for command in (["cloudtrain", "plan"], ["run", "--runner=cloudtrain"]):
        done = shop.kedro(*command, "--env=pods")
        assert done.returncode == 1
        assert "pods without a network volume read URLs alone" in done.stdout + done.stderr
    assert jobs.runpod.pods == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{bucket: a, id: b}", "keep one of them"),
        ("{path: a, region: b}", "a bucket's"),
        ("{bucket: ''}", "at least 1 character"),
    ],
)
def test_a_volume_of_two_kinds_is_an_error(shop: Project, text: str, message: str) -> None:
    shop.write("conf/pods/cloudtrain.yml", f"backend: runpod\nvolume: {text}\n")
    done = shop.kedro("cloudtrain", "plan", "--env=pods")
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
