"""The device of a fit: opened as the library opens it, before anything is read; on this computer, which has no GPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import xgboost

from kedro_cloudtrain.worker import devices, gpus
from kedro_cloudtrain.worker.errors import MachineError, PackageError
from kedro_cloudtrain.worker.gpus import Gpu, GpuUse, find_gpu

SMI = """#!/bin/sh
case "$*" in
*name,driver_version*) printf '{lines}';;
*utilization.gpu*) printf '{use}';;
*) echo "| NVIDIA-SMI 570.124   Driver Version: 570.124   CUDA Version: 12.8 |";;
esac
"""
# On Python 3.11 the newest XGBoost is built with CUDA 12, from 3.12 on with CUDA 13, which a driver for 12.8 does not have.
CURE_OF_XGBOOST = "min_cuda_version" if (xgboost.build_info().get("CUDA_VERSION") or (0,))[0] > 12 else "gpu: none"
L4 = Gpu("NVIDIA L4", "570.124", "12.8")


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A driver that describes what the test sets; no CUDA is behind it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CLOUDTRAIN_GPU", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")

    def answer(lines: str = "NVIDIA L4, 570.124\\n", use: str = "") -> None:
        # Another file in its place: one that is just being started cannot be written.
        (tmp_path / "next").write_text(SMI.format(lines=lines, use=use))
        (tmp_path / "next").chmod(0o755)
        (tmp_path / "next").replace(tmp_path / "nvidia-smi")

    return answer


def test_keras_computes_with_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(*names: str) -> str:
        monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: name if name in names else None)
        monkeypatch.setenv("KERAS_BACKEND", "")
        return devices.choose_keras_backend()

    assert installed("torch", "tensorflow", "jax") == "jax"
    assert installed("torch", "tensorflow") == "tensorflow"
    assert installed("torch") == "torch"
    assert installed() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert devices.choose_keras_backend() == "torch"


def test_a_named_backend_is_taken_unless_the_environment_has_another(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "")
    assert devices.choose_keras_backend("tensorflow") == os.environ["KERAS_BACKEND"] == "tensorflow"
    assert devices.choose_keras_backend("tensorflow") == "tensorflow"
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert devices.choose_keras_backend("tensorflow") == "jax"
    assert capsys.readouterr().out == "KERAS_BACKEND is jax, which is taken in place of tensorflow.\n"


@pytest.mark.parametrize("before", [None, "", "jax"])
def test_a_prediction_chooses_no_backend_for_the_jobs_that_come_after_it(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if before is not None:
        monkeypatch.setenv("KERAS_BACKEND", before)
    assert devices.import_keras().backend.backend() == "jax"
    assert os.environ.get("KERAS_BACKEND") == before


def test_the_gpu_is_what_its_driver_says(driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_gpu() is None
    driver()
    assert find_gpu() == L4
    assert str(L4) == "NVIDIA L4, driver 570.124, CUDA 12.8"
    driver("NVIDIA H100, 580.1\\nNVIDIA L4, 580.1\\n")
    assert str(find_gpu()) == "2 × NVIDIA H100, driver 580.1, CUDA 12.8"
    for visible, hidden in (("", True), ("-1", True), ("0", False), ("GPU-1f2e", False)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert (find_gpu() is None) == hidden
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    for script in ("exit 9", "true"):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        assert find_gpu() is None


def test_a_machine_without_a_gpu_fits_on_its_cores(driver, monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, name in (("4", "4 CPU cores"), ("1", "1 CPU core"), ("0.25", "0.25 CPU cores")):
        monkeypatch.setenv("CLOUDTRAIN_CORES", cores)
        assert devices.choose_device("xgboost") == devices.Device("cpu", name)
    monkeypatch.delenv("CLOUDTRAIN_CORES")
    assert devices.cpu().name.startswith(f"{len(os.sched_getaffinity(0))} CPU core")


# What each library does of itself on a host whose driver answers and whose CUDA does not open: none of it is stood in for.
@pytest.mark.parametrize(
    ("library", "error", "parts"),
    [
        pytest.param(
            "xgboost",
            MachineError,
            ["built with CUDA 1", "computes on its cpu", CURE_OF_XGBOOST],
            id="xgboost",
        ),
        pytest.param("catboost", MachineError, ["it counts no GPU", "gpu: none"], id="catboost"),
        pytest.param("keras", PackageError, ["jax is installed without CUDA", "jax[cuda12]", "rented for its NVIDIA L4"], id="keras"),
    ],
)
def test_a_gpu_that_is_paid_for_and_does_not_open_ends_the_job(
    driver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], library: str, error: type[Exception], parts: list[str]
) -> None:
    driver()
    # On a user's own computer the fit runs on the CPU, and the log has the reason.
    assert devices.choose_device(library).kind == "cpu"
    printed = capsys.readouterr().out
    monkeypatch.setenv("CLOUDTRAIN_GPU", "NVIDIA L4")
    with pytest.raises(error) as raised:
        devices.choose_device(library)
    for part in (f"{library} ", "does not open the GPU (NVIDIA L4, driver 570.124, CUDA 12.8)", *parts):
        assert part in str(raised.value)
        assert part in printed or "rented" in part
    assert "The fit runs on the CPU." in printed


@pytest.mark.parametrize("library", ["xgboost", "catboost", "keras"])
def test_a_paid_gpu_that_is_hidden_or_has_no_driver_ends_the_job(driver, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setenv("CLOUDTRAIN_GPU", "NVIDIA L4")
    with pytest.raises((MachineError, PackageError), match="nvidia-smi shows none"):
        devices.choose_device(library)
    driver()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(PackageError, match="CUDA_VISIBLE_DEVICES is '-1', which hides every GPU"):
        devices.choose_device(library)


def test_a_fit_that_is_meant_for_the_cpu_needs_no_proof(driver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver()
    monkeypatch.setenv("CLOUDTRAIN_GPU", "NVIDIA L4")
    for library, hyperparameters in (
        ("lightgbm", {}),
        ("xgboost", {"device": "cpu"}),
        ("catboost", {"task_type": "CPU"}),
        ("of_my_own", {}),
    ):
        assert devices.choose_device(library, hyperparameters).kind == "cpu"


@pytest.mark.parametrize(
    ("build", "device", "fault"),
    [
        ({"USE_CUDA": True, "CUDA_VERSION": [12, 9]}, "cuda:0", None),
        ({"USE_CUDA": True, "CUDA_VERSION": [12, 9]}, "cuda", None),
        ({"USE_CUDA": True, "CUDA_VERSION": [13, 3]}, "cpu", 'too old for CUDA 13.3: set min_cuda_version: "13.0"'),
        ({"USE_CUDA": True}, "cpu", "Name another GPU"),
        ({"USE_CUDA": False}, "cpu", "in place of xgboost-cpu"),
    ],
)
def test_xgboost_is_judged_by_the_device_of_a_fit_of_two_rows(
    driver, monkeypatch: pytest.MonkeyPatch, build: dict[str, Any], device: str, fault: str | None
) -> None:
    import json

    import xgboost

    driver()
    monkeypatch.setattr(xgboost, "build_info", lambda: build)
    config = json.dumps({"learner": {"generic_param": {"device": device}}})
    monkeypatch.setattr(xgboost, "train", lambda *_, **__: SimpleNamespace(save_config=lambda: config))
    monkeypatch.setenv("CLOUDTRAIN_GPU", "NVIDIA L4")
    if fault is None:
        assert devices.choose_device("xgboost") == devices.Device("cuda", "NVIDIA L4", L4)
        return
    with pytest.raises(PackageError if "place" in fault else MachineError, match=fault):
        devices.choose_device("xgboost")


def test_what_a_library_raises_when_it_opens_the_gpu_is_the_machines_fault(driver, monkeypatch: pytest.MonkeyPatch) -> None:
    import catboost.utils

    def broken() -> int:
        raise OSError("libcuda.so.1: cannot open\nand more")

    driver()
    monkeypatch.setattr(catboost.utils, "get_gpu_device_count", lambda: 1)
    assert str(devices.choose_device("catboost")) == "cuda (NVIDIA L4, driver 570.124, CUDA 12.8)"
    monkeypatch.setattr(catboost.utils, "get_gpu_device_count", broken)
    monkeypatch.setenv("CLOUDTRAIN_GPU", "NVIDIA L4")
    with pytest.raises(MachineError, match=r"OSError: libcuda.so.1: cannot open\. Name another GPU"):
        devices.choose_device("catboost")


# The backends that are not installed here stand for themselves by the three calls that they are asked.
@pytest.mark.parametrize(
    ("backend", "sees", "has_cuda", "fault"),
    [
        ("jax", "gpu", True, None),
        ("jax", "cpu", True, MachineError),
        ("jax", "cpu", False, PackageError),
        ("torch", "gpu", True, None),
        ("torch", "cpu", True, MachineError),
        ("torch", "cpu", False, PackageError),
        ("tensorflow", "gpu", True, None),
        ("tensorflow", "cpu", True, MachineError),
        ("tensorflow", "cpu", False, PackageError),
    ],
)
def test_keras_opens_the_gpu_that_its_backend_sees(
    driver, monkeypatch: pytest.MonkeyPatch, backend: str, sees: str, has_cuda: bool, fault: type[Exception] | None
) -> None:
    driver()
    has_gpu = sees == "gpu"
    torch = SimpleNamespace(version=SimpleNamespace(cuda="12.8" if has_cuda else None), cuda=SimpleNamespace(is_available=lambda: has_gpu))
    tensorflow = SimpleNamespace(
        test=SimpleNamespace(is_built_with_cuda=lambda: has_cuda),
        sysconfig=SimpleNamespace(get_build_info=lambda: {"cuda_version": "12.5.1"}),
        config=SimpleNamespace(list_physical_devices=lambda _: ["gpu"] if has_gpu else []),
    )
    modules = {"jax": SimpleNamespace(default_backend=lambda: sees), "torch": torch, "tensorflow": tensorflow}
    monkeypatch.setitem(sys.modules, backend, modules[backend])
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(backend=SimpleNamespace(backend=lambda: backend), __version__="3.15"))
    monkeypatch.setattr(devices, "_cuda_of_jax", lambda: "12" if has_cuda else None)
    monkeypatch.setenv("CLOUDTRAIN_GPU", "NVIDIA L4")
    if fault is None:
        assert devices.choose_device("keras").kind == "cuda"
        return
    with pytest.raises(fault, match=backend):
        devices.choose_device("keras")


def test_the_use_of_the_gpu_is_a_mean_over_time_and_gpus(driver, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.waiting import wait_until

    monkeypatch.setattr(gpus, "_SAMPLE_AFTER_S", (0.01,))
    driver(use="80\\n40\\n")
    use = GpuUse()
    wait_until(lambda: len(use._samples) > 1)
    assert use.close() == 60.0
    driver(use="[N/A]\\n")
    assert GpuUse().close() is None
