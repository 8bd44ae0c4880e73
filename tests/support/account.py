"""A project, an account and a volume, and the commands that are typed against servers on loopback."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from kedro_cloudtrain.rehearsal.offers import gpu
from support.cloud import SECRETS, Cloud
from support.kedro_project import Project


@dataclass
class Account:
    """A project, an account and a volume."""

    project: Project
    cloud: Cloud
    environment: dict[str, str]

    @property
    def bucket(self) -> Path:
        return self.cloud.bucket

    @property
    def volume_id(self) -> str:
        return self.cloud.volume_id

    @property
    def living(self) -> set[str]:
        return {pod.id for pod in self.cloud.runpod.living}

    @property
    def created(self) -> list:
        return self.cloud.runpod.requests("POST /v2/pods")

    def add_pod(self, name: str, minutes: float = 30, usd: float = 0.43) -> str:
        return self.cloud.runpod.put(name, minutes, usd_per_hour=usd).id

    def refuse(self, method: str, status: int, detail: str) -> None:
        for path in ("/v2/pods", "/v2/pods/*", "/v2/network-volumes/*", "/v2/catalog/*"):
            self.cloud.runpod.faults.answer(f"{method} {path}", status, detail, times=99)

    def move_volume(self, data_center: str) -> None:
        self.cloud.runpod.offers.add_volume(self.volume_id, data_center)

    def run(self, *args: str, env: str = "runpod", **more: str) -> tuple[int, str]:
        """Type `kedro cloudtrain …`; return its exit status and its output, which holds no secret."""
        done = self.project.kedro("cloudtrain", *args, f"--env={env}", **{**self.environment, **more})
        output = done.stdout + done.stderr
        assert "Traceback" not in output, output
        assert not [secret for secret in SECRETS if secret in output]
        return done.returncode, output

    def plan(self, *args: str) -> tuple[int, dict]:
        """Type `kedro cloudtrain plan --json`; return its exit status and its report."""
        done = self.project.kedro("cloudtrain", "plan", "--json", "--env=runpod", *args, **self.environment)
        return done.returncode, json.loads(done.stdout[done.stdout.index("\n{") :])


@pytest.fixture
def account(project: Project, cloud: Cloud, tmp_path: Path) -> Account:
    project.write("conf/runpod/globals.yml", f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n")
    use_settings(project, "defaults: {gpu: [NVIDIA L4, NVIDIA A40], timeout_s: 7200, max_cost_usd: 2}\nrun: {max_cost_usd: 5}")
    sold_out = gpu("NVIDIA RTX A5000", 24, 0.27, EU_RO_1="NONE")
    cloud.runpod.offers.gpus = [sold_out if offered.id == sold_out.id else offered for offered in cloud.runpod.offers.gpus]
    return Account(project, cloud, {**cloud.environment, "HOME": str(tmp_path / "home")})


def use_settings(project: Project, text: str) -> None:
    """Write the settings of the environment; pods install nothing unless the text says so, so that no registry is asked."""
    if "install:" not in text:
        text = (
            text.replace("defaults: {", "defaults: {install: false, ") if "defaults:" in text else f"{text}\ndefaults: {{install: false}}"
        )
    project.write("conf/runpod/cloudtrain.yml", f"backend: runpod\nvolume: ${{globals:volume}}\n{text}\n")
