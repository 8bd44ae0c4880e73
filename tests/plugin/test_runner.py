"""`kedro run --runner=cloudtrain` as a user types it, and the runner as Kedro calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from kedro.framework.hooks import hook_impl
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from support.http_server import Server
from support.kedro_project import Project, start
from support.waiting import wait_until

from kedro_cloudtrain import CloudTrainRunner, training_node
from kedro_cloudtrain.backends import local
from kedro_cloudtrain.errors import ConfigError, JobCancelledError, JobFailedError, JobTimeoutError, SourceError
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.nodes import TrainingFunction

PARAMETERS = {
    "model_type": "lightgbm_regression",
    "target_column": "y",
    "hyperparameters": {"n_estimators": 8, "min_data_in_leaf": 2},
    "validation": {"fraction": 0.25},
}
FRAME = pd.DataFrame({"x": range(80), "y": [value * 2.0 for value in range(80)]})


def catalog(tmp_path: Path, **parameters: object) -> DataCatalog:
    (tmp_path / "data/volume/d").mkdir(parents=True, exist_ok=True)
    FRAME.to_csv(tmp_path / "data/volume/d/t.csv", index=False)
    config = {
        "table": {"type": "kedro_cloudtrain.CloudDataset", "dataset_key": "d/t.csv", "volume": {"path": str(tmp_path / "data/volume")}},
        "model": {"type": "kedro_cloudtrain.ModelDataset", "filepath": str(tmp_path / "model")},
        "metrics": {"type": "kedro_cloudtrain.MetricsDataset", "filepath": str(tmp_path / "metrics.json")},
    }
    made = DataCatalog.from_config(config)
    made["params:p"] = MemoryDataset({**PARAMETERS, **parameters})
    return made


def train(data: str = "table", **more: str) -> Pipeline:
    return Pipeline([training_node(data, "params:p", **{"model": "model", "metrics": "metrics", "name": "train", **more})])


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # This process is measured; its jobs have their worker from an archive, and would only be slower.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


def run(pipeline: Pipeline, data: DataCatalog, *plugins: object, **params: object) -> CloudTrainRunner:
    manager = _create_hook_manager()
    for plugin in plugins:
        manager.register(plugin)
    runner = CloudTrainRunner(**params)
    runner.run(pipeline, data, manager, run_id="r1")
    return runner


class Recorder:
    """Hooks that note what they hear."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @hook_impl
    def before_dataset_loaded(self, dataset_name: str) -> None:
        self.calls.append(f"load {dataset_name}")

    @hook_impl
    def before_node_run(self, node: object, inputs: dict[str, object]) -> None:
        self.calls.append(f"run {sorted(inputs)}")

    @hook_impl
    def after_node_run(self, outputs: dict[str, object]) -> None:
        self.calls.append(f"ran {sorted(outputs)}")

    @hook_impl
    def on_node_error(self, error: Exception) -> None:
        self.calls.append(f"error {type(error).__name__}")

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        self.calls.append(f"saved {dataset_name}")


def test_a_training_node_has_the_hooks_of_any_node_and_its_table_is_not_loaded(tmp_path: Path) -> None:
    hooks, data = Recorder(), catalog(tmp_path)
    runner = run(train(), data, hooks)
    assert hooks.calls == ["load params:p", "run ['params:p', 'table']", "ran ['metrics', 'model']", "saved model", "saved metrics"]
    assert len(data.load("model").predict(FRAME)) == 80
    assert set(data.load("metrics")) >= {"rmse", "r2"}
    (receipt,) = runner.receipts
    assert (receipt.state, receipt.rows, receipt.where) == (JobState.SUCCEEDED, 80, "local")
    assert set(receipt.seconds) == {"render", "start", "read", "fit", "save"}
    assert receipt.bytes_read == (tmp_path / "data/volume/d/t.csv").stat().st_size
    assert 0 < receipt.bytes_passed < 256_000


def test_the_job_folder_is_the_job_and_runs_by_hand(tmp_path: Path) -> None:
    run(train(), catalog(tmp_path))
    (folder,) = (tmp_path / "data/volume/.cloudtrain/jobs").iterdir()
    assert folder.name.startswith("train-")
    assert {"job.json", "train.py", "worker.zip", "machine.json", "log.txt", "progress.jsonl", "outputs", "result.json"} <= {
        path.name for path in folder.iterdir()
    }
    before = json.loads((folder / "outputs/metrics.json").read_text())
    (folder / "outputs/metrics.json").unlink()
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, capture_output=True, timeout=60)
    assert json.loads((folder / "outputs/metrics.json").read_text()) == before


