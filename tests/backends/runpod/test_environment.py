"""The environment of a pod: made once for the same requirements, and kept on the volume."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cloud import Cloud
from support.http_server import Server
from support.package_index import wheel
from support.waiting import wait_until

from kedro_cloudtrain.backends.runpod.environments import Environments
from kedro_cloudtrain.errors import BudgetExceededError, ConfigError, JobFailedError, JobLostError

WHEEL = "tinyfit-1.0-py3-none-any.whl"


@pytest.fixture
def index() -> Iterator[Server]:
    """A server with a package of one number: no registry is asked."""
    with Server(dict([wheel("tinyfit", "1.0", code="ANSWER = 42\n")])) as server:
        yield server


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs without a library: a pod installs only what the node's settings name."""
    monkeypatch.setattr("kedro_cloudtrain.running.packages.requirements", lambda *_, **__: ())


def environments(cloud: Cloud) -> list[Path]:
    return list((cloud.bucket / ".cloudtrain/environments").glob("*.tar"))


def log(cloud: Cloud) -> str:
    (folder,) = cloud.volume.folder(".cloudtrain/jobs").iterdir()
    return (folder / "log.txt").read_text()


@pytest.mark.usefixtures("no_library")
def test_the_second_pod_with_the_same_requirements_installs_nothing(cloud: Cloud, index: Server) -> None:
    backend = cloud.backend(heartbeat_lost_s=30.0)
    settings = {"install": True, "requirements": [f"tinyfit @ {index.url(WHEEL)}"]}
    body = "import tinyfit; print('the answer is', tinyfit.ANSWER, sys.prefix)"
    assert Environments(cloud.volume).kept() == []
    cloud.run(backend, body=body, **settings)
    wait_until(lambda: "the answer is 42" in log(cloud))  # the pod writes what its job has printed, while the result is there already
    (environment,) = environments(cloud)
    assert environment.stem in log(cloud)
    index.files.clear()
    cloud.run(backend, body=body, **settings)
    assert "exists: nothing to install" in log(cloud)
    assert environments(cloud) == [environment]
    backend.close()
    (kept,) = Environments(cloud.volume).kept()
    assert (kept.name, kept.size_bytes) == (environment.stem, environment.stat().st_size)
    Environments(cloud.volume).delete(kept)
    assert not list(environment.parent.glob("*"))
    assert Environments(cloud.volume).kept() == []


@pytest.mark.usefixtures("no_library")
def test_a_cpu_pod_prepares_the_environment_before_a_gpu_is_paid_for(cloud: Cloud, index: Server, tmp_path: Path) -> None:
    backend = cloud.backend(heartbeat_lost_s=30.0)
    settings = {"install": True, "requirements": [f"tinyfit @ {index.url(WHEEL)}"], "prepare": True, "gpu": "NVIDIA L4"}
    cloud.run(backend, body="import tinyfit", **settings)
    cpu, gpu = cloud.runpod.pods.values()
    assert (cpu.request.gpu, gpu.request.cpu) == (None, None)
    assert cpu.request.image == gpu.request.image
    assert cpu.request.mounts.network == gpu.request.mounts.network
    (log_of_gpu,) = (cloud.bucket / ".cloudtrain/jobs").glob("train-*/log.txt")
    assert "exists: nothing to install" in log_of_gpu.read_text()
    # The node's receipt has both, one after the other.
    assert [use.machine for use in cloud.receipts[-1].machines] == ["cpu5c with 4 vCPUs", "NVIDIA L4"]
    # The volume has it from then on, and another node asks for a GPU alone.
    cloud.run(backend, "another", body="import tinyfit; print(2)", **settings)
    assert [pod.request.gpu is None for pod in cloud.runpod.pods.values()] == [True, False, False]
    backend.close()


@pytest.mark.usefixtures("no_library")
@pytest.mark.parametrize("fault", ["no release", "no package", "no capacity", "too dear"])
def test_an_environment_that_cannot_be_prepared(
    cloud: Cloud, index: Server, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    wheel_url = index.url(WHEEL) if fault != "no package" else f"file://{tmp_path}/tinyfit-1.0-py3-none-any.whl"
    requirement = {"no release": "tinyfit==9.0"}.get(fault, f"tinyfit @ {wheel_url}")
    limits = {"max_cost_usd": 0.00001} if fault == "too dear" else {}
    settings = {"install": True, "requirements": [requirement], "prepare": True, "gpu": "NVIDIA L4", **limits}
    if fault == "no release":
        settings["index_url"] = index.url("simple")
    backend = cloud.backend(heartbeat_lost_s=30.0)
    expected = {"no release": ConfigError, "no package": JobFailedError, "too dear": BudgetExceededError}.get(fault)
    if fault == "no capacity":
        cloud.runpod.faults.no_capacity(gpu=None, times=1)
    with contextlib.nullcontext() if expected is None else pytest.raises(expected):
        cloud.run(backend, body="import tinyfit", **settings)
    gpus = [pod for pod in cloud.runpod.pods.values() if pod.request.gpu is not None]
    assert len(gpus) == (fault == "no capacity")
    assert ("The pod with the GPU makes its environment itself." in caplog.text) == (fault == "no capacity")
    backend.close()


@pytest.mark.usefixtures("no_library")
def test_two_pods_that_make_the_same_environment_at_once_do_not_disturb_each_other(cloud: Cloud, index: Server) -> None:
    from concurrent.futures import ThreadPoolExecutor

    backend = cloud.backend(jobs=2, heartbeat_lost_s=30.0)
    settings = {"install": True, "requirements": [f"tinyfit @ {index.url(WHEEL)}"]}
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(cloud.run, backend, name, "import tinyfit", **settings) for name in ("one", "two")]
        assert [run.result()["rmse"] for run in runs] == [1.5, 1.5]
    assert len(environments(cloud)) == 1
    backend.close()
    wait_until(lambda: not cloud.runpod.living)


