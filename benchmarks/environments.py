"""A pod's environment on a network volume: as many small files, or packed into one and unpacked to the pod's own disk.

The volume is simulated: every look at a file of it takes `--latency-ms` more, and its bytes come at `--mb-per-s`. A real environment is
made by uv; the imports are those of an XGBoost job, in a fresh process each time. Run from the checkout:

    python -m benchmarks.environments
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

PACKAGES = ["xgboost-cpu", "pandas", "pyarrow", "scikit-learn"]
IMPORTS = "import xgboost, pandas, pyarrow.parquet, sklearn.model_selection, sklearn.metrics"
# What Python's own import does with files goes through these; each takes the latency for a path on the volume.
SLOW = """
import _imp, _io, posix, time

VOLUME, LATENCY_S = {volume!r}, {latency_s!r}


def slowed(call):
    def slow(path, *args, **kwargs):
        if VOLUME in str(getattr(path, "origin", path)):
            time.sleep(LATENCY_S)
        return call(path, *args, **kwargs)

    return slow


for module, names in ((posix, ("stat", "listdir", "open")), (_io, ("open_code", "FileIO")), (_imp, ("create_dynamic",))):
    for name in names:
        setattr(module, name, slowed(getattr(module, name)))
"""


def timed(command: list[str], **variables: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, **variables}, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=1.0)
    parser.add_argument("--mb-per-s", type=float, default=200.0)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        volume, disk = Path(scratch, "volume"), Path(scratch, "disk")
        for folder in (volume, disk):
            folder.mkdir()
        environment = volume / "environment"
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
        install = ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(environment / "bin/python"), *PACKAGES]
        subprocess.run(install, check=True)
        files = [file for file in environment.rglob("*") if file.is_file()]
        size_mb = sum(file.stat().st_size for file in files) / 1e6
        slow = Path(scratch, "slow")
        slow.mkdir()
        (slow / "sitecustomize.py").write_text(SLOW.format(volume=str(volume), latency_s=given.latency_ms / 1000))
        python = [str(environment / "bin/python"), "-c", IMPORTS]
        small, packed = [], []
        for _ in range(given.times):
            small.append(timed(python, PYTHONPATH=str(slow)))
            began = time.perf_counter()
            with tarfile.open(volume / "environment.tar", "w") as archive:
                archive.add(environment, arcname="environment")
            packing_s = time.perf_counter() - began
            began = time.perf_counter()
            with tarfile.open(volume / "environment.tar") as archive:
                archive.extractall(disk, filter="fully_trusted")
            unpacking_s = max(time.perf_counter() - began, size_mb / given.mb_per_s)
            packed.append(unpacking_s + timed([str(disk / "environment/bin/python"), "-c", IMPORTS]))
        made_small = len(files) * 2 * given.latency_ms / 1000  # each is created and closed
        made_packed = max(packing_s, size_mb / given.mb_per_s)
        print(f"{len(files):,} files, {size_mb:,.0f} MB; {given.latency_ms:g} ms a look, {given.mb_per_s:g} MB/s")
        print(f"start of a pod, small files   {min(small):6.1f} s")
        print(f"start of a pod, packed        {min(packed):6.1f} s   {min(small) / min(packed):.2f} times as fast")
        print(f"first pod writes, small files {made_small:6.1f} s (computed)")
        print(f"first pod writes, packed      {made_packed:6.1f} s   {made_small / made_packed:.2f} times as fast")


if __name__ == "__main__":
    main()