def test_what_exists_only_here_is_sent_along(tmp_path: Path) -> None:
    data = catalog(tmp_path)
    data["frame"] = MemoryDataset(FRAME)
    made = Pipeline([node(lambda frame: frame.assign(z=1), "frame", "bigger", name="make"), *train("bigger").nodes])
    runner = run(made, data)
    (folder,) = (tmp_path / "data/volume/.cloudtrain/jobs").iterdir()
    (sent,) = (tmp_path / "data/volume/.cloudtrain/inputs").iterdir()
    assert f'DATASET_FILE = "inputs/{sent.name}"' in (folder / "train.py").read_text()
    assert runner.receipts[0].rows == 80


def test_an_override_of_a_hook_reaches_the_machine(tmp_path: Path) -> None:
    class Override:
        @hook_impl
        def before_node_run(self) -> dict[str, object]:
            return {"params:p": {**PARAMETERS, "hyperparameters": {"n_estimators": 3}}}

    run(train(), catalog(tmp_path), Override())
    (folder,) = (tmp_path / "data/volume/.cloudtrain/jobs").iterdir()
    assert len((folder / "progress.jsonl").read_text().splitlines()) == 3


def test_a_changed_parameter_is_another_job_and_the_same_one_is_the_same(tmp_path: Path) -> None:
    for rounds in (3, 3, 4):
        run(train(), catalog(tmp_path, hyperparameters={"n_estimators": rounds}))
        os.utime(tmp_path / "data/volume/d/t.csv", ns=(1, 1))
    # The first run saw the file's own time of modification, the second and third the one that was set.
    assert len(list((tmp_path / "data/volume/.cloudtrain/jobs").iterdir())) == 3


def test_a_validation_table_is_an_input_of_its_own(tmp_path: Path) -> None:
    data = catalog(tmp_path, validation={"dataset": "held"})
    data["held"] = MemoryDataset(FRAME.head(7))
    runner = run(train(validation="held", predictions="rows"), data)
    assert len(data.load("rows")) == 7
    assert runner.receipts[0].state is JobState.SUCCEEDED
    with pytest.raises(ConfigError, match='validation="held"'):
        run(train(), catalog(tmp_path, validation={"dataset": "held"}))
    data["params:p"] = MemoryDataset(PARAMETERS)
    with pytest.raises(ConfigError, match=r"`validation.fraction` asks for others"):
        run(train(validation="held"), data)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model_type": "lightgbm_regresion"}, "Did you mean `lightgbm_regression`"),
        ({"hyperparameters": {"num_leafs": 3}}, "not a hyperparameter of lightgbm"),
        ({"feature_column": ["x"]}, r"`feature_column` is not a setting. Did you mean `feature_columns`"),
        ({"feature_columns": ["x", "x"]}, "twice"),
        ({"feature_columns": []}, "at least one column"),
        ({"feature_columns": ["x", "part"], "validation": {"column": "part"}}, "is validation.column, which marks the part"),
        ({"feature_columns": ["x", "y"]}, "among `feature_columns`"),
        ({"validation": {"fraction": 1.5}}, "less than 1"),
        ({"validation": {"column": "a", "fraction": 0.5}}, "means nothing beside"),
        ({"validation": {"column": "a", "time_column": "b"}}, "exclude one another"),
        ({"validation": {"fraction": 0.7, "test_fraction": 0.4}}, "leave no rows"),
        ({"target_column": ""}, "at least 1 character"),
    ],
)
def test_a_bad_parameter_ends_the_run_before_any_node(parameters: dict[str, object], message: str, tmp_path: Path) -> None:
    hooks = Recorder()
    with pytest.raises(ConfigError, match=message):
        run(train(), catalog(tmp_path, **parameters), hooks)
    assert hooks.calls == []
    assert not (tmp_path / "data/volume/.cloudtrain").exists()


def test_parameters_that_are_no_mapping_are_refused(tmp_path: Path) -> None:
    data = catalog(tmp_path)
    data["params:p"] = MemoryDataset("species")
    with pytest.raises(ConfigError, match=r"`p` in parameters.yml is 'species'"):
        run(train(), data)


def test_parameters_of_another_node_are_checked_when_they_are_there(tmp_path: Path) -> None:
    data = catalog(tmp_path)
    choose = node(lambda: {**PARAMETERS, "hyperparameters": {"wrong": 1}}, None, "chosen", name="choose")
    with pytest.raises(ConfigError, match=r"`hyperparameters.wrong`"):
        run(Pipeline([choose, training_node("table", "chosen", metrics="metrics", name="train")]), data)


