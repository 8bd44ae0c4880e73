"""Measure what the plugin adds to `kedro --help`: the command with and without the plugin's entry points, alternating.

python benchmarks/start_up.py [--runs 15]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--runs", type=int, default=15)
args = parser.parse_args()
# Without: the same interpreter, with every entry point but the plugin's.
MAIN = """
import importlib.metadata as metadata, sys
if {without}:
    all_entry_points = metadata.entry_points
    def others(**params):
        points = all_entry_points(**params)
        # Without a group, Python 3.11 returns a dict of groups. Kedro always names one, so the dict may keep the plugin's.
        return metadata.EntryPoints(point for point in points if "cloudtrain" not in point.value) if params else points
    metadata.entry_points = others
sys.argv = ["kedro", "--help"]
from kedro.framework.cli.cli import main
main()
"""


def seconds(*, without: bool, folder: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", MAIN.format(without=without)], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


with tempfile.TemporaryDirectory() as folder:
    seconds(without=False, folder=folder)
    pairs = [(seconds(without=True, folder=folder), seconds(without=False, folder=folder)) for _ in range(args.runs)]
without_s, with_plugin_s = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
added_s = statistics.median(pair[1] - pair[0] for pair in pairs)
print(
    f"kedro --help: {without_s:.3f} s without, {with_plugin_s:.3f} s with; median difference {added_s * 1000:+.0f} ms ({args.runs} pairs)"
)
