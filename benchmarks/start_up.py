"""What the plugin adds to `kedro --help`: the same command with our entry points and without, in turn.

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
# Without: the same interpreter, its entry points but ours.
MAIN = """
import importlib.metadata as metadata, sys
if {without}:
    every = metadata.entry_points
    def others(**params):
        found = every(**params)
        # Without a group, Python 3.11 gives a dict of groups; whoever asks so (not Kedro) may see ours.
        return metadata.EntryPoints(point for point in found if "cloudtrain" not in point.value) if params else found
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
without, with_ours = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
added = statistics.median(pair[1] - pair[0] for pair in pairs)
print(
    f"kedro --help: {without:.3f} s without, {with_ours:.3f} s with; median of the differences {added * 1000:+.0f} ms ({args.runs} pairs)"
)
