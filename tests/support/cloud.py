"""RunPod on loopback for one test: a volume, an account, and jobs that run on its pods."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.backends.runpod.api import RunPodApi
from kedro_cloudtrain.backends.runpod.backend import RunPodBackend
from kedro_cloudtrain.backends.runpod.budget import Budget
from kedro_cloudtrain.backends.runpod.pace import Pace
from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.rehearsal import ACCESS_KEY, API_KEY, SECRET_KEY, RunPodStandIn, S3StandIn
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.job import Job
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.storage.bucket import Bucket
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from kedro_cloudtrain.storage.sources import VolumeSource, make_source

if TYPE_CHECKING:
    import pytest

DATA_CENTER = "EU-RO-1"
SECRETS = (API_KEY, ACCESS_KEY, SECRET_KEY)
QUICK_PACE = Pace(
    list_every_s=0.3,
    result_every_s=0.1,
    progress_every_s=0.2,
    heartbeat_every_s=0.2,
    heartbeat_lost_s=3.0,
    volume_silent_s=5.0,
    release_s=2.0,
    deadline_grace_s=1.0,
    capacity_every_s=0.1,
    claim_s=0.2,
)
# What a script leaves, in the standard library alone: its start costs a test nothing.
_SCRIPT = """\
import hashlib, json, os, sys, time
from pathlib import Path

began = time.time()
{body}
Path("outputs").mkdir(exist_ok=True)
content = json.dumps({{"rmse": 1.5, "by": os.environ.get("RUNPOD_POD_ID")}}).encode()
Path("outputs/metrics.json").write_bytes(content)
metrics = {{"path": "outputs/metrics.json", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
result = {{"state": "succeeded", "attempt": os.environ.get("CLOUDTRAIN_ATTEMPT"), "outputs": {{"metrics": metrics}}, "started_at": began}}
Path("result.new").write_text(json.dumps({{**result, "finished_at": time.time()}}))
Path("result.new").replace("result.json")
"""


def script(body: str = "") -> str:
    """Write a job's script that does something, and leaves metrics."""
    return _SCRIPT.format(body=textwrap.dedent(body))


@dataclass
class Cloud:
    """An account, its volume, and the client's side of both."""

    runpod: RunPodStandIn
    s3: S3StandIn
    volume_id: str
    environment: dict[str, str]
    receipts: list[Receipt] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def bucket(self) -> Path:
        """The directory that the pods mount."""
        return self.s3.root / self.volume_id

    @cached_property
    def volume(self) -> NetworkVolume:
        """The volume, through its S3 API."""
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        return NetworkVolume(self.volume_id, DATA_CENTER, self.s3.endpoint_url, keys)

    def use_bucket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have no network volume, and a bucket in its place."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        for name in ("RUNPOD_S3_ACCESS_KEY", "RUNPOD_S3_SECRET_KEY", "RUNPOD_S3_ENDPOINT_URL"):
            monkeypatch.delenv(name)
        self.runpod.offers.volumes.clear()
        self.__dict__["volume"] = Bucket(self.volume_id, "eu-central-1", self.s3.endpoint_url)

    @property
    def api(self) -> RunPodApi:
        """The API's client."""
        return RunPodApi(API_KEY, self.runpod.base_url)

    def backend(self, jobs: int = 1, max_cost_usd: float | None = None, **pace: float) -> RunPodBackend:
        """Make a backend that looks often."""
        import dataclasses

        return RunPodBackend(self.api, self.volume, "Shop", Budget(max_cost_usd), jobs, dataclasses.replace(QUICK_PACE, **pace))

    def job(self, name: str = "train", body: str = "", data: Any = None, **settings: Any) -> Job:
        """Write a job; it needs no table, but has one."""
        given: dict[str, Any] = {"gpu": "none", "install": False, "timeout_s": 60, "retries": 1, **settings}
        source = data if data is not None else make_source(dataset_key="datasets/penguins.csv")
        assert isinstance(source, VolumeSource) or data is not None
        training = TrainingOrder(
            node=name,
            parameters=TrainingParameters(model_type="lightgbm_regression", target_column="body_mass_g"),
            data=source,
            outputs=("metrics",),
            volume=self.volume,
            settings=NodeSettings.model_validate(given),
            given_script=script(body),
        )
        job = prepare(training, TrainingScriptGenerator())
        with job.folder.held():
            job.write()
        return job

    def run(self, backend: RunPodBackend, name: str = "train", body: str = "", data: Any = None, **settings: Any) -> dict[str, Any]:
        """Run a job and return its metrics."""
        job = self.job(name, body, data, **settings)
        self.rows.append(Row(name, "lightgbm", "datasets/penguins.csv"))
        return job.run(backend, self.rows[-1], self.receipts)["metrics"]
