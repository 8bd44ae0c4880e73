"""Measure a pod's environment: installed by the first pod, reused by the second, against pip install of a training image's packages.

    python benchmarks/pod_environment.py

Needs a package registry, as pip is configured on this computer; everything else is on loopback.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from bench_cloud import environment_of, start_cloud, start_s3

PIP = "pandas scikit-learn xgboost lightgbm catboost boto3 joblib requests"


def main() -> None:
    """Run the same job on two pods, then time pip install."""
    with start_s3() as s3, start_cloud(s3, "envs0001abc") as cloud:
        os.environ.update(environment_of(cloud))
        backend = cloud.backend()
        for pod in ("first", "second"):
            body = "(Path(os.environ['CLOUDTRAIN_VOLUME']) / 'stages.json').write_text(os.environ['CLOUDTRAIN_STAGES'])"
            cloud.run(backend, "train", body, install=True, timeout_s=1200)
            print(f"{pod} pod: environment {(cloud.bucket / 'stages.json').read_text()} s", flush=True)
        backend.close()
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "venv", scratch], check=True)
        began = time.perf_counter()
        subprocess.run([f"{scratch}/bin/pip", "install", "-q", "--no-cache-dir", *PIP.split()], check=True)
        print(f"pip install --no-cache-dir {PIP}: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
