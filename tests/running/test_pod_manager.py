"""One training on one pod, from Python."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from support.cloud import DATA_CENTER, SECRETS, Cloud, script
from support.waiting import wait_until

from kedro_cloudtrain import RunPodPodManager
from kedro_cloudtrain.errors import (
    ApiError,
    AuthError,
    BalanceError,
    CapacityError,
    CloudTrainError,
    ConfigError,
    JobTimeoutError,
    SourceError,
)

JOB = {
    "gpu_type": "NVIDIA L4",
    "dataset_key": "datasets/penguins.csv",
    "model_id": "model_123",
    "user_id": "user_123",
    "model_type": "xgboost_regression",
    "target_column": "body_mass_g",
    "feature_columns": ["bill_length_mm", "species"],
    "hyperparameters": {"n_estimators": 8},
}
BOTH = "Cannot provide both dataset_key and dataset_url"
NEITHER = "Must provide either dataset_key or dataset_url"


def encoded(body: str) -> str:
    return base64.b64encode(script(body).encode()).decode()


@pytest.fixture
def manager(cloud: Cloud) -> RunPodPodManager:
    config = {"volume": {"id": cloud.volume_id, "data_center": DATA_CENTER}, "defaults": {"install": False, "timeout_s": 120}}
    return RunPodPodManager(config)


def test_a_training_is_started_watched_and_its_pod_ended(manager: RunPodPodManager, cloud: Cloud) -> None:
    launched = manager.launch_training(JOB)
    assert set(launched) == {"pod_id", "gpu_type", "launch_time", "status"}
    assert (launched["gpu_type"], launched["status"]) == ("NVIDIA L4", "starting")
    (pod,) = cloud.runpod.pods.values()
    assert launched["pod_id"] == pod.id
    assert pod.request.name.startswith("cloudtrain-service--user_123-model_123-")
    assert pod.request.image.startswith("runpod/pytorch:")
    done = manager.wait_for_completion_and_terminate(pod.id, max_wait_seconds=90)
    assert done["status"] == "succeeded"
    assert done["cost_usd"] > 0
    assert done["progress"]["of"] == 8
    result = manager.result(pod.id)
    assert result is not None
    assert set(result.outputs) == {"model", "metrics", "history", "importance"}
    wait_until(lambda: not cloud.runpod.living)
    assert any("xgboost" in line for line in manager.get_pod_logs(pod.id, 500))
    assert manager.monitor_training(pod.id)["status"] == "succeeded"
    manager.terminate_pod(pod.id)


def test_an_own_script_image_and_disk(manager: RunPodPodManager, cloud: Cloud) -> None:
    go = "/workspace/go"
    more = {
        "training_script_b64": encoded(f"print('own script', flush=True)\nwhile not Path({go!r}).exists():\n    time.sleep(0.05)"),
        "docker_image": "my/image:2",
        "volume_size_gb": 50,
    }
    launched = manager.launch_training({**JOB, **more, "gpu_type": "cpu"})
    (pod,) = cloud.runpod.pods.values()
    assert (pod.request.image, pod.request.disk) == ("my/image:2", 50)
    assert pod.request.gpu is None
    assert launched["gpu_type"] == "cpu5c"
    wait_until(lambda: manager.monitor_training(pod.id)["status"] == "running")
    wait_until(lambda: any("own script" in line for line in manager.get_pod_logs(pod.id)))
    (cloud.bucket / "go").touch()
    assert manager.wait_for_completion_and_terminate(pod.id, 60)["status"] == "succeeded"


def test_a_script_that_fails_is_a_failed_training(manager: RunPodPodManager, cloud: Cloud) -> None:
    launched = manager.launch_training({**JOB, "training_script_b64": encoded("raise ValueError('no such thing')")})
    done = manager.wait_for_completion_and_terminate(launched["pod_id"], 60)
    assert done["status"] == "failed"
    wait_until(lambda: not cloud.runpod.living)


def test_a_pod_that_has_stopped_without_a_result_is_lost_at_once(manager: RunPodPodManager, cloud: Cloud) -> None:
    cloud.runpod.faults.befall("errors")
    launched = manager.launch_training({**JOB, "training_script_b64": encoded("pass")})
    wait_until(lambda: manager.monitor_training(launched["pod_id"])["status"] == "lost")
    asked = len(cloud.s3.requests)
    assert manager.monitor_training(launched["pod_id"])["pod_status"] == "ERROR"
    # Its result was waited for before.
    assert len([path for _, path in cloud.s3.requests[asked:] if "result.json" in path]) == 1
    assert manager.wait_for_completion_and_terminate(launched["pod_id"], 60)["status"] == "lost"
    assert cloud.runpod.living == []


def test_a_wait_that_takes_too_long_ends_the_pod(manager: RunPodPodManager, cloud: Cloud) -> None:
    launched = manager.launch_training({**JOB, "training_script_b64": encoded("time.sleep(600)")})
    with pytest.raises(JobTimeoutError, match=r"was not done after 1 s, and was terminated"):
        manager.wait_for_completion_and_terminate(launched["pod_id"], max_wait_seconds=1)
    assert cloud.runpod.living == []
    assert manager.monitor_training(launched["pod_id"])["status"] == "lost"


def test_a_pod_of_somebody_else_is_reported_as_runpod_has_it(manager: RunPodPodManager, cloud: Cloud) -> None:
    pod = cloud.runpod.put("somebody's", minutes=60)
    wait_until(lambda: manager.monitor_training(pod.id)["status"] == "running")
    assert manager.monitor_training(pod.id)["cost_usd"] == pytest.approx(0.43, abs=0.01)
    manager.terminate_pod(pod.id)
    assert manager.monitor_training(pod.id) == {"pod_id": pod.id, "status": "gone", "pod_status": None, "cost_usd": None}
    assert manager.get_pod_logs(pod.id) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset_url": "https://example.org/a.csv"}, BOTH),
        ({"dataset_key": "  "}, NEITHER),
        ({"dataset_key": None, "dataset_url": ""}, NEITHER),
        ({"dataset_key": "../a.csv"}, r"\.\./a\.csv"),
    ],
)
def test_exactly_one_source(manager: RunPodPodManager, cloud: Cloud, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        manager.launch_training({**JOB, **change})
    assert cloud.runpod.pods == {}


@pytest.mark.parametrize("key", ["gpu_type", "model_id", "user_id", "model_type", "target_column", "feature_columns", "hyperparameters"])
def test_a_missing_key_is_named(manager: RunPodPodManager, key: str) -> None:
    with pytest.raises(ConfigError, match=f"launch_training needs `{key}`"):
        manager.launch_training({name: value for name, value in JOB.items() if name != key})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu": "L4"}, "does not know `gpu`"),
        ({"gpu_type": ""}, "name a GPU type"),
        ({"model_type": "xgboost_regresion"}, "xgboost_regression"),
        ({"hyperparameters": {"n_estimatorz": 3}}, "n_estimators"),
        ({"training_script_b64": "&&&"}, "not the base64"),
        ({"training_script_b64": base64.b64encode(b"def (").decode()}, "not Python"),
        ({"gpu_type": "NVIDIA L44"}, "Did you mean `NVIDIA L4`"),
    ],
)
def test_an_invalid_job_is_refused_before_a_pod_is_paid_for(manager: RunPodPodManager, cloud: Cloud, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        manager.launch_training({**JOB, **change})
    assert cloud.runpod.pods == {}


@pytest.mark.parametrize(("status", "kind"), [(401, AuthError), (402, BalanceError), (422, ApiError), (500, ApiError)])
def test_a_refusal_keeps_the_vendors_words(
    manager: RunPodPodManager, cloud: Cloud, status: int, kind: type[CloudTrainError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager._api, "_pause", lambda _: None)
    cloud.runpod.faults.answer("POST /v2/pods", status, "their own words", times=9)
    with pytest.raises(kind, match="their own words") as raised:
        manager.launch_training(JOB)
    assert not [secret for secret in SECRETS if secret in str(raised.value)]
    cloud.runpod.faults.clear()
    cloud.runpod.faults.no_capacity(times=9)
    with pytest.raises(CapacityError, match="No pod could be placed"):
        manager.launch_training(JOB)


def test_a_machine_is_chosen_by_size_and_kind(manager: RunPodPodManager) -> None:
    assert manager.select_compute_type(1, "xgboost_regression") == "cpu5c"
    assert manager.select_compute_type(800, "xgboost_regression") == "NVIDIA RTX A5000"
    assert manager.select_compute_type(20_000, "catboost_regression") == "NVIDIA A40"
    assert manager.select_compute_type(1, "keras_regression") == "cpu5c"
    assert manager.select_compute_type(800, "keras_regression") == "NVIDIA RTX A5000"
    assert manager.select_compute_type(800, "lightgbm_regression") == "cpu5c"


def test_a_directory_is_not_the_volume_of_a_pod(tmp_path) -> None:
    with pytest.raises(ConfigError, match="needs a network volume"):
        RunPodPodManager({"volume": {"path": str(tmp_path)}})
