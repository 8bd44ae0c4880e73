"""A rehearsal is RunPod on this computer: what would break on a pod breaks in it, and nothing of it is taken for real."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.cloud import Cloud
from support.kedro_project import Project
from support.waiting import wait_until

from kedro_cloudtrain.config import VolumeSettings
from kedro_cloudtrain.errors import CapacityError
from kedro_cloudtrain.rehearsal import ACCESS_KEY, API_KEY, Rehearsal, RunPodStandIn, Seed, named_faults, pods
from kedro_cloudtrain.rehearsal.named_faults import NAMED_FAULTS
from kedro_cloudtrain.rehearsed import VARIABLE
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.storage.cache import cache_folder

pytestmark = pytest.mark.measured

NODES = """
import os


def count(parts):
    return {"rows": sum(len(part()) for part in parts.values()), "home": os.path.exists("@HOME@/seen-by-pods")}
"""
WEIGHING = """
from pathlib import Path


def weigh(parts):
    return {"weights": len(Path("@PROJECT@/conf/weights.csv").read_text()), "of": len(parts)}
"""
REGISTRY = """
from kedro.pipeline import Pipeline, node
from shop.nodes import count
from shop.weighing import weigh


def register_pipelines():
    pipeline = Pipeline([node(count, "parts", "counts", name="count"), node(weigh, "parts", "weights", name="weigh")])
    return {"__default__": pipeline}
