"""Whole runs with `--env=runpod`: the pods that a client leaves, the way of a URL's secret, and what a run prints and keeps."""

from __future__ import annotations

import base64
import json
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import pytest
from support.cloud import SECRETS, Cloud
from support.http_server import Server
from support.kedro_project import PENGUINS, ROOT, Project, edit, run_on_pods
from support.package_index import index, wheel
from support.slow_training import SLOW as SLOW_STEPS
from support.waiting import wait_until

from kedro_cloudtrain.rehearsal import RunPodStandIn

PLANTED = "a-planted-token"
# A template that shows when it is at work, and works for a while.
SLOW = """
import os, time
from pathlib import Path

Path(os.environ["CLOUDTRAIN_VOLUME"], "at-work").write_text("yes")
time.sleep(600)
"""

# The background jobs of a shell ignore Ctrl-C, and so do their children. This one obeys it, as in a terminal.
LISTEN = "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL)"


@pytest.fixture
def shop(project: Project, cloud: Cloud) -> Project:
    run_on_pods(project, cloud.volume_id)
    return project


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_a_termination_leave_no_pod(shop: Project, cloud: Cloud, number: signal.Signals) -> None:
    shop.write("templates/mine.py.j2", SLOW)
    shop.write("conf/base/parameters.yml", "mass: {model_type: mine, target_column: body_mass_g}\n")
    code = f"{LISTEN}; runpy.run_module('kedro', run_name='__main__')"
    command = [sys.executable, "-c", code, "run", "--runner=cloudtrain", "--env=runpod"]
    process = subprocess.Popen(command, cwd=shop.path, env=shop.environment(), start_new_session=True, stdout=subprocess.DEVNULL)
    wait_until((cloud.bucket / "at-work").exists)
    process.send_signal(number)
    process.wait(60)
    assert process.returncode == 128 + number
    assert cloud.runpod.living == []
    assert len(cloud.runpod.pods) == 1


def test_a_run_that_leaves_a_pod_does_not_end_well(shop: Project, cloud: Cloud) -> None:
    # Its results are there; what it could not end stands in the last lines.
    cloud.runpod.faults.befall("cannot end")
    cloud.runpod.faults.answer("DELETE /v2/pods/*", 401, times=999)
    done = shop.kedro("run", "--runner=cloudtrain", "--env=runpod")
    assert done.returncode == 1
    (pod,) = cloud.runpod.living
    last = (done.stdout + done.stderr).strip().splitlines()[-1]
    assert f"Pod {pod.id} is still there, at $0.43 an hour" in last
    assert "Traceback" not in done.stdout + done.stderr
    assert json.loads((shop.path / "data/08_reporting/mass.json").read_text())["rmse"] > 0
    pod.end()


def test_a_failing_ordinary_node_leaves_no_pod(shop: Project, cloud: Cloud) -> None:
    shop.write("templates/mine.py.j2", SLOW.replace("60", "3"))
    shop.write("conf/base/parameters.yml", "mass: {model_type: mine, target_column: body_mass_g}\n")
    registry = shop.path / "src/shop/pipeline_registry.py"
    fails = """

        def fail(volume):
            import pathlib, time
            while not pathlib.Path(volume, "at-work").exists():
                time.sleep(0.1)
            raise ValueError("on purpose")
    """
    text = registry.read_text().replace(
        '"names", name="summarise", tags=["after"])', '"names", name="summarise"), node(fail, "params:at", "x")'
    )

    registry.write_text(text.replace("\n\ndef register", f"{textwrap.dedent(fails)}\n\ndef register"))
    done = shop.kedro("run", "--runner=cloudtrain", "--env=runpod", "--params", f"at={cloud.bucket}")
    assert done.returncode != 0
    assert "on purpose" in done.stdout + done.stderr
    assert cloud.runpod.living == []


