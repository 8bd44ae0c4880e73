"""The environment of a pod: made by the first, taken by the second, against a plain pip of what a training image installs.

    python benchmarks/pod_environment.py

This one needs a package registry, as pip is configured here; everything else is on loopback.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from bench_cloud import in_environment, one_cloud, one_s3

PIP = "pandas scikit-learn xgboost lightgbm catboost boto3 joblib requests"


def main() -> None:
    """Run the same job on two pods, then time pip."""
    with one_s3() as s3, one_cloud(s3, "envs0001abc") as cloud:
        os.environ.update(in_environment(cloud))
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
