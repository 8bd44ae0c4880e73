"""Run sixty one-second nodes on this computer, eight at once, and the same run again, which reuses everything.

    python benchmarks/sixty_nodes.py [--runs 5]

The first run is compared with the ideal, eight rounds of one second, and with sixty bare `python -c "time.sleep(1)"`, eight at once, which
shows what sixty processes cost to start. The second is compared with the same pipeline under SequentialRunner, whose nodes do nothing:
whole commands, alternating.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NODES, AT_ONCE, NODE_S = 60, 8, 1.0
STEPS = "import time\n\n\n" + "\n\n".join(
    f'def step_{n}(parameters):\n    time.sleep(parameters["seconds"])\n    return {{"number": {n}}}\n' for n in range(NODES)
)
REGISTRY = f"""
from kedro.pipeline import Pipeline, node

from bench import steps


def register_pipelines():
    nodes = [node(getattr(steps, f"step_{{n}}"), "params:work", f"m{{n}}", name=f"step_{{n}}") for n in range({NODES})]
    return {{"__default__": Pipeline(nodes)}}
"""


def make_project(folder: Path) -> Path:
    """Write a project with sixty function nodes."""
    files = {
        "pyproject.toml": (
            '[tool.kedro]\npackage_name = "bench"\nproject_name = "bench"\nkedro_init_version = "1.0.0"\nsource_dir = "src"\n'
        ),
        "src/bench/__init__.py": "",
        "src/bench/settings.py": "",
        "src/bench/steps.py": STEPS,
        "src/bench/pipeline_registry.py": REGISTRY,
        "conf/base/catalog.yml": '"m{n}": {type: kedro_cloudtrain.MetricsDataset, filepath: "data/{n}.json"}\n',
        "conf/base/parameters.yml": f"work: {{seconds: {NODE_S}}}\n",
        "conf/base/cloudtrain.yml": f'nodes: {{"*": {{}}}}\nrun: {{max_pods: {AT_ONCE}}}\n',
        "conf/local/.gitkeep": "",
        ".telemetry": "consent: false\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "data/volume").mkdir(parents=True)
    return folder


def run(project: Path, *args: str) -> tuple[float, float, str]:
    """Return the seconds of the whole `kedro run`, those of the pipeline as Kedro logs them, and the output."""
    began = time.perf_counter()
    environment = {**os.environ, "DO_NOT_TRACK": "1", "COLUMNS": "250"}
    done = subprocess.run(
        [sys.executable, "-m", "kedro", "run", *args], cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    whole_s = time.perf_counter() - began
    output = " ".join((done.stdout + done.stderr).split())
    completed = re.search(r"completed\b.*?successfully in ([\d.]+) sec", output)
    return whole_s, float(completed[1]) if completed else math.nan, output


def bare_s() -> float:
    """Return the seconds of sixty processes that only sleep."""
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: subprocess.run([sys.executable, "-c", f"import time; time.sleep({NODE_S})"], check=True), range(NODES)))
    return time.perf_counter() - began


def main() -> None:
    """Run each as often as `--runs` asks, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    ideal_s = math.ceil(NODES / AT_ONCE) * NODE_S
    with tempfile.TemporaryDirectory() as scratch:
        project = make_project(Path(scratch))
        firsts = []
        for _ in range(runs):
            shutil.rmtree(project / "data/volume/.cloudtrain", ignore_errors=True)
            firsts.append((run(project, "--runner=cloudtrain")[1], bare_s()))
        trivial = make_project(Path(scratch) / "trivial")
        (trivial / "conf/base/parameters.yml").write_text("work: {seconds: 0}\n")
        pairs = []
        for _ in range(runs):
            again_s, _, output = run(project, "--runner=cloudtrain")
            assert output.count("is done already") == NODES
            pairs.append((again_s, run(trivial, "--runner=SequentialRunner")[0]))
    first_s, processes_s = (statistics.median(pair[side] for pair in firsts) for side in (0, 1))
    print(f"{NODES} nodes of {NODE_S:g} s, {AT_ONCE} at once: {first_s:.2f} s")
    print(f"  bare processes: {processes_s:.2f} s, ratio {first_s / processes_s:.3f}")
    print(f"  eight rounds of a second: {ideal_s:.2f} s, ratio {first_s / ideal_s:.3f}")
    again_s, plain_s = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    print(f"again, unchanged: {again_s:.2f} s; SequentialRunner with trivial nodes: {plain_s:.2f} s, ratio {again_s / plain_s:.3f}")


if __name__ == "__main__":
    main()
