"""Measure the plugin's overhead: a run of an XGBoost node against a bare script of the same recipe, alternating; medians and ratios.

python benchmarks/overhead.py [--runs 5] [--rows 300000] [--rounds 300]
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_project import make_project, make_table

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--rows", type=int, default=300_000)
parser.add_argument("--columns", type=int, default=15)
parser.add_argument("--rounds", type=int, default=300)
args = parser.parse_args()
bare_script = Path(__file__).with_name("bare_xgboost.py")


def bare(table: Path, folder: Path) -> dict[str, float]:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, bare_script, table, str(args.rounds), folder], check=True, capture_output=True, text=True)
    return {"wall_s": time.perf_counter() - began, **json.loads(done.stdout)}


def plugin(project: Path) -> dict[str, float]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "kedro", "run", "--runner=cloudtrain", "--runner-params=cache=false"]
    environment = {**os.environ, "COLUMNS": "250"}  # a receipt on a single line
    done = subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True, text=True)
    wall_s = time.perf_counter() - began
    (folder,) = (project / "data/volume/.cloudtrain/jobs").iterdir()
    result = json.loads((folder / "result.json").read_text())
    receipt = next(line for line in done.stdout.splitlines() if line.strip().startswith("train "))
    return {
        "wall_s": wall_s,
        "fit_s": result["seconds"]["fit"],
        "rmse": json.loads((project / "metrics.json").read_text())["rmse"],
        "peak_bytes": result["peak_memory_bytes"],
        # The receipt's last size; the one before is what the machine has read.
        "passed_through": re.findall(r"[\d.,]+ [kMGT]?B\b", receipt)[-1],
    }


with tempfile.TemporaryDirectory() as scratch:
    root = Path(scratch)
    project = make_project(root / "project", "table.csv", args.rounds)
    table = make_table(project / "data/volume/table.csv", args.rows, args.columns)
    bare(table, root / "bare")
    plugin(project)
    pairs = [(bare(table, root / "bare"), plugin(project)) for _ in range(args.runs)]
    print(f"{args.rows:,} rows, {args.columns} columns, {args.rounds} rounds, {args.runs} alternating runs")
    for name in ("wall_s", "fit_s", "peak_bytes"):
        first, second = (statistics.median(pair[side][name] for pair in pairs) for side in (0, 1))
        ratio = statistics.median(pair[1][name] / pair[0][name] for pair in pairs)
        print(f"{name:10}  bare {first:14,.2f}  plugin {second:14,.2f}  median of the ratios {ratio:.3f}")
    allowed = statistics.median(pair[0]["wall_s"] for pair in pairs) * 1.10 + 3
    print(f"wall time allowed: 1.10 times the bare script plus 3 s = {allowed:.2f} s")
    print(f"validation rmse: bare {pairs[0][0]['rmse']:.9f}, plugin {pairs[0][1]['rmse']:.9f}")
    print(f"bytes through the client: {pairs[0][1]['passed_through']}")
