"""RunPod on loopback for the benchmarks: the tests' stand-in, without pytest."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.cloud import DATA_CENTER, Cloud  # noqa: E402  # after the tests' folder is on the path
from support.kedro_project import Project, edit, make_project  # noqa: E402
from support.slow_training import SLOW  # noqa: E402

from kedro_cloudtrain.rehearsal import ACCESS_KEY, API_KEY, SECRET_KEY, RunPodStandIn, S3StandIn  # noqa: E402

PENGUINS = ROOT / "data/volume/datasets/penguins.csv"


@contextlib.contextmanager
def start_s3() -> Iterator[S3StandIn]:
    """Start an S3 server over a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="bench-s3-") as root, S3StandIn(Path(root)) as s3:
        yield s3


@contextlib.contextmanager
def start_cloud(s3: S3StandIn, volume_id: str, **options: Any) -> Iterator[Cloud]:
    """Start an account with a volume that holds the penguins; the pods that are left end with it."""
    (s3.root / volume_id / "datasets").mkdir(parents=True)
    shutil.copy(PENGUINS, s3.root / volume_id / "datasets")
    with tempfile.TemporaryDirectory(prefix="bench-") as cache, RunPodStandIn(s3.root, {volume_id: DATA_CENTER}, **options) as runpod:
        environment = {
            "RUNPOD_API_BASE_URL": runpod.base_url,
            "RUNPOD_API_KEY": API_KEY,
            "RUNPOD_S3_ENDPOINT_URL": s3.endpoint_url,
            "RUNPOD_S3_ACCESS_KEY": ACCESS_KEY,
            "RUNPOD_S3_SECRET_KEY": SECRET_KEY,
            "XDG_CACHE_HOME": cache,
        }
        yield Cloud(runpod, s3, volume_id, environment)


def environment_of(cloud: Cloud) -> dict[str, str]:
    """Return this process's environment with a cloud's addresses."""
    return {**os.environ, **cloud.environment}


def make_slow_project(cloud: Cloud, folder: Path) -> Project:
    """Write a project with one node, whose own script takes its time, for the account's pods."""
    project = make_project(folder)
    volume = f"volume: {{id: {cloud.volume_id}, data_center: {DATA_CENTER}}}\n"
    project.write("templates/mine.py.j2", SLOW)
    project.write("conf/runpod/globals.yml", volume)
    project.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{volume}defaults: {{install: false, gpu: none}}\n")
    edit(project, "conf/base/parameters.yml", "xgboost_regression", "mine")
    edit(project, "src/shop/pipeline_registry.py", 'model="mass_model", ', "")
    return project