@pytest.mark.parametrize("by_runpod", [True, False])
def test_a_urls_secret_reaches_the_pod_alone(shop: Project, cloud: Cloud, by_runpod: bool, tmp_path: Path) -> None:
    cloud.runpod.secrets["shop_token"] = PLANTED
    header = "Bearer {{ RUNPOD_SECRET_shop_token }}" if by_runpod else f"Bearer {PLANTED}"
    with Server({"p.csv": PENGUINS.read_bytes()}) as server:
        entry = "penguins:\n  type: kedro_cloudtrain.CloudDataset\n  dataset_url: " + server.url("p.csv") + "\n  credentials: shop\n"
        catalog = (shop.path / "conf/base/catalog.yml").read_text()
        shop.write("conf/base/catalog.yml", entry + catalog[catalog.index("mass_model") :])
        shop.write("conf/local/credentials.yml", "{}\n")
        shop.write("conf/runpod/credentials.yml", f"shop: {{headers: {{Authorization: '{header}'}}}}\n")
        done = shop.kedro("run", "--runner=cloudtrain", "--env=runpod", "--nodes=train_mass")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"Bearer {PLANTED}" in [request.headers.get("authorization") for request in server.requests]
    texts = {"output": done.stdout + done.stderr}
    for root in (cloud.bucket, cloud.volume.folder(".cloudtrain"), shop.path / "data"):
        texts |= {str(file): file.read_bytes().decode(errors="replace") for file in root.rglob("*") if file.is_file()}
    for call in cloud.runpod.calls:
        body = dict(call.body or {}) if isinstance(call.body, dict) else {}
        environment = body.pop("env", {})
        texts[f"{call.method} {call.path}"] = json.dumps(body)
        if by_runpod:
            texts[f"environment of {call.method} {call.path}"] = json.dumps(environment)
    for place, text in texts.items():
        assert PLANTED not in text, place
        assert not [secret for secret in SECRETS if secret in text], place


@pytest.mark.measured
def test_a_run_prints_what_it_was_and_what_it_cost(shop: Project, cloud: Cloud) -> None:
    done = shop.kedro("run", "--runner=cloudtrain", "--env=runpod")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    for part in (f"backend runpod · volume {cloud.volume_id} in EU-RO-1", "train_mass on NVIDIA L4 at $0.43/h"):
        assert part in output, part
    assert re.search(r"^train_mass +runpod +done .* \$0\.0\d+ .* data/06_models/mass$", output, re.MULTILINE), output
    assert "NVIDIA L4, driver 570.86.10, CUDA 12.8" in output
    (folder,) = cloud.volume.folder(".cloudtrain/jobs").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert result["state"] == "succeeded"
    assert (result["gpu"]["name"], result["gpu"]["driver"], result["gpu"]["count"]) == ("NVIDIA L4", "570.86.10", 1)
    assert json.loads((shop.path / "data/08_reporting/mass.json").read_text())["rmse"] > 0


def test_the_stand_in_runs_pods_without_namespaces_too(tmp_path: Path) -> None:
    # For a contributor who is not root, the mount is a path in a temporary folder.
    (tmp_path / "abc123xyz").mkdir()
    with RunPodStandIn(tmp_path, isolated=False) as runpod:
        command = "sh -c 'echo $FOLDER $RUNPOD_POD_ID >> /workspace/written; setsid sleep 300 & sleep 300'"
        body = {"name": "a", "image": "b", "args": command, "gpu": {"id": "NVIDIA L4", "count": 1}, "env": {"FOLDER": "/workspace/x"}}
        pod = runpod.create({**body, "mounts": {"network": [{"volumeId": "abc123xyz", "path": "/workspace"}]}})
        written = tmp_path / "abc123xyz/written"
        wait_until(lambda: written.exists() and written.read_text().endswith("\n"))
        path, pod_id = written.read_text().split()
        assert path.endswith("/workspace/x")
        assert path != "/workspace/x"
        assert pod_id == pod.id
        pod.end()
        wait_until(lambda: not running(pod.id))


