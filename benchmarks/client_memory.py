"""Measure the client's peak memory for tables of two sizes: it must not grow with the table, which only the machine reads.

python benchmarks/client_memory.py [--runs 5]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_project import make_project, make_table

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=5)
args = parser.parse_args()
CLIENT = (
    "import pathlib, sys; from kedro.framework.cli.cli import main\n"
    "sys.argv = ['kedro', 'run', '--runner=cloudtrain', '--runner-params=cache=false']\n"
    "try: main()\n"
    # Not getrusage: its maximum starts at that of the parent process.
    "finally: print('peak', next(int(line.split()[1]) * 1024 for line in pathlib.Path('/proc/self/status').open() if 'VmHWM' in line))"
)


def peak_bytes(project: Path) -> int:
    done = subprocess.run([sys.executable, "-c", CLIENT], cwd=project, check=True, capture_output=True, text=True)
    return int(next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("peak ")))


with tempfile.TemporaryDirectory() as scratch:
    medians = []
    for rows in (30_000, 3_000_000):
        project = make_project(Path(scratch) / str(rows), "table.parquet", 20)
        make_table(project / "data/volume/table.parquet", rows, 15)
        peaks = [peak_bytes(project) for _ in range(args.runs)]
        medians.append(statistics.median(peaks))
        print(f"{rows:>9,} rows  client peak {medians[-1] / 1e6:.1f} MB ({min(peaks) / 1e6:.1f} to {max(peaks) / 1e6:.1f})")
    print(f"difference {(medians[1] - medians[0]) / 1e6:+.1f} MB")