def test_a_mistake_in_the_data_is_a_source_error_and_nothing_is_saved(tmp_path: Path) -> None:
    hooks, data = Recorder(), catalog(tmp_path, target_column="price")
    with pytest.raises(SourceError, match=r"(?s)^train: .*no column `price`.*Its data is `table` of the catalog.*`p` in parameters.yml"):
        run(train(), data, hooks)
    assert hooks.calls[-1] == "error SourceError"
    assert not data.exists("model")
    assert not data.exists("metrics")


def test_a_failing_script_gives_its_traceback_the_log_and_the_next_step(tmp_path: Path) -> None:
    write_template(tmp_path, "with TrainingJob(__file__, 'lightgbm', 'regression', {}) as job:\n    print('I was here')\n    1 / 0\n")
    with pytest.raises(JobFailedError) as caught:
        run(train(), catalog(tmp_path, model_type="mine"))
    message = str(caught.value)
    assert "ZeroDivisionError: division by zero" in message
    assert "    I was here" in message
    assert "kedro cloudtrain logs train-" in message
    assert f"cd {tmp_path / 'data/volume/.cloudtrain/jobs'}" in message
    # The first line names the error for records and notices; the traceback is there once, and the log does not repeat it.
    assert message.partition("\n")[0].endswith("failed in its read stage: ZeroDivisionError: division by zero")
    assert (message.count("Traceback"), message.count("ZeroDivisionError")) == (1, 2)


def write_template(project: Path, body: str, name: str = "mine", head: str = "from cloudtrain_worker import TrainingJob") -> None:
    (project / "templates").mkdir(exist_ok=True)
    begin = "import sys\nsys.path.insert(0, 'worker.zip')\n"
    (project / f"templates/{name}.py.j2").write_text(f"{begin}{head}\n{body}")