@pytest.mark.usefixtures("no_library")
def test_packages_that_cannot_be_installed_fail_with_the_error_of_uv(cloud: Cloud, tmp_path: Path) -> None:
    backend = cloud.backend(heartbeat_lost_s=30.0)
    with pytest.raises(JobFailedError, match="packages cannot be installed") as raised:
        cloud.run(backend, install=True, requirements=[f"nosuch @ file://{tmp_path}/nosuch-1.0-py3-none-any.whl"])
    assert "nosuch-1.0" in str(raised.value)
    assert environments(cloud) == []
    assert len(cloud.runpod.pods) == 1  # another machine would fail alike
    backend.close()


def test_a_pod_installs_what_its_library_needs_and_no_more(cloud: Cloud) -> None:
    requirements = " ".join(cloud.job(install=True).request().requirements)
    for wanted in ("lightgbm==", "pandas==", "numpy==", "scikit-learn=="):
        assert wanted in requirements
    for other in ("xgboost", "catboost", "keras", "tensorflow", "kedro", "torch", "boto3"):
        assert other not in requirements


def test_the_watchdog_terminates_a_pod_whatever_becomes_of_its_client(cloud: Cloud) -> None:
    # The pod is created by hand, with a short life, as if its client were gone.
    from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder

    job = cloud.job(body="import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)")
    remote = RemoteFolder(job.folder, cloud.volume)
    remote.send()
    remote.write_machine({"attempt": "abc", "timeout_s": 600, "lifetime_s": 1.5, "requirements": []})
    args = f"python3 /workspace/{remote.key('bootstrap.py')}"
    mounts = {"network": [{"volumeId": cloud.volume_id, "path": "/workspace"}]}
    environment = {"CLOUDTRAIN_ATTEMPT": "abc", "RUNPOD_API_BASE_URL": cloud.runpod.base_url}
    body = {"name": "x", "image": "y", "args": args, "env": environment, "mounts": mounts, "gpu": {"id": "NVIDIA L4", "count": 1}}
    pod = cloud.runpod.create(body)
    wait_until(lambda: pod.gone)
    result = json.loads((cloud.bucket / remote.key("result.json")).read_text())
    assert result["state"] in ("timed out", "lost")
    assert result["attempt"] == "abc"
    assert pod.starts == 1


def test_a_pod_that_cannot_terminate_itself_tries_every_way_and_never_ends_its_command(cloud: Cloud) -> None:
    cloud.runpod.faults.befall("cannot end")
    backend = cloud.backend(release_s=60.0, heartbeat_lost_s=30.0)
    cloud.run(backend)
    (pod,) = cloud.runpod.pods.values()
    wait_until(lambda: cloud.runpod.requests("POST /graphql"))
    assert cloud.runpod.requests("POST /v2/pods/*/action")
    assert cloud.runpod.requests("DELETE /v2/pods/*")
    assert pod.starts == 1
    assert not pod.gone
    backend.close()
    assert pod.gone


# The bodies of jobs that begin as a recipe does.
BEGINS = """
    sys.path.insert(0, "worker.zip")
    import xgboost
    from cloudtrain_worker import TrainingJob
    TrainingJob(str(Path("train.py").resolve()), "xgboost", "regression", {}).__enter__()
"""


def test_a_host_whose_cuda_does_not_open_gives_way_to_another(cloud: Cloud) -> None:
    backend = cloud.backend(heartbeat_lost_s=30.0)
    cloud.runpod.faults.befall("no cuda")
    cloud.run(backend, body=BEGINS, gpu=["NVIDIA L4"])
    lost, used = cloud.receipts[0].machines
    for part in ("xgboost ", "does not open the GPU (NVIDIA L4, driver 570.86.10, CUDA 12.8)", "computes on its cpu"):
        assert part in lost.ended
    assert used.ended == "done"
    cloud.runpod.faults.befall("no cuda", times=2)
    with pytest.raises(JobLostError) as raised:
        cloud.run(backend, "again", BEGINS, gpu=["NVIDIA L4"], retries=1)
    # What all hosts have in common is told once, with its cure.
    message = raised.value.message
    assert message.count("does not open the GPU") == 1
    assert "was lost on 2 pods: " in message
    assert "Name another GPU in `gpu`, or take a CPU pod by gpu: none" in message
    assert "Traceback" not in message
    # After two hosts of one kind, another kind is taken.
    cloud.runpod.faults.befall("no cuda", times=2)
    cloud.run(backend, "third", BEGINS, gpu=["NVIDIA L4", "NVIDIA A40"], retries=2)
    assert [use.machine for use in cloud.receipts[-1].machines] == ["NVIDIA L4", "NVIDIA L4", "NVIDIA A40"]
    backend.close()