"""
CATALOG = """
parts: {type: partitions.PartitionedDataset, path: data/parts, dataset: pandas.CSVDataset, filename_suffix: .csv}
counts: {type: json.JSONDataset, filepath: data/counts.json}
weights: {type: json.JSONDataset, filepath: data/weights.json}
"""
RUNPOD = """
backend: runpod
volume: {id: abc123xyz, data_center: EU-CZ-1, endpoint_url: "https://unreachable.invalid"}
defaults: {install: false, gpu: [NVIDIA Unheard-Of 96GB, NVIDIA L4], max_cost_usd: 30}
nodes: {count: {gpu: none}, weigh: {}}
"""


@pytest.fixture
def shop(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of two functions: one is fit for a pod, the other opens a file of the project by itself."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (project.path / "data/parts").mkdir()
    for name in ("north", "south"):
        (project.path / f"data/parts/{name}.csv").write_text("a,b\n1,2\n3,4\n")
    project.write("conf/weights.csv", "1,2,3\n")
    project.write("src/shop/nodes.py", NODES.replace("@HOME@", str(Path.home())))
    project.write("src/shop/weighing.py", WEIGHING.replace("@PROJECT@", str(project.path)))
    project.write("src/shop/pipeline_registry.py", REGISTRY)
    project.write("conf/base/catalog.yml", CATALOG)
    project.write("conf/runpod/cloudtrain.yml", RUNPOD)
    return project


def rehearse(project: Project, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return project.kedro("cloudtrain", "rehearse", *args, **environment)


def test_what_would_break_on_a_pod_breaks_and_the_rest_works(shop: Project, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept")
    done = rehearse(shop, "--env=runpod", "--keep", kept)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "FileNotFoundError" in output
    assert "conf/weights.csv" in output
    assert "Traceback" not in done.stderr.partition("Rehearsal over")[2]
    assert json.loads((shop.path / "data/counts.json").read_text()) == {"rows": 4, "home": False}
    assert not (shop.path / "data/weights.json").exists()
    # The machine that the settings name is offered, and what it costs is marked.
    assert "NVIDIA Unheard-Of 96GB" in output
    assert "of play money" in done.stdout
    assert f"kedro cloudtrain rehearse --keep {kept} -- kedro cloudtrain logs JOB" in done.stderr
    # Nothing is done twice in what was kept, and no real run takes it for its own.
    shop.write("src/shop/weighing.py", WEIGHING.replace("@PROJECT@/conf/weights.csv", "/dev/null"))
    # The command has the rehearsal's environment. No pod had a GPU, and so nothing was seen of that fault.
    again = rehearse(shop, "--env=runpod", "--fault=no-cuda", "--keep", kept, "--", "kedro", "run", "--runner=cloudtrain", "--nodes=count")
    assert (again.returncode, "The fault no-cuda did not happen: no pod had a GPU." in again.stderr) == (1, True), again.stderr
    assert again.stdout.count("is done already: nothing changed") == 1
    again = rehearse(shop, "--keep", kept, "--", "kedro", "run", "--runner=cloudtrain", "--env=runpod", "--nodes=weigh,count")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("is done already: nothing changed") == 1
    assert "Rehearsal over: 1 pod," in again.stderr
    assert not (cache_folder() / "abc123xyz").exists()
    # The records say what they are, and no dollar of them counts.
    runs = json.loads(shop.kedro("cloudtrain", "runs", "--json").stdout.partition("\n{")[2].join(("{", "")))["runs"]
    assert [run["rehearsed"] for run in runs] == [True, True, True]
    assert "done, rehearsed" in shop.kedro("cloudtrain", "runs").stdout
    assert "of play money" in shop.kedro("cloudtrain", "runs", "show").stdout
    assert "No run has paid for a machine" in shop.kedro("cloudtrain", "cost").stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--env=base"], "environment base has no `backend: runpod`"),
        (["--", "kedro", "run", "-e", "base"], "environment base has no `backend: runpod`"),
        (["--fault=vanishes"], "there is no fault 'vanishes': vanish, never-starts,"),
        (["--fault=vanish:0"], "'vanish:0': write after the colon how many times"),
        (["--fault=vanish:no"], "'vanish:no': write after the colon"),
        (["--seed=nowhere"], "there is no file or folder nowhere"),
        (["--seed=pyproject.toml"], "pyproject.toml is a file. Write the key that it gets"),
        (["--seed=../a=pyproject.toml"], "'../a' is not a key of a volume"),
        (["--seed=/a=pyproject.toml"], "'/a' is not a key of a volume"),
        (["--env=runpod", "--", "nosuchprogram"], "There is no program 'nosuchprogram'"),
        (["--env=runpod", "--", "kedro", "run", "--env=base"], "--env is runpod, and the command has --env=base: name one"),
        (["--env=runpot"], "There is no environment 'runpot'. Did you mean `runpod`?"),
        (["--env=runpod", "--seed=data/volume", "--keep=data/volume"], "overlap"),
        (["--env=runpod", "--seed=data", "--keep=data/kept"], "overlap"),
        (["--env=runpod", "--seed=data/volume", "--keep=."], "overlap"),
        (["--env=runpod", "--keep=conf"], "--keep conf: the folder has something else in it"),
        (["--env=runpod", "--keep=/proc/kept"], "--keep /proc/kept: the folder cannot be made"),
        (
            ["--env=runpod", "--", "nosuchprogram"],
            "`gpu` names 'NVIDIA Unheard-Of 96GB', and this rehearsal does not know whether RunPod has it",
        ),
        (["--env=bucket"], "keeps its jobs in the bucket jobs, and a rehearsal has network volumes alone"),
    ],
)
def test_a_mistake_is_named_before_anything_begins(shop: Project, args: list[str], message: str) -> None:
    shop.write("conf/bucket/cloudtrain.yml", "backend: runpod\nvolume: {bucket: jobs, region: eu-west-1}\n")
    done = rehearse(shop, *args)
    assert done.returncode in (1, 2)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_rehearsal_ends_its_command_and_its_pods(shop: Project, tmp_path: Path, number: signal.Signals) -> None:
    shop.write("src/shop/weighing.py", "import time\n\n\ndef weigh(parts):\n    time.sleep(600)\n")
    code = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); runpy.run_module('kedro', run_name='__main__')"
    command = [sys.executable, "-c", code, "cloudtrain", "rehearse", "--keep", str(tmp_path / "kept"), "--env=runpod"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(  # type: ignore[call-overload]
        command, cwd=shop.path, env=shop.environment(), text=True, start_new_session=True, **pipes
    )
    jobs = tmp_path / "kept/volumes/abc123xyz/.cloudtrain/jobs"
    try:
        wait_until(lambda: any(jobs.glob("weigh-*/heartbeat.json")) or process.poll() is not None)
    except AssertionError:
        process.terminate()
    if process.poll() is not None or not any(jobs.glob("weigh-*/heartbeat.json")):
        pytest.fail(f"no pod has begun to weigh:\n{process.communicate(timeout=60)[0]}")
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal sends it: to all that were started there
    else:
        process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number, output
    assert "Traceback" not in output
    assert "had not ended" not in output
    assert "of play money" in output


def test_what_leads_a_command_to_a_rehearsal_is_printed_until_ctrl_c(shop: Project) -> None:
    code = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); runpy.run_module('kedro', run_name='__main__')"
    command = [sys.executable, "-c", code, "cloudtrain", "rehearse", "--serve", "--env=runpod"]
    process = subprocess.Popen(command, cwd=shop.path, env=shop.environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    names = []
    for line in process.stdout:
        names += [line.partition("=")[0].removeprefix("export ")] if line.startswith("export ") else []
        if len(names) == 6:
            break
    assert {*names} == {
        "RUNPOD_API_BASE_URL",
        "RUNPOD_API_KEY",
        "RUNPOD_S3_ENDPOINT_URL",
        "RUNPOD_S3_ACCESS_KEY",
        "RUNPOD_S3_SECRET_KEY",
        VARIABLE,
    }
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


# ------------------------------------------------------------------ without a command


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "seeds/.cloudtrain/jobs").mkdir(parents=True)
    (tmp_path / "seeds/datasets").mkdir()
    (tmp_path / "seeds/datasets/penguins.csv").write_text("body_mass_g\n1\n")
    monkeypatch.setattr(named_faults, "_SLOW_S", 0.1)
    with Rehearsal({"abc123xyz": "EU-RO-1"}, [Seed(tmp_path / "seeds"), Seed(tmp_path / "seeds/datasets", "more")]) as opened:
        for name, value in opened.environment.items():
            monkeypatch.setenv(name, value)
        yield opened


def test_a_rehearsal_has_its_seeds_and_not_the_jobs_of_another_volume(rehearsal: Rehearsal) -> None:
    files = {str(file.relative_to(rehearsal.volume())) for file in rehearsal.volume().rglob("*")}
    assert files == {"datasets", "datasets/penguins.csv", "more", "more/penguins.csv"}


def test_whatever_is_set_the_real_volume_and_the_users_caches_are_not_touched(rehearsal: Rehearsal, tmp_path: Path) -> None:
    real = {"id": "abc123xyz", "data_center": "EU-RO-1", "endpoint_url": "https://unreachable.invalid"}
    volume = VolumeSettings.model_validate(real).make(tmp_path)
    assert volume.read_bytes("datasets/penguins.csv") == b"body_mass_g\n1\n"  # type: ignore[union-attr]
    assert cache_folder() == rehearsal.folder / "cache"
    assert ACCESS_KEY in os.environ.values()
    assert API_KEY in os.environ.values()


# What becomes of a job: how many pods it takes, or the error that ends it; and what is written.
BECOMES = {
    "vanish": (2, "vanished"),
    "never-starts": (2, "never started within startup_timeout_s"),
    "loops": (2, "loops: its container has started"),
    "errors": (2, "is in the state ERROR"),
    "no-cuda": (1, ""),
    "dear": (CapacityError, "billed at $1.40/h instead of $0.14/h"),
    "cannot-end": (1, ""),
    "no-capacity": (CapacityError, ""),
    "lost-answer": (1, ""),
    "api-down": (1, ""),
    "api-slow": (1, ""),
    "cannot-terminate": (1, ""),
    "volume-down": (1, ""),
}


# A job without a GPU has no occasion for the first, and no pod that ends itself for the second.
HAPPENS = set(NAMED_FAULTS) - {"no-cuda", "cannot-terminate"}


@pytest.mark.parametrize("name", NAMED_FAULTS)
def test_each_fault_happens_and_the_client_answers_it(rehearsal: Rehearsal, name: str, caplog: pytest.LogCaptureFixture) -> None:
    cloud = Cloud(rehearsal.runpod, rehearsal.s3, "abc123xyz", rehearsal.environment)
    # A pod has the time to end itself.
    backend = cloud.backend(release_s=60.0)
    backend._api._pause = lambda seconds: time.sleep(min(seconds, 0.02))  # type: ignore[method-assign]
    job_may = {"startup_timeout_s": 2, "wait_for_capacity_s": 0, "max_price_per_hour_usd": 1.0}
    expected, text = BECOMES[name]
    job = cloud.job(body="import time; time.sleep(0.7)", **job_may)
    fault = named_faults.plan_fault(name, rehearsal.runpod, rehearsal.s3)
    with pytest.raises(expected) if isinstance(expected, type) else contextlib.nullcontext() as raised:
        job.run(backend, Row("train", "mine", "penguins"), cloud.receipts)
    message = raised.value.message if raised is not None else ""
    assert text in f"{message} {caplog.text}"
    assert isinstance(expected, type) or len(rehearsal.pods) == expected
    wait_until(fault.happened if name in HAPPENS else lambda: not rehearsal.runpod.living)
    backend.close()
    assert fault.happened() == (1 if name in HAPPENS else 0)
    assert rehearsal.runpod.living == []
    assert (rehearsal.cost_usd > 0) is bool(rehearsal.pods)


def test_every_fault_is_in_the_help_and_in_the_page() -> None:
    from kedro_cloudtrain.commands.rehearse import rehearse as command

    (option,) = [parameter for parameter in command.params if parameter.name == "faults"]
    page = (Path(__file__).parents[2] / "docs/how-to/rehearse.md").read_text()
    for name, fault in NAMED_FAULTS.items():
        assert name in str(option.help)  # type: ignore[attr-defined]
        assert f"`{name}`" in page
        if not name.startswith("api-"):
            assert fault.about in page


def test_a_user_who_may_hide_nothing_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kedro_cloudtrain.commands.rehearse import _introduce

    for commands, warns in (((), False), (None, True)):
        monkeypatch.setattr(pods, "_in_namespaces", lambda commands=commands: commands)
        with Rehearsal({"abc123xyz": "EU-RO-1"}, folder=tmp_path) as opened:
            _introduce(opened)
        assert ("This user may not hide files from the pods" in capsys.readouterr().err) is warns


@pytest.mark.skipif(not pods.namespaces_work(), reason="this user may not mount")
def test_pods_are_isolated_for_a_user_who_is_root_in_a_namespace_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volumes").mkdir()
    monkeypatch.setattr(pods, "_in_namespaces", lambda: ("unshare", "--user", "--map-root-user", *pods._UNSHARE))
    with RunPodStandIn(tmp_path / "volumes") as runpod:
        (tmp_path / "volumes/abc123xyz/here").touch()
        mounts = {"network": [{"volumeId": "abc123xyz", "path": "/workspace"}]}
        args = f"sh -c 'ls /workspace; ls {tmp_path} || echo hidden; sleep 5'"
        pod = runpod.create({"name": "a", "image": "any", "args": args, "cpu": {"id": "cpu5c", "vcpuCount": 2}, "mounts": mounts})
        wait_until(lambda: len(pod.lines) >= 2)
    printed = [line for _, _, line in pod.lines]
    assert printed[0] == "here"
    assert "hidden" in printed