def test_a_script_that_cannot_begin_is_failed_and_a_killed_one_is_lost(tmp_path: Path) -> None:
    write_template(tmp_path, "", head="import a_library_that_is_not_there")
    with pytest.raises(JobFailedError, match="No module named 'a_library_that_is_not_there'"):
        run(train(), catalog(tmp_path, model_type="mine"))
    write_template(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", name="killed")
    with pytest.raises(Exception, match="was killed by SIGKILL") as caught:
        run(train(), catalog(tmp_path, model_type="killed"))
    assert type(caught.value).__name__ == "JobLostError"
    write_template(tmp_path, "", name="silent")
    with pytest.raises(Exception, match="left no result"):
        run(train(), catalog(tmp_path, model_type="silent"))


def test_a_job_that_leaves_less_than_it_was_asked_for_is_told(tmp_path: Path) -> None:
    write_template(tmp_path, "with TrainingJob(__file__, 'lightgbm', 'regression', {}) as job:\n    pass\n")
    with pytest.raises(Exception, match="has left no model"):
        run(train(), catalog(tmp_path, model_type="mine"))


def test_the_deadline_ends_the_job_and_its_children(tmp_path: Path) -> None:
    write_template(tmp_path, CHILD, head="import subprocess, time")
    began = time.monotonic()
    with pytest.raises(JobTimeoutError, match=r"deadline of 1.5 s"):
        run(train(), catalog(tmp_path, model_type="mine"), timeout_s=1.5)
    assert time.monotonic() - began < 120  # and not the 987 s that it would take
    assert not left_running(tmp_path)


CHILD = "subprocess.Popen(['sleep', '987'])\nprint('begun', flush=True)\ntime.sleep(987)\n"


def left_running(folder: Path) -> list[str]:
    """Return the processes that have a folder as their own or below it."""
    folders = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(f"{folder}/"):
                folders.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return folders


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_termination_end_everything_before_the_command_ends(number: signal.Signals, project: Project) -> None:
    write_template(project.path, CHILD, head="import subprocess, time")
    project.write("conf/base/parameters.yml", "mass: {model_type: mine, target_column: body_mass_g}\n")
    process = start(project)
    wait_until(lambda: project.jobs and "begun" in _text(project.jobs[0] / "log.txt"))
    assert left_running(project.path)
    process.send_signal(number)
    output, _ = process.communicate(60)
    assert process.wait() != 0
    assert not left_running(project.path)
    assert "Interrupted. Finished jobs, trials and groups are kept" in " ".join(output.split())
    # Ctrl-C takes two seconds at most: a job has half of them, and all jobs have the same half.
    assert local._GRACE_S <= 1


SERVICE = """
import signal, sys, threading, time
import click
from click.testing import CliRunner
from kedro_cloudtrain.plugin import ending

signal.signal(signal.SIGINT, signal.default_int_handler)
ending._WITHIN_S = 0.5


def send(number=signal.SIGINT):
    signal.raise_signal(number)


def hang():
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            time.sleep(5)
        except BaseException:
            pass


@click.command()
def run():
    with ending.Ending().by_signals():
        <within>


<around>
print("goes on", flush=True)
time.sleep(1)
print("is alive", flush=True)
"""
CALLED = "CliRunner().invoke(run)"


@pytest.mark.parametrize(
    ("within", "around", "code", "printed"),
    [
        ("send()", CALLED, 0, "goes on is alive"),
        ("send(signal.SIGTERM)", CALLED, 0, "goes on is alive"),
        ("try: send()\n        except SystemExit: raise ValueError", CALLED, 0, "goes on is alive"),
        # The service's own handler is its own affair.
        ("send(); time.sleep(1)", f"signal.signal(signal.SIGINT, lambda *_: None); {CALLED}", 0, "goes on is alive"),
        # What hangs ends: within the run, whatever other signals come, and where Python waits for threads.
        ("threading.Timer(0.1, send).start(); hang()", CALLED, 130, ""),
        ("send(signal.SIGTERM)", "threading.Timer(0, hang).start(); run()", 143, ""),
        (
            "threading.Timer(0.1, send).start(); hang()",
            f"signal.signal(signal.SIGALRM, lambda *_: 1); signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2); {CALLED}",
            130,
            "",
        ),
    ],
)
def test_a_signal_ends_what_hangs_and_no_service_that_goes_on(within: str, around: str, code: int, printed: str) -> None:
    program = SERVICE.replace("<within>", within).replace("<around>", around)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()) == (code, printed.split()), done.stderr
    assert time.monotonic() - began < 4.5


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_a_closed_backend_starts_nothing(tmp_path: Path) -> None:
    from kedro_cloudtrain.backends.local import LocalBackend
    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.running.display import Row
    from kedro_cloudtrain.running.prepare import prepare
    from kedro_cloudtrain.running.training import TrainingOrder
    from kedro_cloudtrain.storage.directory import DirectoryVolume

    backend = LocalBackend()
    backend.close()
    parameters = TrainingParameters.parse(PARAMETERS, "here")
    training = TrainingOrder("train", parameters, FRAME, ("metrics",), DirectoryVolume(tmp_path / "v"))
    job, receipts = prepare(training, TrainingScriptGenerator()), []
    with pytest.raises(JobCancelledError):
        job.run(backend, Row("train", "lightgbm", "a table"), receipts)
    assert receipts[0].state is JobState.CANCELLED
    assert job.folder.state() is JobState.WAITING


def test_two_clients_of_one_job_take_turns(tmp_path: Path) -> None:
    states: list[dict[str, object]] = []

    def client(number: int) -> None:
        data = catalog(tmp_path)
        data["metrics"] = MemoryDataset()
        os.utime(tmp_path / "data/volume/d/t.csv", ns=(1, 1))
        run(train(metrics="metrics", model=""), data)
        states.append(data.load("metrics"))

    catalog(tmp_path)
    os.utime(tmp_path / "data/volume/d/t.csv", ns=(1, 1))
    first = threading.Thread(target=client, args=(1,))
    first.start()
    first.join()
    client(2)
    assert len(states) == 2
    assert states[0] == states[1]


def test_without_our_runner_the_same_node_trains_here(tmp_path: Path) -> None:
    from kedro.runner import SequentialRunner

    data = catalog(tmp_path)
    SequentialRunner().run(train(), data)
    plain = data.load("metrics")
    run(train(), data)
    assert data.load("metrics") == pytest.approx(plain)


def test_a_url_is_read_by_the_machine_with_its_secret_and_no_file_holds_it(tmp_path: Path) -> None:
    content = FRAME.to_csv(index=False).encode()
    with Server({"t.csv": content}, required_header=("Authorization", "Bearer planted-1")) as server:
        config = {
            "table": {
                "type": "kedro_cloudtrain.CloudDataset",
                "dataset_url": server.url("t.csv?token=planted-2"),
                "credentials": {"headers": {"Authorization": "Bearer planted-1"}},
            },
            "metrics": {"type": "kedro_cloudtrain.MetricsDataset", "filepath": str(tmp_path / "metrics.json")},
        }
        data = DataCatalog.from_config(config)
        data["params:p"] = MemoryDataset(PARAMETERS)
        runner = run(Pipeline([training_node("table", "params:p", metrics="metrics", name="train")]), data)
        assert runner.receipts[0].bytes_read == len(content)
        assert any("token=planted-2" in request.target for request in server.requests)
    for file in (tmp_path / "data").rglob("*"):
        if file.is_file():
            assert b"planted" not in file.read_bytes(), file