def test_a_pod_of_the_stand_in_sees_none_of_this_computers_files(cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    places = [
        tmp_path / "mine.txt",
        tmp_path,
        Path.cwd() / "pyproject.toml",
        ROOT / "kedro_cloudtrain",
        Path.home() / ".bashrc",
        cloud.bucket,
    ]
    assert all(place.exists() for place in places if place != Path.home() / ".bashrc")
    look = f"import os, sys, numpy; print('sees', [place for place in {[str(place) for place in places]} if os.path.exists(place)])"
    write = "open(os.environ['TMPDIR'] + '/left', 'a').write('x'); print('left', len(open(os.environ['TMPDIR'] + '/left').read()))"
    pod = cloud.runpod.create(
        {
            "name": "a",
            "image": "b",
            "args": f"python3 -c {shlex.quote(f'{look}; {write}')}",
            "gpu": {"id": "NVIDIA L4", "count": 1},
            "mounts": {"network": [{"volumeId": cloud.volume_id, "path": "/workspace"}]},
        }
    )
    wait_until(lambda: pod.starts >= 3)
    lines = [line for _, _, line in pod.lines]
    assert set(lines) >= {"sees []", "left 1", "left 2"}  # a pod that starts again has the disk that it had
    assert {line for line in lines if line.startswith("sees")} == {"sees []"}
    assert not (Path(tempfile.gettempdir()) / "left").exists()
    pod.end()


def test_the_stand_in_starts_a_command_that_ends_again_and_takes_all_with_it(cloud: Cloud) -> None:
    body = {"name": "a", "image": "b", "args": "sh -c 'setsid sleep 300 & nvidia-smi; echo $RUNPOD_DC_ID $SECRET; ls /workspace'"}
    cloud.runpod.secrets["word"] = "xyzzy"
    pod = cloud.runpod.create(
        {
            **body,
            "env": {"SECRET": "{{ RUNPOD_SECRET_word }}"},
            "gpu": {"id": "NVIDIA L4", "count": 1},
            "dataCenterIds": ["EU-RO-1"],
            "mounts": {"network": [{"volumeId": cloud.volume_id, "path": "/workspace"}]},
        }
    )
    wait_until(lambda: pod.starts >= 3)
    lines = [line for _, _, line in pod.lines]
    assert lines.count("EU-RO-1 xyzzy") >= 2
    assert "datasets" in lines
    assert any("CUDA Version: 12.8" in line for line in lines)
    wait_until(lambda: running(pod.id))
    pod.end()
    wait_until(lambda: not running(pod.id))


def running(pod_id: str) -> list[str]:
    commands = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"RUNPOD_POD_ID={pod_id}".encode() in (folder / "environ").read_bytes():
                commands.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return commands


@pytest.mark.measured
def test_the_secrets_of_package_indexes_are_in_no_file_and_no_line(shop: Project, cloud: Cloud) -> None:
    # An index with a password, and a package by a URL with a user and a signed query, as private ones are often written.
    shop.write("templates/mine.py.j2", "import gamma\n" + SLOW_STEPS.replace("sleep(0.1)", "sleep(0)"))
    edit(shop, "conf/base/parameters.yml", "xgboost_regression", "mine")
    edit(shop, "src/shop/pipeline_registry.py", 'model="mass_model", ', "")
    pinned = [wheel(name, metadata.version(name).partition("+")[0]) for name in ("numpy", "pandas", "pyarrow", "scikit-learn")]
    user, password, query = "reader", "PLANTED/password", "PLANTEDquery"
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    with index(dict([*pinned, wheel("gamma", "1.0")])) as server:
        server.required_header = ("Authorization", f"Basic {basic}")
        host = server.url("").removeprefix("http://").rstrip("/")
        gamma = f"gamma @ http://{user}:{quote(password, safe='')}@{host}/gamma-1.0-py3-none-any.whl?token={query}"
        volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
        defaults = f"defaults: {{gpu: none, index_url: 'http://{host}/simple/', credentials: packages, requirements: ['{gamma}']}}\n"
        shop.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{volume}{defaults}")
        shop.write("conf/runpod/credentials.yml", f"packages: {{username: {user}, password: {password}}}\n")
        planned = shop.kedro("cloudtrain", "plan", "--env=runpod", "--json", "--out=plan.json")
        done = shop.kedro("run", "--runner=cloudtrain", "--env=runpod", "--nodes=train_mass")
        jobs = shop.kedro("cloudtrain", "jobs", "--env=runpod", "--json")
        asked = {request.target.partition("?")[0] for request in server.requests if request.served}
        # And one that is refused.
        server.required_header = ("Authorization", "another")
        edit(shop, "conf/runpod/cloudtrain.yml", "gamma-1.0-py3", "gamma-2.0-py3")
        refused = shop.kedro("run", "--runner=cloudtrain", "--env=runpod", "--nodes=train_mass")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"/gamma-1.0-py3-none-any.whl", "/simple/numpy/"} <= asked
    assert refused.returncode == 1
    outputs = (planned, done, jobs, refused)
    texts = {f"output {number}": output.stdout + output.stderr for number, output in enumerate(outputs)}
    roots = (cloud.bucket, cloud.volume.folder(".cloudtrain").parents[1], *(path for path in shop.path.iterdir() if path.name != "conf"))
    files = [file for root in roots for file in ([root] if root.is_file() else root.rglob("*")) if file.is_file()]
    texts |= {str(file): file.read_bytes().decode(errors="replace") for file in files}
    for call in cloud.runpod.calls:
        body = dict(call.body or {}) if isinstance(call.body, dict) else {}
        environment = body.pop("env", {})
        texts[f"{call.method} {call.path}"] = json.dumps(body)
        if (call.method, call.path) == ("POST", "/v2/pods"):
            assert query in json.dumps(environment)
    assert [place for place, text in texts.items() if re.search("PLANTED(.{1,3}password|query)", text)] == []
    assert any(place.endswith(".tar") for place in texts)
    assert any(place.endswith("machine.json") for place in texts)
