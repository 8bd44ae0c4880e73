"""Jobs that a process forks which has imported their libraries: all about them is as of a fresh Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.forked import unmeasured

from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.spec import TrainingSpec
from kedro_cloudtrain.jobs.worker_archive import worker_archive
from kedro_cloudtrain.worker import run_group
from kedro_cloudtrain.worker.warm import CAN_FORK, libraries_of

_BEGINNING = """
import atexit, os, sys, threading, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))
"""
# Which program has started the job.
_PARENT = "import pathlib, os\npathlib.Path('parent').exists() or pathlib.Path('parent').write_bytes("
_PARENT += "pathlib.Path(f'/proc/{os.getppid()}/cmdline').read_bytes())\n"
_JOB = "import json\nfrom pathlib import Path\nPath('ran').touch()\nPath('result.json').write_text(json.dumps({'state': 'succeeded'}))"
SCRIPTS = {
    "place": "print(__name__, __file__, sys.argv, sys.path[1], os.getcwd(), Path.cwd(), __doc__, sys.flags.interactive)",
    "worker": "import cloudtrain_worker\nprint(cloudtrain_worker.__file__)",
    "streams": "print('out')\nprint('err', file=sys.stderr)\nos.system('echo from a shell')\nprint(sys.stdin.read() == '')",
    "raises": "def fail():\n    raise ValueError('no such column')\n\nfail()",
    "leaves_with_text": "sys.exit('a reason')",
    "leaves_with_number": "sys.exit(3)",
    "is_killed": "import signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "ends_late": "atexit.register(print, 'at exit')\nthreading.Thread(target=lambda: (time.sleep(0.2), print('a thread'))).start()",
    "environment": "print(sorted(name for name in os.environ if name.startswith('OF_')))\nos.environ['OF_NOBODY'] = '1'",
    "environment_later": "print(sorted(name for name in os.environ if name.startswith('OF_')))",
    "spawns": (
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=os.mkdir, args=('made',))\n"
        "    child.start()\n"
        "    child.join()\n"
        "print(__name__, os.path.isdir('made'))"
    ),
    "imports": "import numpy as np\nprint(np.arange(3), 'pandas' in sys.modules)\nPath('drawn').write_text(str(np.random.rand()))",
    "imports_later": "import numpy as np\nprint(np.arange(4))\nPath('drawn').write_text(str(np.random.rand()))",
}
needs_fork = pytest.mark.skipif(not CAN_FORK, reason="only Linux forks")


def run_as_group(root: Path, scripts: dict[str, str], keep_s: float, volume: Path | None = None) -> None:
    """Run jobs on a group's machine; one that is kept forks them."""
    for name, script in scripts.items():
        (root / name).mkdir(parents=True)
        (root / name / "train.py").write_text(_PARENT + script)
    (root / "group").mkdir()
    own = {name: {"OF_THIS_JOB": name} if name == "environment" else {} for name in scripts}
    (root / "group/train.py").write_text(TrainingScriptGenerator().render_group("small", "run1", own, keep_s))
    (root / "group/worker.zip").write_bytes(worker_archive())
    environment = unmeasured({**os.environ, "PYTHONUNBUFFERED": "1", "CLOUDTRAIN_VOLUME": str(volume or root), "CLOUDTRAIN_GPU": ""})
    command = [sys.executable, "train.py"]
    done = subprocess.run(command, cwd=root / "group", env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"cloudtrain_worker.warm" in (root / name / "parent").read_text() for name in scripts} == {bool(keep_s)}


@needs_fork
def test_a_forked_job_is_as_one_of_a_fresh_python(tmp_path: Path) -> None:
    scripts = {name: _BEGINNING + body for name, body in SCRIPTS.items()}
    observed = {}
    for kind, keep_s in (("fresh", 0.0), ("warm", 0.05)):
        run_as_group(tmp_path / kind, scripts, keep_s)
        observed[kind] = {}
        for name in scripts:
            log = (tmp_path / kind / name / "log.txt").read_text().replace(str(tmp_path / kind), "ROOT")
            result = json.loads((tmp_path / kind / name / "result.json").read_text())
            observed[kind][name] = (log, result["state"], result.get("error"))
    assert observed["warm"] == observed["fresh"]
    logs = {name: log for name, (log, _, _) in observed["warm"].items()}
    assert logs["ends_late"].split("\n") == ["a thread", "at exit", ""]
    assert "['OF_THIS_JOB']" in logs["environment"]
    assert logs["environment_later"] == "[]\n"
    assert "killed by SIGKILL" in observed["warm"]["is_killed"][2]["message"]
    assert len({(tmp_path / "warm" / name / "drawn").read_text() for name in ("imports", "imports_later")}) == 2