def test_ordinary_pipelines_run_as_under_kedros_own_runner(caplog: pytest.LogCaptureFixture) -> None:
    data = DataCatalog({"a": MemoryDataset(1)})
    pipeline = Pipeline([node(lambda a: a + 1, "a", "b", name="one"), node(lambda b: b * 2, "b", "c", name="two")])
    for params in ({}, {"max_workers": 2}):
        output = CloudTrainRunner(**params).run(pipeline, data)
        assert output["c"].load() == 4
    assert "Completed 2 out of 2 tasks" in caplog.text
    # A ValueError, as Kedro's own runner raises it, and an error that a command shows without a stack.
    with pytest.raises(ValueError, match="max_workers should be positive") as raised:
        CloudTrainRunner(max_workers=0)
    assert isinstance(raised.value, ConfigError)


def test_a_failure_hints_at_where_to_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def boom(metrics: object) -> None:
        raise RuntimeError("boom")

    made = Pipeline([*train().nodes, node(boom, "metrics", None, name="boom")])
    with pytest.raises(RuntimeError, match="boom"):
        run(made, catalog(tmp_path))
    assert '--from-nodes "boom"' in caplog.text


def test_only_missing_outputs_leaves_a_trained_model_alone(tmp_path: Path) -> None:
    data = catalog(tmp_path)
    run(train(), data)
    runner = CloudTrainRunner()
    runner.run(train(), data, _create_hook_manager(), only_missing_outputs=True)
    assert runner.receipts == []


def test_an_unknown_runner_parameter_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`max_pod` is not a runner parameter. Did you mean `max_pods`"):
        run(train(), catalog(tmp_path), max_pod=3)


def test_two_jobs_at_once_share_the_cores(tmp_path: Path) -> None:
    body = "import os, pathlib\npathlib.Path('threads').write_text(os.environ.get('OMP_NUM_THREADS', ''))\nraise SystemExit(3)\n"
    write_template(tmp_path, body, head="")
    for params in ({}, {"max_pods": 2}):
        with pytest.raises(JobFailedError, match="exit code 3"):
            run(train(), catalog(tmp_path, model_type="mine"), **params)
        folder = max((tmp_path / "data/volume/.cloudtrain/jobs").iterdir(), key=lambda path: path.stat().st_mtime)
        expected = "" if not params else str(max(1, (os.cpu_count() or 1) // 2))
        assert (folder / "threads").read_text() == os.environ.get("OMP_NUM_THREADS", expected)


def test_a_node_that_gives_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no outputs"):
        training_node("table", "params:p")
    assert TrainingFunction(("model",)) == TrainingFunction(("model",))
    assert repr(TrainingFunction(("model",))) == "TrainingFunction(model)"
    assert len({TrainingFunction(("model",)), TrainingFunction(("model",))}) == 1


def test_a_namespace_keeps_the_roles_of_inputs_and_outputs(tmp_path: Path) -> None:
    data = catalog(tmp_path)
    data["params:north.p"] = MemoryDataset(PARAMETERS)
    made = Pipeline(train().nodes, namespace="north", inputs={"table"}, outputs={"metrics"})
    run(made, data)
    assert data.load("metrics")["r2"] > 0.5


def test_each_node_that_fails_is_named_with_its_reason(project: Project) -> None:
    project.write(
        "src/shop/pipeline_registry.py",
        """
        import time
        from pathlib import Path

        from kedro.pipeline import Pipeline, node


        def first(flag):
            while not Path(flag).exists():
                time.sleep(0.05)
            raise ValueError("the first reason")


        def second(flag):
            Path(flag).touch()
            time.sleep(1)
            raise ValueError("the second reason")


        def register_pipelines():
            return {"__default__": Pipeline([node(first, "params:flag", "a", name="a"), node(second, "params:flag", "b", name="b")])}
        """,
    )
    project.write("conf/base/parameters.yml", f"flag: {project.path / 'flag'}\n")
    project.write("conf/base/cloudtrain.yml", "volume: {path: data/volume}\nrun: {max_pods: 2}\nnodes: {a: {}, b: {}}\n")
    done = project.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    printed = " ".join((done.stdout + done.stderr).split())
    assert "the first reason" in printed
    assert "Also failed: b: " in printed
    assert "the second reason" in printed
