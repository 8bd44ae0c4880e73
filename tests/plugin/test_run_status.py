"""Kedro-Viz shows the pipeline, the previews and the status of a run on machines."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import node
from support.kedro_project import Project

from kedro_cloudtrain.plugin.run_status import RunStatus

_VIZ_STARTS_WITHIN_S = 160


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Project:
    from support.kedro_project import make_project

    project = make_project(tmp_path_factory.mktemp("viz"))
    done = project.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 0, done.stderr
    assert "Workflow tracking is disabled" not in done.stdout + done.stderr
    return project


def test_a_run_leaves_each_nodes_state_and_time(ran: Project) -> None:
    events = json.loads((ran.path / ".viz/kedro_pipeline_events.json").read_text())
    done = {event["node"]: event for event in events if event["event"] == "after_node_run"}
    assert set(done) == {"train_mass", "summarise"}
    assert done["train_mass"]["duration"] > 0
    # What the machine has read is not skipped, and each dataset was loaded once.
    loaded = [event["dataset"] for event in events if event["event"] == "after_dataset_loaded"]
    assert sorted(loaded) == ["mass_metrics", "params:mass", "penguins"]
    assert events[0]["event"] == "before_pipeline_run"
    assert events[-1]["event"] == "after_pipeline_run"
    assert {event["dataset"]: event["size"] for event in events if event["event"] == "after_dataset_saved"}["mass_model"] > 1000


def test_a_failed_run_leaves_why(ran: Project) -> None:
    ran.kedro("run", "--runner=cloudtrain", "--params", "mass.target_column=nothing")
    events = json.loads((ran.path / ".viz/kedro_pipeline_events.json").read_text())
    (failed,) = [event for event in events if event["event"] == "on_node_error"]
    assert "no column `nothing`" in failed["error"]
    assert events[-1]["event"] == "on_pipeline_error"
    assert ran.kedro("run", "--runner=cloudtrain").returncode == 0


def test_the_built_pages_hold_the_previews(ran: Project) -> None:
    done = ran.kedro("viz", "build", "--include-previews")
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [json.loads(path.read_text()) for path in (ran.path / "build/api/nodes").iterdir()]
    previews = {page["preview_type"]: page["preview"] for page in pages if page.get("preview") and "preview_type" in page}
    # A training node shows its receipt and its script.
    (panel,) = [page["preview"]["content"] for page in pages if page.get("preview") and "preview_type" not in page]
    assert "# train_mass in run " in panel
    assert "rmse" in panel.splitlines()[1]
    assert "import xgboost" in panel
    texts = [str(page["preview"]) for page in pages if page.get("preview_type") == "JSONPreview"]
    assert previews["TablePreview"]["columns"][0] == "species"
    assert [trace["name"] for trace in previews["PlotlyPreview"]["data"]] == ["train rmse", "validation rmse"]
    assert any("rmse" in text for text in texts)
    axes = previews["PlotlyPreview"]["layout"]
    assert (axes["xaxis"]["title"]["text"], axes["yaxis"]["title"]["text"]) == ("round", "rmse")
    assert axes["annotations"][0]["text"].startswith("best round ")
    assert any("feature" in text and "xgboost" in text for text in texts)


def test_a_running_page_shows_the_status(ran: Project) -> None:
    port = _free_port()
    command = [sys.executable, "-m", "kedro", "viz", "run", "--no-browser", "--host", "127.0.0.1", "--port", str(port)]
    with (ran.path / "viz.log").open("w+") as log:
        # Kedro-Viz serves in a child of its own, which ends with the group alone.
        server = subprocess.Popen(command, cwd=ran.path, env=ran.environment(), stdout=log, stderr=log, start_new_session=True)
        try:
            status = _ask(server, f"http://127.0.0.1:{port}/api/run-status")
            main = _ask(server, f"http://127.0.0.1:{port}/api/main")
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            log.seek(0)
            print(log.read())
    nodes = {item["id"]: item["name"] for item in main["nodes"]}
    named = {nodes[identifier]: node_status for identifier, node_status in status["nodes"].items()}
    assert named["train_mass"]["status"] == "success"
    assert named["train_mass"]["duration"] > 0  # the run before had done the work
    assert status["pipeline"]["status"] == "success"


def _free_port() -> int:
    # Kedro-Viz accepts no port above 49151, where the kernel's own choice often is.
    for port in random.sample(range(20_000, 32_000), 50):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def _ask(server: subprocess.Popen, url: str) -> dict:
    give_up_at = time.monotonic() + _VIZ_STARTS_WITHIN_S
    while time.monotonic() < give_up_at:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None, "kedro viz run has ended"
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer within {_VIZ_STARTS_WITHIN_S} s")


def test_without_kedro_viz_nothing_is_written(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kedro_viz.utils", None)
    status = RunStatus(tmp_path, DataCatalog({}))
    status.run_started()
    status.node_done(node(len, "a", "b", name="n"))
    assert list(tmp_path.iterdir()) == []
