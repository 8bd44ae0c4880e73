"""RunPod on loopback for the benchmarks: the stand-in of the tests, outside of pytest."""

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

from runpod_stand_in import ACCESS_KEY, API_KEY, SECRET_KEY, RunPodStandIn, S3StandIn  # noqa: E402
from support.cloud import DATA_CENTER, Cloud  # noqa: E402  # once the tests' folder is known

PENGUINS = ROOT / "data/volume/datasets/penguins.csv"


@contextlib.contextmanager
def one_s3() -> Iterator[S3StandIn]:
    """Start an S3 server over a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-s3-") as root, S3StandIn(Path(root)) as s3:
        yield s3


@contextlib.contextmanager
def one_cloud(s3: S3StandIn, volume_id: str, **more: Any) -> Iterator[Cloud]:
    """Give an account with a volume that has the penguins; whatever pods are left are ended with it."""
    (s3.root / volume_id / "datasets").mkdir(parents=True)
    shutil.copy(PENGUINS, s3.root / volume_id / "datasets")
    with tempfile.TemporaryDirectory(prefix="bench-") as cache, RunPodStandIn(s3.root, {volume_id: DATA_CENTER}, **more) as runpod:
        environment = {
            "RUNPOD_API_BASE_URL": runpod.base_url,
            "RUNPOD_API_KEY": API_KEY,
            "RUNPOD_S3_ENDPOINT_URL": s3.endpoint_url,
            "RUNPOD_S3_ACCESS_KEY": ACCESS_KEY,
            "RUNPOD_S3_SECRET_KEY": SECRET_KEY,
            "XDG_CACHE_HOME": cache,
        }
        yield Cloud(runpod, s3, volume_id, environment)


def in_environment(cloud: Cloud) -> dict[str, str]:
    """Give this process's environment with a cloud's addresses."""
    return {**os.environ, **cloud.environment}