@needs_fork
def test_a_forked_training_leaves_the_same_bits(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"a": random.normal(size=300), "c": random.choice(list("xyz"), size=300)})
    frame["y"] = 3 * frame["a"] + random.normal(scale=0.5, size=300)
    frame.to_parquet(tmp_path / "table.parquet")
    scripts = {}
    for model_type in ("xgboost_regression", "lightgbm_regression"):
        parameters = TrainingParameters(
            model_type=model_type,
            target_column="y",
            hyperparameters={"n_estimators": 20},
            validation={"fraction": 0.2, "seed": 1},
        )
        outputs = ("model", "metrics", "history", "importance", "predictions")
        spec = TrainingSpec(name="job", parameters=parameters, sources={"data": {"dataset_key": "table.parquet"}}, outputs=outputs)
        scripts[model_type] = TrainingScriptGenerator().render(spec)
    content = {}
    for kind, keep_s in (("fresh", 0.0), ("warm", 0.05)):
        run_as_group(tmp_path / kind, scripts, keep_s, tmp_path)
        for name in scripts:
            assert json.loads((tmp_path / kind / name / "result.json").read_text())["state"] == "succeeded"
        files = [file for name in scripts for file in (tmp_path / kind / name / "outputs").rglob("*") if file.is_file()]
        content[kind] = {str(file.relative_to(tmp_path / kind)): file.read_bytes() for file in files}
    assert len(content["fresh"]) >= 10
    assert content["warm"] == content["fresh"]


def test_what_does_not_survive_a_fork_is_left_to_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for recipe, names in {"keras": (), "xgboost": ("xgboost",), "catboost": ("catboost",)}.items():
        parameters = TrainingParameters(model_type=f"{recipe}_regression", target_column="y")
        spec = TrainingSpec(name="job", parameters=parameters, sources={"data": {"dataset_key": "a.csv"}}, outputs=("model",))
        script = TrainingScriptGenerator().render(spec)
        monkeypatch.delenv("CLOUDTRAIN_GPU", raising=False)
        monkeypatch.setattr("kedro_cloudtrain.worker.warm._GPU_DEVICE", Path("/no/such/device"))
        common = ("numpy", "pandas", "pyarrow.parquet", "sklearn.metrics", "sklearn.model_selection")
        assert libraries_of(script) == (*common, *names)
        monkeypatch.setenv("CLOUDTRAIN_GPU", "NVIDIA L4")
        assert libraries_of(script) == common, "a GPU is opened by the job alone"
    assert libraries_of("print('an import torch in a text')\nimport torch\nimport keras\n") == ()


def test_a_machine_takes_the_batches_of_its_own_run_in_order_and_ends_when_it_is_told(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.py").write_text(_JOB)
    group = tmp_path / "group"
    group.mkdir()

    def write(name: str, **content: object) -> None:
        (group / f".{name}").write_text(json.dumps({"run": "run1", **content}))
        (group / f".{name}").replace(group / name)

    write("batch-1.json", jobs={"c": {}}, run="an earlier run")
    write("close.json", batches=0, run="an earlier run")
    write("batch-2.json", jobs={"b": {}})
    machine = threading.Thread(target=run_group, args=(str(group / "train.py"), "run1", {"a": {}}, 60.0))
    machine.start()
    began = time.monotonic()
    while not (tmp_path / "a/ran").exists() and time.monotonic() - began < 30:
        time.sleep(0.01)
    time.sleep(0.2)
    assert not (tmp_path / "b/ran").exists(), "the second batch waits for the first"
    write("close.json", batches=2)
    time.sleep(0.2)
    assert machine.is_alive(), "a batch is to come"
    write("batch-1.json", jobs={"a": {}})
    machine.join(60)
    assert not machine.is_alive()
    assert (tmp_path / "b/ran").exists()
    assert not (tmp_path / "c/ran").exists()
    result = json.loads((group / "result.json").read_text())
    assert result["state"] == "succeeded"
    assert result["seconds"]["idle"] > 0.3
    lines = [json.loads(line) for line in (group / "progress.jsonl").read_text().splitlines()]
    assert [(line["step"], line["of"]) for line in lines if "member" not in line] == [(0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)]
