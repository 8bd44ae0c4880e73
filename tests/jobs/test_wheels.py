"""The table of wheels against the wheels' own metadata, and what of it reaches a pod."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from kedro_cloudtrain.errors import LockError
from kedro_cloudtrain.jobs.lock import lock
from kedro_cloudtrain.jobs.requirements import _installed, requirements, with_given
from kedro_cloudtrain.jobs.wheels import distribution, least_cuda, same_module

# What the wheels' metadata asked for on 2026-11-26, where no index answers: the packages of NVIDIA's that name their CUDA.
KEPT = {
    ("xgboost==3.2.0", "3.11"): ["nvidia-nccl-cu12==2.32.3"],
    ("xgboost==3.3.0", "3.12"): ["nvidia-nccl-cu12==2.32.3"],
    ("xgboost-cu12==3.4.1", "3.12"): ["nvidia-nccl-cu12==2.32.3"],
    ("xgboost==3.4.1", "3.12"): ["nvidia-nccl-cu13==2.32.3"],
    ("xgboost-cpu==3.2.0", "3.11"): [],
    ("xgboost-cpu==3.4.1", "3.13"): [],
    ("jax[cuda12]==0.10.2", "3.12"): ["nvidia-cublas-cu12==12.9.3.13", "nvidia-cuda-runtime-cu12==12.9.79"],
    ("jax==0.10.2", "3.12"): [],
    ("tensorflow[and-cuda]==2.21.0", "3.13"): ["nvidia-cublas-cu12==12.9.3.13", "nvidia-cuda-runtime-cu12==12.9.79"],
    ("tensorflow-cpu==2.21.0", "3.13"): [],
    ("torch==2.9.1", "3.12"): ["nvidia-cublas-cu12==12.8.4.1", "nvidia-cuda-runtime-cu12==12.8.90"],
    ("torch==2.15.0", "3.12"): ["nvidia-cublas==13.4.1.3", "nvidia-cuda-runtime==13.2.86"],
    ("jax[cuda13]==0.10.2", "3.12"): ["nvidia-cublas==13.10.0.20", "nvidia-cuda-runtime==13.3.29"],
    ("lightgbm==4.7.0", "3.12"): [],
    ("catboost==1.2.10", "3.12"): [],
}


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def asked_for(requirement: str, python: str) -> list[str]:
    """Return what a wheel asks for, read from the package index, or as it was kept."""
    try:
        return list(lock([requirement], python=python))
    except LockError:
        return KEPT[requirement, python]


@pytest.mark.parametrize(
    ("package", "release", "python", "gpu", "wheel", "cuda"),
    [
        ("xgboost", "3.2.0", "3.11", True, "xgboost", "12.8"),
        ("xgboost", "3.3.0", "3.12", True, "xgboost", "12.8"),
        ("xgboost", "3.4.1", "3.12", True, "xgboost-cu12", "12.8"),
        ("xgboost", "3.2.0", "3.11", False, "xgboost-cpu", "12.8"),
        ("xgboost", "3.4.1", "3.13", False, "xgboost-cpu", "12.8"),
        ("jax", "0.10.2", "3.12", True, "jax[cuda12]", "12.8"),
        ("jax", "0.10.2", "3.12", False, "jax", "12.8"),
        ("tensorflow", "2.21.0", "3.13", True, "tensorflow[and-cuda]", "12.8"),
        ("tensorflow", "2.21.0", "3.13", False, "tensorflow-cpu", "12.8"),
        ("torch", "2.9.1", "3.12", True, "torch", "12.8"),
        ("lightgbm", "4.7.0", "3.12", True, "lightgbm", "12.8"),
        ("catboost", "1.2.10", "3.12", True, "catboost", "12.8"),
    ],
)
def test_a_pods_wheel_works_with_the_oldest_driver_that_is_asked_for(
    package: str, release: str, python: str, gpu: bool, wheel: str, cuda: str
) -> None:
    assert distribution(package, release, gpu=gpu) == wheel
    lines = asked_for(f"{wheel}=={release}", python)
    assert least_cuda(lines, "12.8") == cuda
    assert gpu or not [line for line in lines if line.startswith("nvidia-")]


@pytest.mark.parametrize("requirement", [("xgboost==3.4.1", "3.12"), ("jax[cuda13]==0.10.2", "3.12"), ("torch==2.15.0", "3.12")], ids=str)
def test_a_wheel_for_a_newer_cuda_raises_what_is_asked_of_the_host(requirement: tuple[str, str]) -> None:
    assert least_cuda(asked_for(*requirement), "12.8") == "13.0"


def test_the_newest_release_is_not_known_to_run_on_older_drivers() -> None:
    assert distribution("xgboost", None, gpu=True) == "xgboost-cu12"


@pytest.mark.parametrize("name", ["xgboost", "xgboost-cpu", "xgboost-cu12", "tensorflow", "tensorflow-cpu"])
def test_a_client_with_another_wheel_of_the_same_library_is_understood(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(asked: str) -> str:
        if asked in same_module(name):
            if asked != name:
                raise metadata.PackageNotFoundError(asked)
            return "3.4.1"
        return metadata.version(asked)

    _installed.cache_clear()
    monkeypatch.setattr("kedro_cloudtrain.jobs.requirements.metadata", SimpleNamespace(**{**vars(metadata), "version": version}))
    try:
        library, on_gpu = ("xgboost", "xgboost-cu12") if name.startswith("xgboost") else ("tensorflow", "tensorflow[and-cuda]")
        recipe, backend = ("keras", library) if library == "tensorflow" else (library, None)
        assert f"{on_gpu}==3.4.1" in requirements(recipe, gpu=True, backend=backend)
        assert f"{library}-cpu==3.4.1" in requirements(recipe, gpu=False, backend=backend)
    finally:
        _installed.cache_clear()


@pytest.mark.parametrize(
    ("given", "kept", "gone"),
    [
        (["xgboost-cu12==3.4.1"], "numpy", "xgboost"),
        (["XGBoost>=3"], "numpy", "xgboost"),
        (["numpy<2"], "xgboost", "numpy"),
        (["polars"], "numpy", None),
    ],
)
def test_a_requirement_that_is_given_replaces_the_one_of_the_same_module(given: list[str], kept: str, gone: str | None) -> None:
    lines = with_given(["numpy==2.4.0", "xgboost==3.4.1"], given)
    assert lines[-1] == given[0]
    assert any(line.startswith(f"{kept}==") for line in lines)
    assert gone is None or not any(line.startswith(f"{gone}==") and line not in given for line in lines)


def test_a_pod_asks_for_the_host_that_its_packages_need(tmp_path: Path) -> None:
    from kedro_cloudtrain.backends.backend import JobRequest
    from kedro_cloudtrain.backends.runpod.releases import with_releases
    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.jobs.workload import Workload
    from kedro_cloudtrain.storage.directory import DirectoryVolume

    def asked(settings: NodeSettings, *, on_gpu: bool = True) -> JobRequest:
        lines = ("nvidia-cuda-runtime==13.3.29",), ("tinyfit",)
        request = JobRequest(JobFolder(tmp_path), DirectoryVolume(tmp_path), settings, Workload("xgboost"), *lines, "3.12")
        return with_releases(request, on_gpu=on_gpu)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kedro_cloudtrain.backends.runpod.releases.lock", lambda lines, **_: tuple(lines))
        assert asked(NodeSettings()).settings.min_cuda_version == "13.0"
        assert asked(NodeSettings(), on_gpu=False).settings.min_cuda_version == "12.8"
        assert asked(NodeSettings(), on_gpu=False).requirements == ("tinyfit",)
        assert asked(NodeSettings(min_cuda_version="12.9")).settings.min_cuda_version == "12.9"  # the user's own word
